"""Procrastinate on PostgreSQL: a worker that executes one job at a time.

`tuned`: many jobs in one call, thirty at a time in the event loop; workers beat every two seconds, and what a silent
one held is looked for every five and tried again, with the periodic task that its documentation shows.
"""

import command
import tasks
from procrastinate import App, PsycopgConnector

app = App(connector=PsycopgConnector(conninfo=tasks.STORE))
hang = app.task(name="hang")(tasks.hang)

if command.TUNED:

    @app.task(name="noop")
    async def noop(number: int) -> int:
        return tasks.noop(number)

    @app.periodic(cron="* * * * * */5")
    @app.task(queueing_lock="retry_stalled_jobs")
    async def retry_stalled_jobs(timestamp: int) -> None:
        for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=6):
            await app.job_manager.retry_job(job)
else:
    noop = app.task(name="noop")(tasks.noop)


class Procrastinate:
    def setup(self) -> None:
        with app.open():
            app.schema_manager.apply_schema()

    def enqueue(self) -> None:
        with app.open():
            if command.TUNED:
                for batch in tasks.batches():
                    noop.batch_defer(*({"number": number} for number in batch))
            else:
                for number in range(tasks.JOBS):
                    noop.defer(number=number)

    def hang(self) -> None:
        with app.open():
            hang.defer(number=0)

    def start(self, number: int) -> None:
        """It keeps no results."""
        noop.defer(number=number)

    def work(self) -> None:
        options = (
            {"concurrency": 30, "update_heartbeat_interval": 2, "stalled_worker_timeout": 6}
            if command.TUNED
            else {}
        )
        app.run_worker(**options)


if __name__ == "__main__":
    if "ask" in command.sys.argv:
        with app.open():
            command.answer(Procrastinate())
    else:
        command.answer(Procrastinate())
