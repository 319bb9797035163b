"""RQ on Redis: a queue and one worker, which forks for each job.

`retried`: a job that was abandoned is tried again, and the worker looks for such jobs every ten seconds, also while it
is idle (by default every ten minutes).
"""

import os
import sys
import time

import item
from redis import Redis
from rq import Queue, Retry, Worker

RETRIED = sys.argv[1] == "retried"


if __name__ == "__main__":
    redis = Redis.from_url(os.environ["RIVALS_REDIS"])
    queue = Queue("pages", connection=redis)
    if "prepare" in sys.argv:
        begun = time.perf_counter()
        for number in item.ITEMS:
            queue.enqueue(item.work, number, retry=Retry(max=3) if RETRIED else None)
        print(time.perf_counter() - begun)
    else:
        options = (
            {"maintenance_interval": 10, "job_monitoring_interval": 5, "worker_ttl": 30} if RETRIED else {}
        )
        Worker([queue], connection=redis, **options).work(logging_level="ERROR", with_scheduler=RETRIED)
