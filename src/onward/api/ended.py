"""What a run that has ended came to, for whoever asks."""

from __future__ import annotations

from typing import Any

from onward.core import codec
from onward.core.errors import RunCancelled, RunFailed
from onward.core.model import Run


def result_of(run: Run) -> Any:
    """The recorded result of an ended run; raises its recorded error."""
    if run.state == "done":
        return None if run.result is None else codec.decode(run.result)
    if run.state == "cancelled":
        raise RunCancelled(run.id)
    if run.error is not None:
        raise codec.decode_error(run.error)
    raise RunFailed(run.id, f"run {run.id} ended as {run.state}; `onward show {run.id}` tells more")
