"""Short ways to say what is written to a store."""

from typing import Any

from onward.core import codec
from onward.core.model import Answer, Applied, Begun, Change, Entry, EntryKind, EntryState, Refused, Run
from onward.storage import Store


def a_run(run_id: str = "r", **fields: Any) -> Run:
    """A leased loop. Its identity is its id, so that two runs do not get in each other's way."""
    given = {
        "kind": "loop",
        "name": "scrape",
        "identity": run_id,
        "state": "running",
        "fence": 1,
        "owner": "me",
    }
    return Run(**{"id": run_id, "lease_until": 30.0, **given, **fields})


def opened(store: Store, run_id: str = "r", **fields: Any) -> Run:
    """A new run as it is stored."""
    [answer] = store.commit([Change(0, 0, after=a_run(run_id, **fields), create=True)])
    assert isinstance(answer, Applied), answer
    run = store.run(run_id)
    assert run is not None
    assert run.no == answer.run_no
    return run


def entry(
    key: str, state: EntryState = "done", kind: EntryKind = "item", value: str | None = "1", **fields: Any
) -> Entry:
    checksum = None if value is None else codec.checksum(value)
    return Entry(key, kind, state, key, value=value, checksum=checksum, fence=1, ended_at=5.0)._replace(
        **fields
    )


def begun(key: str, at: float = 1.0, **fields: Any) -> Begun:
    return Begun(key, "item", key, begun_at=at, **fields)


def record(store: Store, run: Run, *entries: Entry, **change: Any) -> Answer:
    [answer] = store.commit([Change(run.no, run.fence, entries, **change)])
    return answer


def recorded(store: Store, run: Run, *entries: Entry, **change: Any) -> Applied:
    answer = record(store, run, *entries, **change)
    assert isinstance(answer, Applied), answer
    return answer


def reason(answer: Answer) -> str:
    """Why a change was refused."""
    assert isinstance(answer, Refused), answer
    return answer.reason


def keys(store: Store, run: Run) -> list[str]:
    return [e.key for e in store.entries(run.no)]
