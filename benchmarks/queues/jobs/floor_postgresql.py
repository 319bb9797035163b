"""The floor on PostgreSQL: rows inserted in batches; claim one, complete one, each in a durable commit of its own."""

import json
import time

import psycopg
import tasks

INSERTS, PAIRS = 10_000, 200

with psycopg.connect(tasks.STORE, autocommit=True) as connection:
    connection.execute("CREATE TABLE floor_job (no bigserial PRIMARY KEY, state text, args text)")
    connection.execute("CREATE INDEX floor_ready ON floor_job (no) WHERE state = 'ready'")
    begun = time.perf_counter()
    for at in range(0, INSERTS, tasks.AT_ONCE):
        rows = [f"[{at + n}]" for n in range(tasks.AT_ONCE)]
        connection.execute("INSERT INTO floor_job (state, args) SELECT 'ready', unnest(%s::text[])", (rows,))
    insert = INSERTS / (time.perf_counter() - begun)

    begun = time.perf_counter()
    for _ in range(PAIRS):
        found = connection.execute(
            "UPDATE floor_job SET state = 'running' WHERE no = (SELECT no FROM floor_job WHERE state = 'ready'"
            " ORDER BY no LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING no"
        ).fetchone()
        connection.execute("UPDATE floor_job SET state = 'done' WHERE no = %s", found)
    pair = PAIRS / (time.perf_counter() - begun)
    connection.execute("DROP TABLE floor_job")
print(json.dumps({"insert": insert, "pair": pair}))
