"""Runs as lines of JSON: everything that is recorded is carried, and comes back as it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.core import codec, exported
from onward.core.exported import Head, NotExported
from onward.core.model import Begun, Entry, Run

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NAME = st.text(st.characters(categories=["L", "N"], include_characters=" :/#~"), min_size=1, max_size=30)
COUNT = st.integers(0, 2**63 - 1)
TIME = st.floats(allow_nan=False, allow_infinity=False)


def test_every_field_is_carried_but_those_that_belong_to_a_journal() -> None:
    """A field that is added to the model and forgotten here would be lost on the way."""
    run = set(Run._fields)
    assert run - set(exported._RUN) == {"no", "owner", "lease_until", "request"}
    assert set(Entry._fields) - set(exported._ENTRY) == {"seq"}
    assert set(Begun._fields) == set(exported._BEGUN)


RUNS = st.builds(
    Run,
    id=NAME,
    kind=st.sampled_from(["loop", "map", "workflow"]),
    name=NAME,
    identity=NAME,
    args=st.none() | TEXT,
    direct=st.booleans(),
    state=st.sampled_from(["done", "failed", "running", "pending"]),
    fence=COUNT,
    wake_at=st.none() | TIME,
    result=st.none() | TEXT,
    error=st.none() | TEXT,
    command=st.none() | TEXT,
    total=st.none() | COUNT,
    done=COUNT,
    created_at=TIME,
    updated_at=TIME,
    stalls=COUNT,
    leased_seq=st.integers(-1, 2**63 - 1),
    counted_seq=st.integers(-1, 2**63 - 1),
    queue=NAME,
    priority=st.integers(-(10**6), 10**6),
    lane=st.none() | NAME,
    single=st.none() | NAME,
    tags=st.none() | TEXT,
    parent=st.none() | NAME,
    attempt=COUNT,
    # Of this journal alone:
    owner=st.none(),
    lease_until=st.none(),
    request=st.none(),
    no=st.just(0),
)


@given(RUNS, st.booleans(), COUNT, COUNT)
def test_a_run_comes_back_as_it_was(run: Run, moved: bool, entries: int, begun: int) -> None:
    line = exported.line_of(exported.head_document(Head(run, moved, entries, begun)))
    assert line.count(b"\n") == 1
    assert exported.head_of(exported.document_of(line, 1), 1) == Head(run, moved, entries, begun)


@given(
    st.builds(
        Entry,
        key=NAME,
        kind=st.sampled_from(["step", "item", "sleep", "value", "child", "beat", "mark"]),
        state=st.sampled_from(["done", "failed", "retry", "crashed", "reopened", "mark"]),
        name=TEXT,
        fingerprint=st.none() | st.binary(min_size=1, max_size=8),
        value=st.none() | TEXT,
        checksum=st.none(),
        attempt=COUNT,
        fence=st.integers(0, 9),
        begun_at=st.none() | TIME,
        ended_at=TIME,
        seq=st.just(-1),
    )
)
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    if entry.value is not None:
        entry = entry._replace(checksum=codec.checksum(entry.value))
    line = exported.line_of(exported.entry_document(entry))
    run = Run("r", "loop", "n", "i", fence=9)
    assert exported.entry_of(exported.document_of(line, 1), 1, run) == entry


@given(
    st.builds(
        Begun,
        key=NAME,
        kind=st.sampled_from(["step", "item", "child"]),
        name=TEXT,
        attempt=COUNT,
        crashes=COUNT,
        suspect=st.booleans(),
        due_at=st.none() | TIME,
        fence=COUNT,
        begun_at=TIME,
    )
)
def test_what_had_begun_comes_back_as_it_was(begun: Begun) -> None:
    line = exported.line_of(exported.begun_document(begun))
    assert exported.begun_of(exported.document_of(line, 1), 1) == begun


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["run", "entry", "begun", "moved", "entries"]), JSON))
def test_no_document_whatever_raises_anything_but_a_sentence(document: dict[str, object]) -> None:
    run = Run("r", "loop", "n", "i", fence=9)
    for read in (
        lambda: exported.head_of(document, 7),
        lambda: exported.entry_of(document, 7, run),
        lambda: exported.begun_of(document, 7),
    ):
        with pytest.raises(NotExported, match="line 7 of the export is damaged"):
            read()
