"""PgQueuer on PostgreSQL: a worker that takes ten jobs at a time.

`tuned`: many jobs in one call, five hundred at a time in uvloop; what a worker held that was silent for four seconds is
taken by another, which looks every two (thirty each by default).
"""

import asyncio
from datetime import timedelta

import asyncpg
import command
import tasks
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

run = uvloop.run if command.TUNED else asyncio.run


async def connected() -> asyncpg.Connection:
    return await asyncpg.connect(tasks.STORE)


class AsPgQueuer:
    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def setup(self) -> None:
        async def install() -> None:
            await Queries(AsyncpgDriver(await connected())).install()

        run(install())

    def enqueue(self) -> None:
        async def put() -> None:
            queries = Queries(AsyncpgDriver(await connected()))
            if command.TUNED:
                for batch in tasks.batches():
                    payloads = [str(number).encode() for number in batch]
                    await queries.enqueue(["noop"] * len(batch), payloads, [0] * len(batch))
            else:
                for number in range(tasks.JOBS):
                    await queries.enqueue("noop", str(number).encode())

        run(put())

    def hang(self) -> None:
        async def put() -> None:
            await Queries(AsyncpgDriver(await connected())).enqueue("hang", b"0")

        run(put())

    def start(self, number: int) -> None:
        """It keeps no results."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._queries = Queries(AsyncpgDriver(self._loop.run_until_complete(connected())))
        self._loop.run_until_complete(self._queries.enqueue("noop", str(number).encode()))

    def work(self) -> None:
        async def forever() -> None:
            pgq = PgQueuer.from_asyncpg_connection(await connected())

            @pgq.entrypoint("noop")
            async def noop(job) -> None:
                tasks.noop(int(job.payload))

            @pgq.entrypoint("hang")
            async def hang(job) -> None:
                await asyncio.to_thread(tasks.hang, int(job.payload))

            options = {}
            if command.TUNED:
                options = {
                    "batch_size": 500,
                    "dequeue_timeout": timedelta(seconds=2),
                    "heartbeat_timeout": timedelta(seconds=4),
                }
            await pgq.run(**options)

        run(forever())


if __name__ == "__main__":
    command.answer(AsPgQueuer())
