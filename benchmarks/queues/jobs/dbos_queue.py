"""DBOS on SQLite or PostgreSQL: workflows on a queue, looked for once a second.

`tuned`: many in one transaction, looked for every 20 ms, and each worker has a name of its own: with the default, which
all have in common, a worker that starts executes what the others are at.
"""

import os
import threading

import command
import sqlalchemy as sa
import tasks
from dbos import DBOS, DBOSClient

noop = DBOS.workflow(name="noop")(tasks.noop)
hang = DBOS.workflow(name="hang")(tasks.hang)
POLL_S = 0.02 if command.TUNED else 1.0


def launch() -> None:
    config = {"name": "queues", "system_database_url": tasks.STORE, "log_level": "ERROR"}
    if command.TUNED:
        config["executor_id"] = f"worker-{os.getpid()}"
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue("queues", polling_interval_sec=POLL_S)


class AsDbos:
    def __init__(self) -> None:
        self._client: DBOSClient | None = None

    def setup(self) -> None:
        launch()
        DBOS.destroy()

    def enqueue(self) -> None:
        client = self._connected()
        if not command.TUNED:
            for number in range(tasks.JOBS):
                client.enqueue(options("noop"), number)
            return
        engine = sa.create_engine(tasks.STORE.replace("postgresql:", "postgresql+psycopg:"))
        for batch in tasks.batches():
            with engine.begin() as connection:
                for number in batch:
                    client.enqueue_in_transaction(connection, options("noop"), number)

    def hang(self) -> None:
        self._connected().enqueue(options("hang"), 0)

    def start(self, number: int):
        handle = self._connected().enqueue(options("noop"), number)
        return lambda: handle.get_result(polling_interval_sec=POLL_S)

    def _connected(self) -> DBOSClient:
        if self._client is None:
            self._client = DBOSClient(system_database_url=tasks.STORE)
        return self._client

    def work(self) -> None:
        launch()
        threading.Event().wait()


def options(name: str) -> dict[str, str]:
    return {"workflow_name": name, "queue_name": "queues"}


if __name__ == "__main__":
    command.answer(AsDbos())
