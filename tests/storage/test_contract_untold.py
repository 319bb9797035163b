"""The port's promise about short jobs: how little a store writes of them shows nowhere.

The memory store writes every entry. Whatever is done to queued runs, all stores read as it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

import pytest

from onward.core import codec
from onward.core.acts import forgotten
from onward.core.claiming import Past, orphaned
from onward.core.decide import Beaten, Raised, Released, Returned, Started, counted, decide, moved
from onward.core.model import (
    Added,
    Answer,
    Applied,
    Begun,
    Change,
    Claimed,
    End,
    Entry,
    Order,
    Refused,
    Request,
)
from onward.storage import Store
from onward.storage.memory import MemoryStore
from storage.conftest import Clock
from storage.test_contract_claims import add, an_order, declare, queued

# The later ones where programs and servers are killed for longer, too.
_SEEDS: Final = [*range(5), *(pytest.param(seed, marks=pytest.mark.faults) for seed in range(5, 16))]
_ACTS: Final = 60
_NAMES: Final = ("job", "other")
_OPENED: Final = Begun("s#1", "step", "s", begun_at=3.0)


class Pair:
    """A store and its model, to which the same is done."""

    def __init__(self, store: Store, clock: Clock, random: Random) -> None:
        self.store, self.model, self.clock, self.random = store, MemoryStore(clock=clock), clock, random
        self.ids: list[str] = []

    def commit(self, orders_of: Callable[[Store], Sequence[Order]]) -> None:
        ours, theirs = (store.commit(orders_of(store)) for store in (self.store, self.model))
        assert [_shown(one) for one in ours] == [_shown(one) for one in theirs]

    def both(self, act: Callable[[Store], Any]) -> None:
        assert _shown(act(self.store)) == _shown(act(self.model))

    def compare(self) -> None:
        for one in [*self.ids[:6], *self.random.sample(self.ids, min(6, len(self.ids)))]:
            ours, theirs = self.store.run(one), self.model.run(one)
            assert (ours is None) == (theirs is None)
            if ours is None or theirs is None:
                continue
            assert ours._replace(no=0) == theirs._replace(no=0)
            last = self.store.last_seq(ours.no)
            assert last == self.model.last_seq(theirs.no)
            after, limit = self.random.randint(-1, last + 1), self.random.choice([-1, 0, 1, 2, 9])
            for page in ({}, {"after": after}, {"after": after, "limit": limit}):
                assert self.store.entries(ours.no, **page) == self.model.entries(theirs.no, **page)
            assert self.store.recorded(ours.no) == self.model.recorded(theirs.no)
            assert self.store.begun(ours.no) == self.model.begun(theirs.no)
        assert list(self.store.problems()) == []


def _shown(answer: Any) -> Any:
    """An answer without the numbers that each store gives."""
    if isinstance(answer, Applied):
        return answer._replace(run_no=0)
    if isinstance(answer, Refused):
        return answer.reason
    if isinstance(answer, Claimed):
        return [(run._replace(no=0), seq) for run, seq in answer.runs], answer.next_at
    return len(answer.numbers) if isinstance(answer, Added) else answer


def _done_to(random: Random, run_id: str) -> Callable[[Store], Sequence[Order]]:
    """Something that is done to a run by whoever holds it, or without a lease: a little of everything."""
    value = str(random.randint(0, 99))
    outcome = Entry(
        f"s#{random.randint(1, 4)}", "step", "done", "s", None, "1", codec.checksum("1"), 1, 1, 2.0, 3.0
    )
    further = outcome._replace(key=f"s#{random.randint(5, 9)}")
    last = random.random()

    def orders(store: Store) -> Sequence[Order]:
        here = store.run(run_id)
        if here is None:
            return []
        now = store.now()
        past = Past(store.last_seq(here.no), progressed=False)
        if here.state != "running":
            return [forgotten(here, by="test", now=now)] if here.state == "failed" else []
        choices: list[Callable[[], Sequence[Order]]] = [
            lambda: [End(here, value, now)],
            lambda: [End(here, value, now)],
            lambda: [decide(here, Returned(value), now=now)],
            lambda: [decide(here, Started(_OPENED), now=now)],
            lambda: [Change(here.no, here.fence, (outcome._replace(fence=here.fence),), ended=("s#1",))],
            lambda: [Change(here.no, here.fence, (outcome._replace(fence=here.fence),))],
            lambda: [Change(here.no, here.fence, (outcome, further), (_OPENED,))],
            lambda: [decide(here, Beaten(_OPENED, 1, value, new=True), now=now)],
            lambda: [counted(here, done=3, total=None, seq=here.leased_seq)],
            lambda: [moved(here, value, now=now)],
            lambda: [decide(here, Raised(codec.encode_error(ValueError(value))), now=now)],
            lambda: [decide(here, Released("released"), now=now)],
            lambda: [decide(here, Released("suspended", None, now + 1), now=now)],
            lambda: [orphaned(here, past, now=now)],
            lambda: [End(here._replace(fence=here.fence - 1), value, now)],  # of a lease that is over
        ]
        return choices[int(last * len(choices))]()

    return orders


def _renamed(store: Store, one: str) -> Answer | None:
    run = store.run(one)
    if run is None:
        return None
    mark = Entry("run/renamed", "mark", "mark", "renamed", None, None, None, 1, run.fence, None, store.now())
    return store.rename(run, name="job", identity=run.identity, command="c", mark=mark)


def _pruned(store: Store, one: str, at_most: int) -> Answer | None:
    run = store.run(one)
    return None if run is None or run.state != "done" else store.prune(run, at_most=at_most)


def _at_random(pair: Pair, random: Random, names: Sequence[str]) -> None:
    """Do something with a run, preferably with one of the first ones, which are claimed first."""
    some = random.choice(pair.ids[: random.choice([4, 20, 1_000])] or [""])
    act = random.choice(["add", "claim", "do", "do", "do", "batch", "ask", "renew", "rename", "prune"])
    if act == "add" or not some:
        new = [f"r{len(pair.ids) + at}" for at in range(random.choice([1, 3, 60]))]
        rows = [queued(one, name=random.choice(names)) for one in new]
        for store in (pair.store, pair.model):
            add(store, *rows)
        pair.ids += new
    elif act == "claim":
        limit = random.choice([1, 2, 70])
        pair.commit(lambda _: [an_order(limit, names=_NAMES)])
    elif act == "do":
        pair.commit(_done_to(random, some))
    elif act == "batch":
        chosen = [_done_to(random, one) for one in random.sample(pair.ids, min(4, len(pair.ids)))]
        then = [an_order(2, names=_NAMES)] if random.random() < 0.5 else []
        pair.commit(lambda store: [*(one for orders in chosen for one in orders(store)), *then])
    elif act == "ask":
        wish: Request = random.choice(["pause", "cancel"])
        pair.both(lambda store: store.request(_number(store, some), wish))
    elif act == "renew":
        pair.both(lambda store: len(store.renew("me", store.now() + 40)))
    elif act == "rename":
        pair.both(lambda store: _renamed(store, some))
    else:
        at_most = random.choice([1, 2, 3])
        pair.both(lambda store: _pruned(store, some, at_most))


@pytest.mark.parametrize("seed", _SEEDS)
def test_whatever_is_done_to_runs_every_store_reads_as_the_one_that_writes_all(
    store: Store, clock: Clock, seed: int
) -> None:
    random = Random(seed)
    pair = Pair(store, clock, random)
    for one in (pair.store, pair.model):
        if seed % 3 == 0:
            declare(one, concurrency=5)
    for _ in range(_ACTS):
        clock.at += random.random()
        _at_random(pair, random, _NAMES if seed % 4 == 0 else _NAMES[:1])
        if random.random() < 0.1:
            pair.compare()
    pair.compare()


def _number(store: Store, one: str) -> int:
    run = store.run(one)
    return 0 if run is None else run.no
