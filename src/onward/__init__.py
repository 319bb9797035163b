"""Work that survives: loops, maps and workflows that continue where they stopped. Public names, nothing else."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onward import aio as aio
    from onward.api.connect import connect
    from onward.api.cursor import Cursor, cursor
    from onward.api.deadline import Timeout, timeout
    from onward.api.files import atomic_write, written
    from onward.api.handle import Handle
    from onward.api.heartbeat import heartbeat
    from onward.api.inbox import Files, files
    from onward.api.journal import Journal
    from onward.api.loop import each
    from onward.api.mapping import map
    from onward.api.numbered import numbered
    from onward.api.queue import Queue
    from onward.api.schedule import schedule
    from onward.api.sinks import Jsonl, jsonl
    from onward.api.sinks.parquet import Parquet, parquet
    from onward.api.sinks.tables import Csv, csv
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
    from onward.api.workflow import Workflow
    from onward.api.workflows import workflow
    from onward.core.codec_files import File
    from onward.core.errors import (
        AlreadyRunning,
        Diverged,
        ExecutorBroken,
        InDoubt,
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
        ScheduleNotFound,
        StepCrashed,
        StepFailed,
        StepTimeout,
        TooManyFailures,
        UsageError,
    )
    from onward.runtime.manner import Done, NotDone

__all__ = [
    "AlreadyRunning",
    "Csv",
    "Current",
    "Cursor",
    "Diverged",
    "Done",
    "ExecutorBroken",
    "Failure",
    "File",
    "Files",
    "Handle",
    "InDoubt",
    "Journal",
    "JournalError",
    "JournalUnusable",
    "Jsonl",
    "NotDone",
    "NotRecordable",
    "OnwardError",
    "Parquet",
    "Queue",
    "RunCancelled",
    "RunConflict",
    "RunError",
    "RunFailed",
    "RunNotFound",
    "RunStuck",
    "ScheduleNotFound",
    "Step",
    "StepCrashed",
    "StepFailed",
    "StepTimeout",
    "Timeout",
    "TooManyFailures",
    "UsageError",
    "Workflow",
    "aio",
    "atomic_write",
    "connect",
    "csv",
    "current",
    "cursor",
    "each",
    "files",
    "gather",
    "heartbeat",
    "idempotency_key",
    "jsonl",
    "logger",
    "map",
    "now",
    "numbered",
    "parquet",
    "progress",
    "rng",
    "schedule",
    "sleep",
    "sleep_until",
    "step",
    "timeout",
    "uuid4",
    "workflow",
    "written",
]


# Where each name lives. Each is imported when it is first used, so that a program pays for what it uses and no more.
# The table says to Python what the imports above say to type checkers; a test holds the two together.
_HOMES = {
    "api.connect": ("connect",),
    "api.cursor": ("Cursor", "cursor"),
    "api.deadline": ("Timeout", "timeout"),
    "api.files": ("atomic_write", "written"),
    "api.handle": ("Handle",),
    "api.heartbeat": ("heartbeat",),
    "api.inbox": ("Files", "files"),
    "api.journal": ("Journal",),
    "api.loop": ("each",),
    "api.mapping": ("map",),
    "api.numbered": ("numbered",),
    "api.queue": ("Queue",),
    "api.schedule": ("schedule",),
    "api.sinks": ("Jsonl", "jsonl"),
    "api.sinks.parquet": ("Parquet", "parquet"),
    "api.sinks.tables": ("Csv", "csv"),
    "api.step": ("Step", "step"),
    "api.wait": (
        "Current",
        "gather",
        "idempotency_key",
        "logger",
        "now",
        "progress",
        "rng",
        "sleep",
        "sleep_until",
        "uuid4",
    ),
    "api.window": ("Failure",),
    "api.workflow": ("Workflow",),
    "api.workflows": ("workflow",),
    "core.codec_files": ("File",),
    "core.errors": (
        "AlreadyRunning",
        "Diverged",
        "ExecutorBroken",
        "InDoubt",
        "JournalError",
        "JournalUnusable",
        "NotRecordable",
        "OnwardError",
        "RunCancelled",
        "RunConflict",
        "RunError",
        "RunFailed",
        "RunNotFound",
        "RunStuck",
        "ScheduleNotFound",
        "StepCrashed",
        "StepFailed",
        "StepTimeout",
        "TooManyFailures",
        "UsageError",
    ),
    "runtime.manner": ("Done", "NotDone"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name in __all__:
        import_module(
            "onward.api.endings"
        )  # before anything of ours can be called: its hook says errors in sentences
    if name == "aio":
        return import_module("onward.aio")  # which becomes an attribute by that
    if name == "current":
        value = import_module("onward.api.wait").where
    elif name in _HOME:
        value = getattr(import_module(f"onward.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module `onward` has no attribute {name!r}")
    globals()[name] = value  # next time it is found at once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
