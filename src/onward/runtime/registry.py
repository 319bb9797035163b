"""Which durable functions this process knows, what a worker may be given, by name; and when they are scheduled.

A name in a row is looked up here and nowhere else: nothing that is stored is ever imported or called.
"""

from __future__ import annotations

import dataclasses
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

    @property
    def says_attempts(self) -> bool:
        """Whether it says itself how often it is attempted; else that is left to its queue."""
        ...


class Declared(Protocol):
    """A queue, as the code declares it."""

    name: str

    @property
    def limits_text(self) -> str:
        """What it may do at once, as `core.flow.text_of` writes it."""
        ...

    @property
    def policy(self) -> Policy | None:
        """How often its runs are attempted as a whole, if it says that."""
        ...

    def lane_of(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        """What its limits per key count a run of the workflow `name` under; None if it has no such limits."""
        ...


class Plan(NamedTuple):
    """A schedule as the code of this process defines it."""

    name: str
    spec: Spec
    job: Job


_jobs: dict[str, Job] = {}
_queues: dict[str, Declared] = {}
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


def add_queue(queue: Declared) -> None:
    """Make a queue known. What is declared last holds: a cell that is run twice, a module that is loaded again."""
    with _lock:
        _queues[queue.name] = queue


def queue(name: str) -> Declared | None:
    return _queues.get(name)


def queues() -> tuple[Declared, ...]:
    """All queues that are declared, by name."""
    return tuple(_queues[name] for name in sorted(_queues))


def policy_of(job: Job, queue_name: str) -> Policy:
    """How often a run is attempted as a whole: as its workflow says, else as its queue does."""
    declared = _queues.get(queue_name)
    if job.says_attempts or declared is None or declared.policy is None:
        return job.whole
    return dataclasses.replace(declared.policy, max_crashes=job.whole.max_crashes)


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
