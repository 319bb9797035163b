"""The memory store, written for clarity, is the model of the SQLite store with its indexes: both read the same."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.core.model import Change, Entry
from onward.storage.memory import MemoryStore
from onward.storage.sqlite import reader
from onward.storage.sqlite.store import SqliteStore
from storage.rows import entry, opened


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    """One file for all examples, each in a run of its own: making a file costs more than the example."""
    store = SqliteStore(tmp_path_factory.mktemp("model") / "journal.db", durability="process")
    yield store
    store.close()


_KEYS = ["each/a", "each/b", "each/a > each/x", "each/a > s#1", "each/é", "s#1", "each", "f/a", "each/z~2"]
_ENTRIES = st.builds(
    entry,
    st.sampled_from(_KEYS),
    st.sampled_from(["done", "failed", "retry", "crashed", "reopened"]),
    st.sampled_from(["item", "step"]),
)


@given(
    batches=st.lists(st.lists(_ENTRIES, min_size=1, max_size=5), max_size=6),
    prefix=st.sampled_from(["", "each/", "each/a > ", "s"]),
    after=st.integers(-1, 8),
    few=st.sampled_from([0, 20_000]),
)
def test_both_stores_read_the_same_whatever_was_recorded(
    sqlite: SqliteStore, batches: list[list[Entry]], prefix: str, after: int, few: int
) -> None:
    model = MemoryStore()
    ours = opened(model)
    run = opened(sqlite, f"r{len(sqlite.runs(limit=-1))}")
    for batch in batches:
        answers = model.commit([Change(ours.no, 1, (one,)) for one in batch])
        assert [type(a) for a in answers] == [
            type(a) for a in sqlite.commit([Change(run.no, 1, (one,)) for one in batch])
        ]
    assert sqlite.entries(run.no) == model.entries(ours.no)
    assert sqlite.scope_entries(run.no, prefix) == model.scope_entries(ours.no, prefix)
    assert sqlite.failed_items(run.no) == model.failed_items(ours.no)
    assert sqlite.count_items(run.no, after) == model.count_items(ours.no, after)
    for key in _KEYS:
        assert sqlite.outcome(run.no, key) == model.outcome(ours.no, key)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_FEW", few)  # both ways of reading: by key and by number
        for limit in (2, 99):
            page = model.done_items(ours.no, prefix, after=after, limit=limit)
            assert sqlite.done_items(run.no, prefix, after=after, limit=limit) == page
