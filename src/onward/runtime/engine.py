"""An open journal in this process: its store, its committer, who we are, and how runs are opened and claimed.

A forked child starts with none of it: the parent's leases, locks and connections are not its own.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from onward.core import limits
from onward.core.decide import Past, claimed, may_claim, opened
from onward.core.errors import JournalBroken, LeaseLost, RunConflict, Stopped
from onward.core.keys import SEPARATOR
from onward.core.model import Applied, Begun, Change, Entry, Owner, Run
from onward.runtime.bell import Bell
from onward.runtime.leases import Leases
from onward.runtime.session import Session
from onward.storage import Store, host
from onward.storage.committer import Committer

_CLOCK: Final = host.monotonic_clock()


# Seconds that go on while the machine is suspended: a lease does not wait for a laptop's lid to open.
monotonic: Final[Callable[[], float]] = (
    time.monotonic if _CLOCK is None else functools.partial(time.clock_gettime, _CLOCK)
)


class Engine(Leases):
    """Opens, claims and keeps runs. One for each open store of a process."""

    def __init__(
        self,
        store: Store,
        *,
        committer: Committer | None = None,
        lease_s: float = limits.LEASE_S,
        clock: Callable[[], float] = monotonic,
        keeper: bool = True,
    ) -> None:
        super().__init__(store, committer or Committer(store), lease_s=lease_s, clock=clock, keeper=keeper)
        self._registered = False
        _engines.add(self)

    # -- opening and claiming -------------------------------------------------------------------------------

    def open(self, run: Run) -> Session | None:
        """Begin a new run and lease it; None if another open run of its identity came first."""
        self._register()
        safe_until = self._safe_until()
        change = opened(run, owner=self.owner, now=self.store.now(), lease_s=self.lease_s)
        return self._lease(change, safe_until)

    def claim(self, run: Run, reopen: Callable[[Run], Sequence[Entry]] = lambda run: ()) -> Session | None:
        """Lease an existing run; None if it is not to be had (somebody lives and holds it, or came first)."""
        self._register()
        self.committer.flush()  # what an earlier lease of ours still has on its way would make stale what is read here
        safe_until, now = self._safe_until(), self.store.now()
        if not may_claim(run, now=now, owner_is_dead=self.is_dead(run)):
            return None
        # An outcome, if the last lease recorded any, stands among the first entries after its mark.
        later = self.store.entries(run.no, after=run.leased_seq, limit=50)
        progressed = any(e.state in ("done", "failed", "retry") for e in later)
        last_seq = self.store.last_seq(run.no)
        begun = _innermost(self.store.begun(run.no), run.fence)
        past = Past(last_seq, progressed, begun, tuple(reopen(run)), ended_alive=self.ended_alive(run))
        change = claimed(run, past, owner=self.owner, now=now, lease_s=self.lease_s)
        return self._lease(change, safe_until)

    def _lease(self, change: Change, safe_until: float) -> Session | None:
        assert change.after is not None, "leasing a run writes its row"
        identity = change.after.identity
        # From before its row names us until it is among our sessions, no other thread may take us for dead.
        self._leasing.append(identity)
        try:
            answer = self.committer.commit(change)[0]
            if not isinstance(answer, Applied):
                return None
            return self._hold(self._stored(change.after, answer), answer.seq, safe_until)
        except BaseException:
            self.owe(change.after)  # perhaps the answer was lost, and the journal has us as the holder
            raise
        finally:
            self._leasing.remove(identity)

    def is_dead(self, run: Run) -> bool:
        """Whether the run's holder is proven dead. A run that this very process holds has a living holder."""
        if run.owner is None:
            return True
        if run.owner == self.owner:
            return not self.holds(run)
        # An owner registers before its first claim and unregisters when it holds nothing more.
        return self.store.owner(run.owner) is None or self.store.owner_is_dead(run.owner)

    def held_here(self, run: Run) -> bool:
        """Whether the calling thread is the one that executes the run."""
        session = self.sessions.get(run.no)
        return session is not None and session.thread == threading.get_ident()

    def holder(self, run: Run) -> str:
        """Who holds the run, for people."""
        owner = self.store.owner(run.owner) if run.owner else None
        if owner is None:
            return "its holder is unknown"
        where = "this process" if owner.id == self.owner else f"process {owner.pid} on {owner.host}"
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.updated_at))
        return f"{where}, since {since}: {owner.command[:80]}"

    def ended(self, run: Run) -> Session:
        """A session that only reads a run that has ended: whatever is not recorded in it is refused."""
        later = replace(run, fence=run.fence + 1)  # to a pass, what is recorded is of an earlier lease
        session = Session(later, last_seq=self.store.last_seq(run.no), safe_until=0.0, clock=self.clock)
        clash = RunConflict(
            run.id,
            f"run {run.id} has ended without some of the items given now; nothing of them was done. Call again.",
        )
        session.unwind(Stopped(str(clash)), cause=clash)
        return session

    def _stored(self, run: Run, answer: Applied) -> Run:
        return replace(run, no=answer.run_no)

    def _hold(self, run: Run, last_seq: int, safe_until: float) -> Session:
        session = Session(run, last_seq=last_seq, safe_until=safe_until, clock=self.clock)
        session.run_stalls = run.stalls
        if run.fence > 1:
            session.begun.update((b.key, b) for b in self.store.begun(run.no))
            if run.kind == "workflow":
                session.learn(self.store.entries(run.no))
                session.expect()
            else:
                session.done = run.done + self.store.count_items(run.no, run.counted_seq)
        self.hold(session)
        return session

    # -- waiting --------------------------------------------------------------------------------------------

    def nap(self, woken: Bell, seconds: float) -> bool:
        return woken.wait(seconds)

    async def nap_async(self, woken: Bell, seconds: float) -> bool:
        return await woken.wait_async(seconds)

    # -- life -------------------------------------------------------------------------------------------------

    def _register(self) -> None:
        with self._lock:  # two threads may begin their first runs at once
            if self._registered:
                return
            command = " ".join(sys.argv) or sys.executable
            boot = host.boot() or ""
            self.store.register(Owner(self.owner, _host(), boot, os.getpid(), command, self.store.now()))
            self._registered = True

    def close(self) -> None:
        """Commit what is queued and close the store. Runs still held are given back: their code can record no more."""
        held = self._take_from_their_code()
        try:
            self.committer.close()
        finally:
            for session in held:
                self.let_go(session)
            if self._registered:
                self.leave()
            self.store.close()
            _engines.discard(self)

    def _take_from_their_code(self) -> list[Session]:
        # First of all: what is called from now on may find another journal open, and must not write this run into it.
        held = list(self.sessions.values())
        for session in held:
            closed = JournalBroken(
                f"the journal {self.store.place} was closed in this process while it executed run {session.run.id}; "
                f"what was recorded is kept, nothing more is. Call it again to continue it."
            )
            session.unwind(Stopped(str(closed)), cause=closed)
        return held

    def abandon(self) -> None:
        """In a forked child: everything here belongs to the parent."""
        for session in list(self.sessions.values()):
            session.unwind(LeaseLost(session.run.id, session.run.fence))
        self.sessions.clear()
        self._owed.clear()
        self.store.abandon()


def _innermost(begun: Sequence[Begun], fence: int) -> tuple[Begun, ...]:
    """Units without those in whose body another one was in flight: a death is blamed on the one it happened in."""
    around: set[str] = set()
    for key in (b.key for b in begun if b.fence == fence):
        while SEPARATOR in key:
            key = key.rpartition(SEPARATOR)[0]
            around.add(key)
    return tuple(b for b in begun if b.key not in around)


def _host() -> str:
    # Not socket.gethostname, which says the same and takes milliseconds to import.
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _abandon_all() -> None:
    for engine in list(_engines):
        engine.abandon()
    _engines.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
