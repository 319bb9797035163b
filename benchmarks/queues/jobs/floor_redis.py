"""The floor on Redis: messages pushed in batches; claim one, complete one, each waited for.

As the contestant has it: durable where Redis syncs every change, in memory where it does not.
"""

import json
import time

import tasks
from redis import Redis

INSERTS, PAIRS = 10_000, 200
redis = Redis.from_url(tasks.STORE)

begun = time.perf_counter()
for at in range(0, INSERTS, tasks.AT_ONCE):
    redis.rpush("floor", *(f"[{at + n}]" for n in range(tasks.AT_ONCE)))
insert = INSERTS / (time.perf_counter() - begun)

begun = time.perf_counter()
for _ in range(PAIRS):
    found = redis.lmove("floor", "floor-running", "LEFT", "RIGHT")
    redis.lrem("floor-running", 1, found)
pair = PAIRS / (time.perf_counter() - begun)
redis.delete("floor", "floor-running")
print(json.dumps({"insert": insert, "pair": pair}))
