"""An open journal in this process: its store, its committer, who we are, and the keeper of our leases.

A forked child starts with none of it: the parent's leases, locks and connections are not its own.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from onward.core import limits
from onward.core.decide import Past, Started, claimed, decide, may_claim, opened
from onward.core.errors import JournalError, LeaseLost, RunConflict, Stopped
from onward.core.keys import SEPARATOR
from onward.core.lazily import Lazily
from onward.core.model import Applied, Begun, Change, Entry, Owner, Request, Run
from onward.runtime import current
from onward.runtime.session import Session
from onward.storage import Store
from onward.storage.committer import Committer

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")

# How often the keeper looks at start markers and progress (seconds); only while runs are active.
_TICK_S = 0.25


def monotonic() -> float:
    """Seconds that go on while the machine is suspended: a lease does not wait for a laptop's lid to open."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Engine:
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
        self.store = store
        self.committer = committer or Committer(store)
        self.lease_s, self.clock = lease_s, clock
        self.owner = uuid.uuid4().hex
        self._registered = False
        self._keeper_wanted = keeper
        self._keeper: threading.Thread | None = None
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self.sessions: dict[int, Session] = {}
        self._leasing: list[str] = []  # identities of runs that are being leased
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
        safe_until, now = self._safe_until(), self.store.now()
        if not may_claim(run, now=now, owner_is_dead=self.is_dead(run)):
            return None
        # An outcome, if the last lease recorded any, stands among the first entries after its mark.
        later = self.store.entries(run.no, after=run.leased_seq, limit=50)
        progressed = any(e.state in ("done", "failed", "retry") for e in later)
        last_seq = self.store.last_seq(run.no)
        past = Past(last_seq, progressed, _innermost(self.store.begun(run.no), run.fence), tuple(reopen(run)))
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
        finally:
            self._leasing.remove(identity)

    def is_dead(self, run: Run) -> bool:
        """Whether the run's holder is proven dead. A run that this very process holds has a living holder."""
        if run.owner is None:
            return True
        if run.owner == self.owner:
            return run.identity not in self._leasing and run.no not in self.sessions
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
        with self._lock:
            self.sessions[run.no] = session
            self._idle.set()
            if self._keeper is None and self._keeper_wanted:
                self._keeper = threading.Thread(target=self._keep, name="onward-keeper", daemon=True)
                self._keeper.start()
        current.begin(session)
        return session

    def let_go(self, session: Session) -> None:
        """The session has ended: its run is no longer kept."""
        current.end(session)
        with self._lock:
            self.sessions.pop(session.run.no, None)

    # -- keeping leases ---------------------------------------------------------------------------------------

    def reconfirm(self, session: Session) -> bool:
        """Renew now; whether `session` still holds its run."""
        self.renew()
        return session.unwinding is None

    def renew(self) -> None:
        """Extend the leases of all our runs; those that somebody took over begin to unwind."""
        with self._lock:
            held = dict(self.sessions)
        if not held:
            return
        safe_until = self._safe_until()
        ours = dict(self.store.renew(self.owner, self.store.now() + self.lease_s))
        for no, session in held.items():
            if no in ours:
                session.safe_until = safe_until
                self._ask(session, ours[no])
            elif session.unwinding is None and self.sessions.get(no) is session:
                session.unwind(LeaseLost(session.run.id, session.run.fence))

    def _ask(self, session: Session, request: Request | None) -> None:
        if request is not None and session.asked is None:
            session.asked = request
            session.woken.set()

    def _safe_until(self) -> float:
        # From before the request is sent: the lease may have begun as early as that.
        return self.clock() + self.lease_s - limits.LEASE_MARGIN_S

    def _keep(self) -> None:
        renewed = self.clock()
        while True:
            self._idle.wait()
            time.sleep(_TICK_S)
            with self._lock:
                sessions = list(self.sessions.values())
                if not sessions:
                    self._idle.clear()
                    continue
            renewed = self.look_after(sessions, renewed)

    def look_after(self, sessions: Sequence[Session], renewed: float) -> float:
        """One round of the keeper; `renewed` and what is returned: when, by `clock`, the leases were last renewed."""
        try:
            for session in sessions:
                self.tend(session)
            if self.clock() - renewed >= self.lease_s / 3:
                renewed = self.clock()
                self.renew()
                self.store.tidy()
        except JournalError as error:
            for session in sessions:
                session.unwind(Stopped(str(error)), cause=error)
        return renewed

    def tend(self, session: Session) -> None:
        """Write the start markers of long units, and the progress of loops, to ride with the next commit."""

        def hand_over(begun: Sequence[Begun]) -> None:
            for one in begun:
                self.committer.later(decide(session.run, Started(one), now=0.0))

        if session.unwinding is None:
            session.overdue_markers(hand_over, now=self.clock(), wall=self.store.now())
            progress = session.due_progress(self.clock())
            if progress is not None:
                self.committer.later(progress)

    # -- waiting --------------------------------------------------------------------------------------------

    def nap(self, woken: threading.Event, seconds: float) -> bool:
        return woken.wait(seconds)

    async def nap_async(self, woken: threading.Event, seconds: float) -> bool:
        await asyncio.sleep(min(seconds, 0.25) if woken.is_set() else seconds)
        return woken.is_set()

    # -- life -------------------------------------------------------------------------------------------------

    def _register(self) -> None:
        with self._lock:  # two threads may begin their first runs at once
            if self._registered:
                return
            command = " ".join(sys.argv) or sys.executable
            boot = _boot_id()
            self.store.register(Owner(self.owner, _host(), boot, os.getpid(), command, self.store.now()))
            self._registered = True

    def close(self) -> None:
        """Commit what is queued and close the store. Runs still held are given back by their own code, not here."""
        self.committer.close()
        if self._registered and not self.sessions:
            self.store.unregister(self.owner)
        self.store.close()
        _engines.discard(self)

    def abandon(self) -> None:
        """In a forked child: everything here belongs to the parent."""
        for session in list(self.sessions.values()):
            session.unwind(LeaseLost(session.run.id, session.run.fence))
        self.sessions.clear()
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


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _abandon_all() -> None:
    for engine in list(_engines):
        engine.abandon()
    _engines.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
