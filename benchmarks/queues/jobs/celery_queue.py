"""Celery on Redis: a worker with as many processes as there are cores.

`tuned`: four threads, tasks are acknowledged after they ran, what a dead worker held becomes visible again after ten
seconds (an hour by default); one connection for all messages; Redis syncs every change.
"""

import os

import command
import tasks
from celery import Celery

app = Celery("queues", broker=tasks.STORE, backend=tasks.STORE)
app.conf.broker_connection_retry_on_startup = True
if command.TUNED:
    app.conf.task_acks_late = True
    app.conf.task_reject_on_worker_lost = True
    app.conf.worker_prefetch_multiplier = 16
    app.conf.broker_transport_options = {"visibility_timeout": 10}
noop = app.task(name="noop")(tasks.noop)
hang = app.task(name="hang")(tasks.hang)


class AsCelery:
    def setup(self) -> None: ...

    def enqueue(self) -> None:
        if command.TUNED:
            with app.producer_or_acquire() as producer:
                for number in range(tasks.JOBS):
                    noop.apply_async((number,), producer=producer)
        else:
            for number in range(tasks.JOBS):
                noop.delay(number)

    def hang(self) -> None:
        hang.delay(0)

    def start(self, number: int):
        result = noop.delay(number)
        return lambda: result.get(timeout=60)

    def work(self) -> None:
        options = ["--pool=threads", "--concurrency=4"] if command.TUNED else []
        app.worker_main(["worker", "--loglevel=ERROR", f"--hostname=w{os.getpid()}@%h", *options])


if __name__ == "__main__":
    command.answer(AsCelery())
