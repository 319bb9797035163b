"""RQ on Redis: a worker that forks for each job.

`tuned`: many jobs in one call, a worker that does not fork; abandoned jobs are tried again, and looked for every few
seconds (ten minutes by default); Redis syncs every change.
"""

import command
import tasks
from redis import Redis
from rq import Queue, Retry, SimpleWorker, Worker

redis = Redis.from_url(tasks.STORE) if tasks.STORE else None
queue = Queue("queues", connection=redis)


class Rq:
    def setup(self) -> None: ...

    def enqueue(self) -> None:
        if not command.TUNED:
            for number in range(tasks.JOBS):
                queue.enqueue(tasks.noop, number)
            return
        for batch in tasks.batches():
            queue.enqueue_many([Queue.prepare_data(tasks.noop, (number,)) for number in batch])

    def hang(self) -> None:
        queue.enqueue(tasks.hang, 0, retry=Retry(max=3) if command.TUNED else None)

    def start(self, number: int):
        job = queue.enqueue(tasks.noop, number)
        return lambda: job.latest_result(timeout=60)

    def work(self) -> None:
        if command.TUNED:
            options = {"maintenance_interval": 5, "job_monitoring_interval": 2, "worker_ttl": 10}
            SimpleWorker([queue], connection=redis, **options).work(
                logging_level="ERROR", with_scheduler=True
            )
        else:
            Worker([queue], connection=redis).work(logging_level="ERROR")


if __name__ == "__main__":
    command.answer(Rq())
