"""What can be wrong with stored rows, a sentence each; the same words for every store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

from onward.core import codec
from onward.core.model import EntryKind, EntryState

_KINDS: Final = frozenset(get_args(EntryKind))
_STATES: Final = frozenset(get_args(EntryState))


def misnumbered(run_id: str, count: int, first: int, last: int) -> str:
    return (
        f"run {run_id} has {count} entries numbered {first} to {last}: numbers must go from 0 without a gap"
    )


def done_twice(run_id: str, key: str, count: int) -> str:
    return f"run {run_id}: `{key}` is done {count} times"


def odd_lease(run_id: str, state: str, owner: str | None, lease_until: float | None) -> str:
    return (
        f"run {run_id} is {state} with owner {owner} and lease until {lease_until}: they do not go together"
    )


def odd_untold(run_id: str, untold: int, state: str) -> str:
    return (
        f"run {run_id} is {state} and tells of {untold} entries by its row alone: other columns of that row, or the "
        f"entries that are stored, do not go with it"
    )


def of_entry(
    run_id: str,
    seq: int,
    key: str,
    value: str | None,
    checksum: int | None,
    fence: int,
    run_fence: int,
    kind: str,
    state: str,
) -> Iterator[str]:
    """What is wrong with one entry."""
    where = f"run {run_id}, entry {seq} (`{key}`)"
    if value is not None and checksum is not None and codec.checksum(value) != checksum:
        yield f"{where}: the value does not match its checksum"
    if (value is None) != (checksum is None):
        yield f"{where}: value and checksum do not go together"
    if fence > run_fence:
        yield f"{where}: fence {fence} is newer than the run's fence {run_fence}"
    if kind not in _KINDS or state not in _STATES:
        yield f"{where}: `{kind}` `{state}` is no kind and state of an entry"
