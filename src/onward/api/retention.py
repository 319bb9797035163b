"""How long finished runs are kept, and their removal: small transactions, never what somebody still needs.

Unfinished runs are never removed. A finished run with an id of its own is what makes a second call with that id return
the recorded result instead of doing the work again; it stays unless that is said too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from onward.api import connect
from onward.api.identity import has_own_id
from onward.api.journal import Journal
from onward.api.overview import actor
from onward.core import limits
from onward.core.acts import acted
from onward.core.errors import UsageError
from onward.core.model import Applied, Run, RunState

KEEP_S: Final = 30 * 86_400.0
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_PAGE: Final = 500


class Removed(NamedTuple):
    """What `collect` removed, or would remove."""

    runs: int
    entries: int
    with_ids: int  # finished runs that are old enough, and stay because of their ids


class Policy(NamedTuple):
    """Which finished runs go: those that ended so long ago, but for the latest ones of each name."""

    older_than_s: float = KEEP_S
    keep: int = 1
    failed: bool = False  # failed runs too: given up for good
    with_ids: bool = False


def collect(
    journal: Journal,
    policy: Policy,
    *,
    dry_run: bool = False,
    gone: Callable[[Run], object] = lambda run: None,
) -> Removed:
    """Remove what the policy lets go, run by run; `gone` is told of each. Can be interrupted and repeated."""
    runs = entries = with_ids = 0
    for run in _old(journal, policy):
        if has_own_id(run) and not policy.with_ids:
            with_ids += 1
            continue
        count = journal.store.last_seq(run.no) + 1
        if not dry_run and not _remove(journal, run):
            continue  # somebody has continued it meanwhile
        runs, entries = runs + 1, entries + count
        gone(run)
    return Removed(runs, entries, with_ids)


def _old(journal: Journal, policy: Policy) -> Iterator[Run]:
    """Ended runs that are old enough, newest first, without the latest ones of each name."""
    before = journal.now() - policy.older_than_s
    states: list[RunState] = ["done", "cancelled", *(["failed"] if policy.failed else [])]  # type: ignore[list-item]
    seen: Counter[tuple[str, str]] = Counter()
    page_before: int | None = None
    while True:
        page = journal.store.runs(states=states, limit=_PAGE, before_no=page_before)
        for run in page:
            seen[run.kind, run.name] += 1
            if seen[run.kind, run.name] > policy.keep and run.updated_at < before:
                yield run
        if len(page) < _PAGE:
            return
        page_before = page[-1].no


def _remove(journal: Journal, run: Run) -> bool:
    """Remove a run a few thousand entries at a time, so that others can write in between; False if it has changed."""
    if run.state == "failed":
        # Half of its entries would be another past: nobody must continue it from now on.
        change = acted(run, "cancelled", by=f"{actor()} (gc)", now=journal.now())
        assert change is not None, "a failed run can be cancelled"
        if not isinstance(journal.store.commit((change,))[0], Applied):
            return False
        run = journal.get(run.id).run
    while True:
        answer = journal.store.prune(run, at_most=limits.BATCH_CHANGES)
        if not isinstance(answer, Applied):
            return False
        if answer.seq < 0:
            return True


def seconds_of(text: str) -> float:
    """`30d`, `12h`, `90m`, `45s`, `2w` in seconds."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", text)
    if found is None:
        raise UsageError(f"{text[:40]!r} is no length of time; write 30d, 12h, 90m, 45s or 2w")
    return float(found[1]) * _UNITS[found[2]]


def configured() -> float | None:
    """What `[tool.onward] keep` in pyproject.toml says, in seconds; None if it says nothing."""
    keep = connect.configured("keep")
    if keep is None:
        return None
    if not isinstance(keep, str):
        raise UsageError(
            f'[tool.onward] keep takes a length of time such as "30d", not {keep!r}; nothing was removed'
        )
    return seconds_of(keep)
