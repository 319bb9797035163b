"""Steps that need a person: at-most-once steps of which nobody knows whether they were executed, and failed steps.

The person finds out what happened in the world and says it here; then the run's own call goes on.
"""

from __future__ import annotations

import difflib

from onward.api.journal import Journal
from onward.api.overview import Acted, actor
from onward.core import codec
from onward.core.doubts import freed, settled
from onward.core.errors import PayloadError, UsageError
from onward.core.model import Begun, Change, Entry, Run
from onward.core.texts import plain


def settle(journal: Journal, run_id: str, key: str, value: str, *, by: str | None = None) -> Acted:
    """Say what a step returned that is in doubt or has failed: `value`, as JSON text. It will not be executed again."""
    text = _payload(value)

    def change(run: Run) -> Change:
        return settled(run, _found(journal, run, key), text, by=by or actor(), now=journal.now())

    return journal.act(run_id, "skip", change)


def free(journal: Journal, run_id: str, key: str, *, by: str | None = None) -> Acted:
    """Say that a step in doubt was not executed: when its run goes on, it is begun again."""

    def change(run: Run) -> Change:
        found = _found(journal, run, key)
        if isinstance(found, Entry):
            raise UsageError(
                f"step `{plain(key, 80)}` of run {run.id} has failed and is not in doubt; nothing was changed. "
                f"`onward retry {run.id}` makes what failed ready to be executed again."
            )
        return freed(run, found, by=by or actor(), now=journal.now())

    return journal.act(run_id, "retry", change)


def is_step(journal: Journal, run_id: str, key: str) -> bool:
    """Whether the key is that of a step in doubt, or of one that failed."""
    run = journal.get(run_id).run
    return key in _candidates(journal, run) or _failed(journal, run, key) is not None


def _found(journal: Journal, run: Run, key: str) -> Begun | Entry:
    candidates = _candidates(journal, run)
    found = candidates.get(key) or _failed(journal, run, key)
    if found is not None:
        return found
    near = difflib.get_close_matches(key[:1_000], list(candidates), 1)
    hint = f" Did you mean `{plain(near[0])}`?" if near else f" `onward show {run.id}` lists its steps."
    raise UsageError(
        f"run {run.id} has no step `{plain(key, 80)}` that is in doubt or has failed; nothing was changed.{hint}"
    )


def _candidates(journal: Journal, run: Run) -> dict[str, Begun]:
    """Steps that a lease which is over had begun, and that have no outcome."""
    return {one.key: one for one in journal.store.begun(run.no) if one.kind == "step" and one.fence}


def _failed(journal: Journal, run: Run, key: str) -> Entry | None:
    entry = journal.store.outcome(run.no, key)
    return entry if entry is not None and (entry.kind, entry.state) == ("step", "failed") else None


def _payload(text: str) -> str:
    try:
        return codec.encode(codec.decode(text))
    except PayloadError as error:
        raise UsageError(
            f"the value is not JSON ({error.problem}); nothing was changed. A text is written as '\"shipped\"', "
            f"nothing as null."
        ) from None
