"""The port's promises about runs that are added as one lot: they are there as if each had been added alone."""

from typing import Any

import pytest

from onward.core import codec
from onward.core.claiming import lot, queued, submitted
from onward.core.model import Added, Applied, Change, Claim, Claimed, Lot, Refused, Run
from onward.storage import Store
from storage.rows import reason

# More than SQLite inserts by one statement, and no multiple of it.
MANY = 123


def like(**fields: Any) -> Run:
    given = {"queue": "q", "direct": False, "lane": None, "single": None}
    return queued(Run("", "workflow", "job", "", **{**given, **fields}), now=5.0)


def a_lot(*ids: str, args: dict[str, str] | None = None, singles: Any = None, **fields: Any) -> Lot:
    texts = [(args or {}).get(own, f'[["{own}"],{{}}]') for own in ids]
    lanes = [f"lane {at % 3}" if at % 4 else None for at in range(len(ids))]
    return lot(like(**fields), "queued:", ids, texts, lanes, singles or [None] * len(ids), now=5.0)


def names(count: int, stem: str = "job") -> list[str]:
    return [f"{stem}-{number:03}" for number in range(count)]


def add(store: Store, one: Lot) -> list[int]:
    [answer] = store.commit([one])
    assert isinstance(answer, Added), answer
    return list(answer.numbers)


def ids(store: Store) -> list[str]:
    return sorted(run.id for run in store.runs(limit=-1))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"wake_at": 9_000.5, "priority": -7},
        {"tags": '["a","ü"]', "parent": "other", "command": "python x.py"},
    ],
)
def test_the_runs_of_a_lot_are_read_back_as_if_each_had_been_added_alone(
    store: Store, fields: dict[str, Any]
) -> None:
    own = names(MANY)
    one = a_lot(*own, singles=[f"end:job:{name}" for name in own], **fields)
    numbers = add(store, one)
    assert numbers == sorted(set(numbers))
    assert numbers[0] > 0
    for at, (no, run_id) in enumerate(zip(numbers, own, strict=True)):
        run = store.run(run_id)
        assert run == one.run(at)._replace(no=no)
        [mark] = store.entries(no)
        [alone] = submitted(one.run(at), now=5.0).entries
        assert mark == alone._replace(seq=0)
        assert mark.checksum == codec.checksum(mark.value or "")


def test_a_run_whose_id_or_single_is_taken_is_left_out_and_the_others_are_added(store: Store) -> None:
    [first] = store.commit([submitted(like()._replace(id="job-001", identity="queued:job-001"), now=1.0)])
    assert isinstance(first, Applied)
    singles: list[str | None] = [None] * 60
    singles[4] = singles[9] = "end:job:x"
    own = names(60)
    own[20] = own[19]
    numbers = add(store, a_lot(*own, singles=singles))
    assert [at for at, no in enumerate(numbers) if no == 0] == [1, 9, 20]
    assert ids(store) == sorted({*own} - {"job-009"})
    assert [len(store.entries(no)) for no in numbers if no] == [1] * 57
    before = store.run("job-001")
    assert before is not None
    assert before.no == first.run_no
    assert len(store.entries(before.no)) == 1


def test_a_lot_that_is_there_already_adds_nothing(store: Store) -> None:
    one = a_lot(*names(MANY))
    numbers = add(store, one)
    assert add(store, one) == [0] * MANY
    assert [store.last_seq(no) for no in numbers] == [0] * MANY
    assert len(ids(store)) == MANY


def test_a_claim_in_the_same_batch_gets_them_in_their_order(store: Store) -> None:
    one = a_lot(*names(MANY))
    added, claimed = store.commit([one, Claim("me", 30.0, ("job",), (), MANY)])
    assert isinstance(added, Added)
    assert isinstance(claimed, Claimed)
    assert [run.no for run, _ in claimed.runs] == list(added.numbers)
    assert [(run.args, run.lane) for run, _ in claimed.runs] == list(zip(one.args, one.lanes, strict=True))


def test_a_lot_sees_what_stands_before_it_and_is_seen_by_what_comes_after(store: Store) -> None:
    add(store, a_lot("first", singles=["end:job:x"]))
    first = store.run("first")
    assert first is not None
    gone = first._replace(state="cancelled", single=None)
    answers = store.commit(
        [
            Change(first.no, first.fence, after=gone, before=first),
            a_lot("second", "third", singles=["end:job:x", None]),
            submitted(like()._replace(id="third", identity="queued:third"), now=5.0),
            a_lot("fourth"),
        ]
    )
    assert isinstance(answers[1], Added)
    assert all(answers[1].numbers)
    assert isinstance(answers[2], Refused)
    assert isinstance(answers[3], Added)
    assert ids(store) == ["first", "fourth", "second", "third"]


def test_a_lot_that_cannot_be_written_is_refused_whole_and_spoils_nothing_beside_it(store: Store) -> None:
    bad = a_lot(*names(MANY), singles=[None] * 100 + ["half \ud800"] + [None] * 22)
    answers = store.commit([a_lot("before"), bad, a_lot("after")])
    if isinstance(answers[1], Added):
        return  # this store holds any text
    assert isinstance(answers[1], Refused)
    assert reason(answers[1]) == "key"
    assert ids(store) == ["after", "before"]
    assert all(isinstance(one, Added) and all(one.numbers) for one in (answers[0], answers[2]))


def test_a_journal_that_was_moved_takes_no_lot(store: Store) -> None:
    store.set_moved("elsewhere")
    [answer] = store.commit([a_lot(*names(3))])
    assert isinstance(answer, Refused)
    assert answer.reason == "moved"
    assert ids(store) == []


def test_a_queue_is_known_from_its_first_lot_on(store: Store) -> None:
    assert store.queues() == []
    add(store, a_lot(*names(3), queue="new"))
    assert [one.name for one in store.queues()] == ["new"]
    assert store.queue_counts("new", at_most=10).pending == 3


def test_a_lot_changes_the_version(store: Store) -> None:
    before = store.version()
    add(store, a_lot("one"))
    assert store.version() != before
