"""Which durable functions this process knows: what a worker may be given, by name.

A name in a row is looked up here and nowhere else: nothing that is stored is ever imported or called.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from onward.core.errors import UsageError
from onward.core.retry import Policy


class Job(Protocol):
    """A workflow, as a worker sees it."""

    name: str
    is_async: bool

    @property
    def fn(self) -> Callable[..., Any]: ...

    @property
    def whole(self) -> Policy:
        """How often a run of it is attempted as a whole, and after how many crashes it is given up."""
        ...


_jobs: dict[str, Job] = {}
_clashes: dict[str, tuple[Job, Job]] = {}
_lock = threading.Lock()


def add(job: Job) -> None:
    """Make a workflow known. One that is defined again at the same place (a cell run twice, a reload) replaces it."""
    with _lock:
        known = _jobs.get(job.name)
        if known is not None and _place(known) != _place(job):
            _clashes[job.name] = (known, job)
        _jobs[job.name] = job


def get(name: str) -> Job | None:
    return _jobs.get(name)


def names() -> tuple[str, ...]:
    """All names, in order."""
    return tuple(sorted(_jobs))


def refuse_clashes() -> None:
    """Raises UsageError if two different functions go by one name: a worker could execute the wrong one."""
    for name, (one, other) in sorted(_clashes.items()):
        raise UsageError(
            f"two workflows are named `{name}`: {_place(one)} and {_place(other)}; no worker was started. Give one of "
            f'them another name: @onward.workflow(name="...")'
        )


def _place(job: Job) -> str:
    return f"{job.fn.__module__}.{job.fn.__qualname__}"
