"""What a flow asks of the world. Drivers perform effects; flows only yield them, and do no I/O themselves."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from onward.core.codec_files import File
from onward.core.model import Change
from onward.runtime.current import Here

T = TypeVar("T")


class Call(NamedTuple):
    """Run user code in the place `here`; the reply is its Outcome. Only `everything` catches BaseException too."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    here: Here
    everything: bool = False


class Keep(NamedTuple):
    """Commit; the reply is a list of Answers, once they are durable."""

    changes: Sequence[Change]


class Later(NamedTuple):
    """Hand a change over to ride with the next commit; the reply is a Ticket.

    Not `timed` where that commit is certain to come at once: the committer then need not watch the time for it.
    """

    change: Change
    timed: bool = True


class Join(NamedTuple):
    """Wait until a Later's ticket is durable; the reply is its Answers."""

    ticket: Any


class Wait(NamedTuple):
    """Let time pass; the reply comes early if the session begins to unwind."""

    seconds: float


class Now(NamedTuple):
    """The reply is the journal's time."""


NOW: Final = Now()


class Reconfirm(NamedTuple):
    """Renew this process's leases at once; the reply: whether the run is still held, or why that cannot be told."""


class Inspect(NamedTuple):
    """Look whether files are on the disk as they were recorded; the reply is a sentence about each that is not."""

    files: Sequence[File]


class Look(NamedTuple):
    """The reply is the run of this id as it stands, or None."""

    run_id: str


class Outcome(NamedTuple):
    """How a Call went, and when it began and ended by the journal's clock."""

    value: Any
    error: BaseException | None
    begun_at: float
    ended_at: float


Effect = Call | Keep | Later | Join | Wait | Now | Reconfirm | Inspect | Look
Flow = Generator[Effect, Any, T]
