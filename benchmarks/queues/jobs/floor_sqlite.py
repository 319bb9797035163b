"""The floor on SQLite: rows inserted in batches; claim one, complete one, each in a durable commit of its own."""

import json
import time

import apsw
import tasks

connection = apsw.Connection(str(tasks.FOLDER / "store.db"))
connection.pragma("journal_mode", "wal")
connection.pragma("synchronous", "FULL")
connection.execute("CREATE TABLE job (no INTEGER PRIMARY KEY, state TEXT, args TEXT)")
connection.execute("CREATE INDEX ready ON job (no) WHERE state = 'ready'")

INSERTS, PAIRS = 10_000, 200

begun = time.perf_counter()
for at in range(0, INSERTS, tasks.AT_ONCE):
    with connection:
        rows = [(f"[{at + n}]",) for n in range(tasks.AT_ONCE)]
        connection.executemany("INSERT INTO job (state, args) VALUES ('ready', ?)", rows)
insert = INSERTS / (time.perf_counter() - begun)

begun = time.perf_counter()
for _ in range(PAIRS):
    ((no,),) = connection.execute(
        "UPDATE job SET state = 'running' WHERE no = (SELECT no FROM job WHERE state = 'ready' ORDER BY no LIMIT 1)"
        " RETURNING no"
    ).fetchall()
    connection.execute("UPDATE job SET state = 'done' WHERE no = ?", (no,))
pair = PAIRS / (time.perf_counter() - begun)
print(json.dumps({"insert": insert, "pair": pair}))
