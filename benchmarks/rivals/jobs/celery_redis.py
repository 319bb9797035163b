"""Celery on Redis: a queue and one worker process.

`late`: a task is acknowledged after it ran, one is reserved at a time, and what a dead worker held becomes visible
again after ten seconds (an hour by default).
"""

import os
import sys
import time

import item
from celery import Celery

LATE = sys.argv[1] == "late"
app = Celery("pages", broker=os.environ["RIVALS_REDIS"])
app.conf.broker_connection_retry_on_startup = True
if LATE:
    app.conf.task_acks_late = True
    app.conf.task_reject_on_worker_lost = True
    app.conf.worker_prefetch_multiplier = 1
    app.conf.broker_transport_options = {"visibility_timeout": 10}


@app.task(name="page")
def page(number):
    item.work(number)


if __name__ == "__main__":
    if "prepare" in sys.argv:
        begun = time.perf_counter()
        for number in item.ITEMS:
            page.delay(number)
        print(time.perf_counter() - begun)
    else:
        app.worker_main(["worker", "--concurrency=1", "--loglevel=ERROR"])
