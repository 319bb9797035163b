"""The circuit breaker of loops: a pass in which item after item ends the program is stopped, and nothing stays parked.

Looked at only when an item is begun in which the program has ended before, so a pass that gets on pays nothing.
"""

from __future__ import annotations

from typing import NoReturn

from onward.core import codec, limits
from onward.core.acts import reopened
from onward.core.decide import Raised, decide
from onward.core.errors import Stopped, TooManyFailures
from onward.core.losses import Losses, losses
from onward.core.model import Progress
from onward.core.streak import Reason
from onward.runtime.effects import Flow, Keep, Now
from onward.runtime.engine import Engine
from onward.runtime.session import Session


def stop(session: Session, lost: Losses, why: Reason, keys: tuple[str, ...]) -> Flow[NoReturn]:
    """End the pass before the body of `keys` is begun once more.

    What was parked in this row is open again with the same commit: it was not the fault of these items.
    """
    yield from session.check()
    now: float = yield Now()
    run, error = session.run, stopped_early(session, why)
    end = decide(run, Raised(codec.encode_error(error)), now=now)
    again = reopened(run, lost.parked, now=now)
    end = end._replace(
        entries=(*again.entries, *end.entries),
        ended=(*again.ended, *keys),
        progress=Progress(session.done, session.total, session.last_seq),
    )
    session.applied((yield Keep((end,))))
    session.given_back = True
    raise session.unwind(Stopped(str(error)), cause=error)


def lost_before(engine: Engine, session: Session, key: str) -> Losses:
    """What a loop or map has lost when it comes to this item, in which its program has ended before."""
    store, run_no = engine.store, session.run.no
    return losses(store.entries(run_no, after=store.last_seq(run_no) - limits.PAGE_ROWS), key)


def stopped_early(session: Session, why: Reason) -> TooManyFailures:
    """The error of a loop or map that stops because everything fails."""
    of = f" of {session.total:,}" if session.total is not None else ""
    kept = f"{session.done:,}{of} {'is' if session.done == 1 else 'are'} done and kept."
    if session.run.kind == "loop":
        one = why.failures == 1
        kept += " It is not parked." if one else f" None of the {why.failures:,} is parked."
        again = f"run it again, which goes on {'there' if one else 'at the first of them'}"
    else:
        again = "call again, which retries the failed and does the rest"
    return TooManyFailures(session.run.id, session.run.name, why.sentence, kept, again)
