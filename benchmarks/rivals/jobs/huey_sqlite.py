"""Huey on SQLite: a queue and one worker thread. `synced`: every change is synced, and failed tasks are tried again."""

import sys
import time

import item
from huey import SqliteHuey

SYNCED = sys.argv[1] == "synced"
huey = SqliteHuey("pages", filename="huey.db", fsync=SYNCED)


@huey.task(retries=3 if SYNCED else 0)
def page(number):
    item.work(number)


if "prepare" in sys.argv:
    begun = time.perf_counter()
    for number in item.ITEMS:
        page(number)
    print(time.perf_counter() - begun)
else:
    huey.create_consumer(workers=1, worker_type="thread").run()
