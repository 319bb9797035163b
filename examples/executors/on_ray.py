"""The most remote airport of every country, computed by a Ray cluster: here one of this machine.

    python examples/executors/on_ray.py [ray://HEAD:10001]

Ray has no executor of its own, but its references become futures of `concurrent.futures`; that is all it takes.
"""

import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import ray
from airports import countries, most_remote, show

import onward


@ray.remote
def _call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return fn(*args, **kwargs)


class RayExecutor(Executor):
    """Executes functions as tasks of the cluster that this process is connected to."""

    def __init__(self, **options: Any) -> None:
        """`options` are those of `ray.remote`, such as num_cpus=2."""
        self._task = _call.options(**options) if options else _call

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = self._task.remote(fn, args, kwargs).future()
        return future


def main() -> None:
    executor = RayExecutor(num_cpus=1)
    for found in onward.map(most_remote, countries(), name="most-remote", executor=executor, concurrency=4):
        show(found)


if __name__ == "__main__":
    ray.init(*sys.argv[1:2], log_to_driver=False, include_dashboard=False)
    main()
