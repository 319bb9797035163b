"""onward: a workflow, queued runs, `onward worker`. `bulk`: many runs are started in one call."""

import os
import sys

import command
import tasks

import onward


@onward.workflow
def noop(number: int) -> int:
    return tasks.noop(number)


@onward.workflow
def hang(number: int) -> int:
    return tasks.hang(number)


class Onward:
    def setup(self) -> None:
        onward.connect()

    def enqueue(self) -> None:
        if command.TUNED:
            noop.start_many(range(tasks.JOBS))
        else:
            for number in range(tasks.JOBS):
                noop.start(number)

    def hang(self) -> None:
        hang.start(0)

    def start(self, number: int):
        return noop.start(number).result

    def work(self) -> None:
        os.execv(sys.executable, [sys.executable, "-m", "onward.cli", "worker", __file__, "--quiet"])


if __name__ == "__main__":
    command.answer(Onward())
