"""The most remote airport of every country, computed by a pool of processes on this machine."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from airports import countries, most_remote, show

import onward


def pool() -> ProcessPoolExecutor:
    # A function that makes the pool, not the pool: should a process of it die, onward makes another.
    return ProcessPoolExecutor(2, mp_context=get_context("forkserver"))


def main() -> None:
    for found in onward.map(most_remote, countries(), name="most-remote", executor=pool, concurrency=4):
        show(found)


if __name__ == "__main__":
    main()
