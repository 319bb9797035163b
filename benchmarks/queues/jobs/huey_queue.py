"""Huey on SQLite: a consumer with one thread. `tuned`: four threads that look more often; every change is synced."""

import command
import tasks
from huey import SqliteHuey

huey = SqliteHuey("queues", filename=tasks.FOLDER / "huey.db", fsync=command.TUNED)
noop = huey.task()(tasks.noop)
hang = huey.task(retries=3 if command.TUNED else 0)(tasks.hang)


class Huey:
    def setup(self) -> None: ...

    def enqueue(self) -> None:
        for number in range(tasks.JOBS):
            noop(number)

    def hang(self) -> None:
        hang(0)

    def start(self, number: int):
        result = noop(number)
        options = {"max_delay": 0.02} if command.TUNED else {}
        return lambda: result.get(blocking=True, **options)

    def work(self) -> None:
        options = {"workers": 4, "initial_delay": 0.005, "max_delay": 0.02} if command.TUNED else {}
        huey.create_consumer(worker_type="thread", **options).run()


if __name__ == "__main__":
    command.answer(Huey())
