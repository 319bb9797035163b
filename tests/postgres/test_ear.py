"""Who waits for others to write is woken by the server's word, and does not look meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from onward.core import limits
from onward.runtime.ring import Ring
from onward.storage.bell import readable
from onward.storage.postgres.store import PostgresStore
from postgres.conftest import Open
from postgres.server import Server
from storage.test_contract_queues import queued


class Looks:
    """Whether the store has changed since it was made; counts how often it was asked."""

    def __init__(self, store: PostgresStore) -> None:
        self.count = 0
        self._store, self._seen = store, store.version()
        store._pulse._due = float("inf")  # no looking: it must be told

    def __call__(self) -> bool:
        self.count += 1
        return self._store.version() != self._seen


def quiet(ring: Ring) -> None:
    """Wait until it listens: just made, it looks for a moment."""
    ring.wait(time.monotonic() + 0.5, lambda: False)


def later(seconds: float, what: Callable[[], object]) -> list[float]:
    """Do it in another thread; when it was done, once it is."""
    done: list[float] = []

    def act() -> None:
        what()
        done.append(time.monotonic())

    threading.Timer(seconds, act).start()
    return done


@pytest.mark.important
def test_a_run_that_is_queued_wakes_an_idle_worker_and_nobody_looks_before(open_store: Open) -> None:
    here, there = open_store(), open_store()
    ring = Ring(there.doorbell())
    quiet(ring)
    looks = Looks(there)
    queued_at = later(1.0, lambda: queued(here, "r"))
    ring.wait(time.monotonic() + 60, looks)
    woke_at = time.monotonic()
    assert looks(), "it was woken by news"
    while not queued_at:
        time.sleep(0.001)
    assert woke_at - queued_at[0] < 5
    assert looks.count < 40, "a second of looking would be a hundred looks"
    ring.close()


def test_what_came_with_the_answer_to_something_else_wakes_too(open_store: Open) -> None:
    """The socket has been read then, and is readable no more."""
    here, there = open_store(), open_store()
    there.version()
    looks, bell, link = Looks(there), there.doorbell(), there._keeper.present
    assert bell is not None
    assert link is not None
    assert link.socket is not None
    queued(here, "r")
    assert readable(10, [link.socket]), "the word is there"
    there._kept(("clock", ()))
    assert not readable(0, [link.socket])
    assert bell.rang()
    assert looks()
    assert not bell.rang(), "it has been heard"


def test_what_another_thread_has_read_wakes_too(open_store: Open) -> None:
    here, there = open_store(), open_store()
    there.version()
    bell, link = there.doorbell(), there._keeper.present
    assert bell is not None
    assert link is not None
    assert link.socket is not None
    bell.rang()  # it is told when it begins to listen
    queued(here, "r")
    assert readable(10, [link.socket]), "the word is there"
    reader = threading.Thread(target=there.version)
    reader.start()
    reader.join()
    assert not readable(0, [link.socket])
    assert bell.rang()


@pytest.mark.parametrize("what", ["started", "told"])
def test_what_this_process_does_wakes_its_own_worker(open_store: Open, what: str) -> None:
    store = open_store()
    queued(store, "r")
    store.version()
    bell = store.doorbell()
    assert bell is not None
    bell.rang()
    seen = store.version()
    if what == "started":
        queued(store, "s")
    else:
        store.set_queue("q", paused=False)
    assert bell.rang()
    assert store.version() != seen


def test_a_ring_that_nobody_has_heard_makes_nobody_spin(open_store: Open) -> None:
    """While the connection that listens is in use nobody can look; who waits for a result waits."""
    store = open_store()
    store.version()
    store._ear.ring()
    began_at = time.monotonic()
    store.linger(0.2)
    assert time.monotonic() - began_at >= 0.2


def test_who_does_not_look_is_not_woken(open_store: Open) -> None:
    """A worker whose hands are full would be rung for each commit of others, and never look."""
    here, there = open_store(), open_store()
    ring = Ring(there.doorbell())
    there.version()
    quiet(ring)
    looks = Looks(there)
    queued(here, "r")
    asked = 0

    def is_full() -> bool:
        nonlocal asked
        asked += 1
        return False

    ring.wait(time.monotonic() + 1, is_full, lambda: False)
    assert asked < 1 / limits.LOOK_S + 20
    assert looks()
    ring.close()


def test_a_journal_that_is_closed_meanwhile_is_not_connected_to_again(open_store: Open) -> None:
    store = open_store()
    store.version()
    store.close()
    assert store._listens() is False
    assert store._keeper.present is None
    store.linger(0.0)


def test_a_worker_whose_connection_was_cut_is_woken_over_the_next_one(
    open_store: Open, postgres_server: Server
) -> None:
    here, there = open_store(), open_store()
    ring = Ring(there.doorbell())
    there.version()
    quiet(ring)
    link = there._keeper.present
    assert link is not None
    postgres_server.execute(f"SELECT pg_terminate_backend({link.backend_pid})")
    ring.wait(time.monotonic() + 0.5, lambda: there.version() is None)
    looks = Looks(there)
    queued_at = later(0.5, lambda: queued(here, "r"))
    ring.wait(time.monotonic() + 60, looks)
    assert looks()
    while not queued_at:
        time.sleep(0.001)
    ring.close()


def test_a_connection_on_which_somebody_reads_is_closed_when_the_store_is(open_store: Open) -> None:
    store = open_store()
    with store._pool.borrowed(time.monotonic() + 5) as link:
        store.close()
    assert link.closed


def test_threads_linger_until_somebody_writes(open_store: Open) -> None:
    here, there = open_store(), open_store()
    there.version()
    seen = there.version()
    there._pulse._due = float("inf")
    woke: list[float] = []

    def wait() -> None:
        while there.version() == seen:
            there.linger(60.0)
        woke.append(time.monotonic())

    waiting = [threading.Thread(target=wait, daemon=True) for _ in range(4)]
    for thread in waiting:
        thread.start()
    # Who has just looked while another one was told hears of the next write.
    for number in range(200):
        queued(here, f"r{number}")
        waiting[0].join(0.05)
        if not any(thread.is_alive() for thread in waiting):
            break
    assert len(woke) == len(waiting)


def test_through_a_pooler_nobody_is_told_and_one_looks(open_store: Open, pooler_port: int) -> None:
    store = open_store(port=pooler_port)
    store.version()
    bell = store.doorbell()
    assert bell is not None
    assert list(bell.descriptors()) == []
    began_at = time.monotonic()
    store.linger(limits.LOOK_S)
    assert time.monotonic() - began_at >= limits.LOOK_S
