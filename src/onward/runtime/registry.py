"""Which durable functions this process knows, what a worker may be given, by name; and when they are scheduled.

A name in a row is looked up here and nowhere else: nothing that is stored is ever imported or called.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from onward.core.errors import UsageError
from onward.core.retry import Policy
from onward.core.schedules import Spec


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


class Plan(NamedTuple):
    """A schedule as the code of this process defines it."""

    name: str
    spec: Spec
    job: Job


_jobs: dict[str, Job] = {}
_clashes: dict[str, tuple[Job, Job]] = {}
_plans: dict[str, Plan] = {}
_plan_clashes: dict[str, tuple[Job, Job]] = {}
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


def add_plan(plan: Plan) -> None:
    """Make a schedule known. One that is defined again for the same function (a reload) replaces it.

    Raises UsageError for a second schedule of one name for one workflow.
    """
    with _lock:
        known = _plans.get(plan.name)
        if known is not None and known.job is plan.job and known.spec != plan.spec:
            raise UsageError(
                f"workflow `{plan.job.name}` has two schedules named `{plan.name}`; the second one was not added. Give "
                f'it a name: onward.schedule(..., name="...")'
            )
        if known is not None and _place(known.job) != _place(plan.job):
            _plan_clashes[plan.name] = (known.job, plan.job)
        _plans[plan.name] = plan


def plans() -> tuple[Plan, ...]:
    """All schedules, by name."""
    return tuple(_plans[name] for name in sorted(_plans))


def refuse_clashes() -> None:
    """Raises UsageError if two different functions go by one name: a worker could execute the wrong one."""
    for name, (one, other) in sorted(_plan_clashes.items()):
        raise UsageError(
            f"two schedules are named `{name}`: of {_place(one)} and of {_place(other)}; no worker was started. Give "
            f'one of them another name: onward.schedule(..., name="...")'
        )
    for name, (one, other) in sorted(_clashes.items()):
        raise UsageError(
            f"two workflows are named `{name}`: {_place(one)} and {_place(other)}; no worker was started. Give one of "
            f'them another name: @onward.workflow(name="...")'
        )


def _place(job: Job) -> str:
    return f"{job.fn.__module__}.{job.fn.__qualname__}"
