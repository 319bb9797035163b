"""Work that survives: loops, maps and workflows that continue where they stopped. Public names, nothing else."""

from typing import TYPE_CHECKING

from onward import aio
from onward.api.connect import connect
from onward.api.loop import each
from onward.api.mapping import map
from onward.api.sinks import Jsonl, jsonl
from onward.api.step import Step, step
from onward.api.wait import (
    Current,
    gather,
    idempotency_key,
    logger,
    now,
    progress,
    rng,
    sleep,
    sleep_until,
    uuid4,
)
from onward.api.wait import where as current
from onward.api.window import Failure
from onward.api.workflow import Workflow, workflow
from onward.core.errors import (
    AlreadyRunning,
    Diverged,
    JournalError,
    JournalUnusable,
    NotRecordable,
    OnwardError,
    RunCancelled,
    RunConflict,
    RunError,
    RunFailed,
    RunNotFound,
    RunStuck,
    StepCrashed,
    StepFailed,
    UsageError,
)

if TYPE_CHECKING:
    from onward.api.journal import Journal

__all__ = [
    "AlreadyRunning",
    "Current",
    "Diverged",
    "Failure",
    "Journal",
    "JournalError",
    "JournalUnusable",
    "Jsonl",
    "NotRecordable",
    "OnwardError",
    "RunCancelled",
    "RunConflict",
    "RunError",
    "RunFailed",
    "RunNotFound",
    "RunStuck",
    "Step",
    "StepCrashed",
    "StepFailed",
    "UsageError",
    "Workflow",
    "aio",
    "connect",
    "current",
    "each",
    "gather",
    "idempotency_key",
    "jsonl",
    "logger",
    "map",
    "now",
    "progress",
    "rng",
    "sleep",
    "sleep_until",
    "step",
    "uuid4",
    "workflow",
]


def __getattr__(name: str) -> object:
    # Programs that only record need not pay for what looks at records.
    if name == "Journal":
        from onward.api.journal import Journal  # noqa: PLC0415  (see above)

        return Journal
    raise AttributeError(f"module `onward` has no attribute {name!r}")
