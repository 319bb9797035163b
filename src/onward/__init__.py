"""Work that survives: loops, maps and workflows that continue where they stopped. Public names, nothing else."""

from onward import aio
from onward.api.connect import connect
from onward.api.loop import each
from onward.api.mapping import Failure, map
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

__all__ = [
    "AlreadyRunning", "Current", "Diverged", "Failure", "JournalError", "JournalUnusable", "NotRecordable", "OnwardError",
    "RunCancelled", "RunConflict", "RunError", "RunFailed", "RunNotFound", "RunStuck", "Step", "StepCrashed",
    "StepFailed", "UsageError", "Workflow", "aio", "connect", "current", "each", "gather", "idempotency_key", "logger", "map",
    "now", "progress", "rng", "sleep", "sleep_until", "step", "uuid4", "workflow",
]
