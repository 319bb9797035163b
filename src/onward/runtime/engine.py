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
from typing import Final

from onward.core import limits
from onward.core.acts import acted
from onward.core.claiming import Past, claimed, may_claim, opened, orphaned
from onward.core.decide import Released, decide
from onward.core.errors import JournalBroken, JournalError, JournalUnusable, LeaseLost, RunConflict, Stopped
from onward.core.keys import SEPARATOR, WHOLE
from onward.core.model import Answer, Applied, Begun, Change, Claim, Claimed, End, Entry, Owner, Run
from onward.runtime.bell import Bell
from onward.runtime.leases import Leases
from onward.runtime.light import Light
from onward.runtime.registry import Job
from onward.runtime.served import Served
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
        self._declared: dict[str, str] = {}
        _engines.add(self)

    # -- opening and claiming -------------------------------------------------------------------------------

    def open(self, run: Run) -> Session | None:
        """Begin a new run and lease it; None if another open run of its identity came first."""
        self.register()
        safe_until = self.safe_until()
        change = opened(run, owner=self.owner, now=self.store.now(), lease_s=self.lease_s)
        return self._lease(change, safe_until)

    def claim(self, run: Run, reopen: Callable[[Run], Sequence[Entry]] = lambda run: ()) -> Session | None:
        """Lease an existing run; None if it is not to be had (somebody lives and holds it, or came first)."""
        self.register()
        self.committer.flush()  # what an earlier lease of ours still has on its way would make stale what is read here
        safe_until, now = self.safe_until(), self.store.now()
        if not may_claim(run, now=now, owner_is_dead=self.is_dead(run)):
            return None
        past = self._past(run, tuple(reopen(run)))
        change = claimed(run, past, owner=self.owner, now=now, lease_s=self.lease_s)
        return self._lease(change, safe_until)

    def _past(self, run: Run, reopen: tuple[Entry, ...] = ()) -> Past:
        # An outcome, if the last lease recorded any, stands among the first entries after its mark.
        later = self.store.entries(run.no, after=run.leased_seq, limit=50)
        progressed = any(e.state in ("done", "failed", "retry") for e in later)
        last_seq = self.store.last_seq(run.no)
        begun = [b for b in self.store.begun(run.no) if b.fence == run.fence]
        in_turn = any(b.key == WHOLE and b.suspect for b in begun)
        alive = self.ended_alive(run)
        return Past(last_seq, progressed, _innermost(begun), reopen, ended_alive=alive, in_turn=in_turn)

    def _lease(self, change: Change, safe_until: float) -> Session | None:
        assert change.after is not None, "leasing a run writes its row"
        identity = change.after.identity
        # From before its row names us until it is among our sessions, no other thread may take us for dead.
        self._leasing.append(identity)
        try:
            answer = self.committer.commit(change)[0]
            if not isinstance(answer, Applied):
                if answer.reason == "moved":
                    raise was_moved(self.store)
                return None
            return self._hold(self._stored(change.after, answer), answer.seq, safe_until)
        except BaseException:
            self.owe(change.after)  # perhaps the answer was lost, and the journal has us as the holder
            raise
        finally:
            self._leasing.remove(identity)

    def declare(self, queue: str, limits: str) -> None:
        """Make the limits that the code gives a queue known to the journal: once a process, and if they are others."""
        if self._declared.get(queue) != limits:
            if not any(one.name == queue and one.declared == limits for one in self.store.queues()):
                self.store.set_queue(queue, declared=limits)
            self._declared[queue] = limits

    def is_dead(self, run: Run) -> bool:
        """Whether the run's holder is proven dead. A run that this very process holds has a living holder."""
        if run.owner is None:
            return True
        if run.owner == self.owner:
            return not self.holds(run)
        # An owner registers before its first claim and unregisters when it holds nothing more.
        return self.store.owner(run.owner) is None or self.store.owner_is_dead(run.owner)

    # -- runs that workers execute --------------------------------------------------------------------------

    def claim_ready(self, names: Sequence[str], queues: Sequence[str], limit: int) -> tuple[Claimed, float]:
        """Lease up to `limit` queued runs that are ready; and until when, by `clock`, these leases are certain.

        Each is to be adopted or given back. If the answer is lost, what was leased is given back by the keeper.
        """
        claimed, safe_until, _ = self.end_and_claim((), names, queues, limit)
        return claimed, safe_until

    def end_and_claim(
        self, ended: Sequence[Change | End], names: Sequence[str], queues: Sequence[str], limit: int
    ) -> tuple[Claimed, float, list[Answer]]:
        """As `claim_ready`, in the transaction that writes how other runs have ended; with the answers to that."""
        safe_until = self.safe_until()
        claim = Claim(self.owner, self.lease_s, tuple(names), tuple(queues), limit)
        with self._lock:
            self._claims += 1
        try:
            answers, claimed = self.committer.commit_and_claim(ended, claim)
            with self._lock:
                self._ahead.update([(run[29], run) for run, _ in claimed.runs])
                if claimed.runs:
                    self._wake_keeper()
            return claimed, safe_until, answers
        except BaseException:
            with self._lock:
                self._in_doubt = True
                self._wake_keeper()
            raise
        finally:
            with self._lock:
                self._answered += 1

    def adopt(self, run: Run, last_seq: int, safe_until: float) -> Served | None:
        """A session on a queued run that this process has leased by a Claim; None if it has leased it again since.

        Then this lease was lost while the process stood still, and whoever had the run meanwhile has given it back.
        """
        lit = self.lights.get(run.no)
        if (
            lit is not None
        ):  # an earlier lease of it, which was lost: its code goes on as one of a session does
            self.lights.raised(lit)
        earlier = self.sessions.get(run.no)
        with self._lock:
            latest = max(one.fence for one in (run, self._ahead.get(run.no), earlier and earlier.run) if one)
        if run.fence < latest:
            return None
        if earlier is not None:
            earlier.unwind(LeaseLost(run.id, earlier.run.fence))
        session = self._hold(run, last_seq, safe_until)
        assert isinstance(session, Served), "only queued runs are claimed in batches"
        with self._lock:
            asked = self._begun(run).request
        if asked is not None:
            self._ask(session, asked)
        return session

    def light(self, run: Run, last_seq: int, safe_until: float, job: Job) -> Light | None:
        """A place in a run that this process has leased by a Claim, without a session; None if it is to be adopted.

        It is where anything is to be looked at before its function is called: what an earlier lease of it has left
        behind, a request, or whether the lease still holds.
        """
        # By number, as everything that each short job comes by: fence, stalls and the number of the run.
        if run[7] != 1 or run[12] or self._ahead.get(run[29]) is not run:
            return None
        at = self.clock()
        if at >= safe_until:
            return None
        return self.lights.light(run, last_seq, safe_until, at, job)

    def give_back(self, runs: Sequence[Run]) -> None:
        """Runs that were claimed and not adopted are ready for any worker again, as if nothing had been."""
        now = self.store.now()
        changes = []
        for run in runs:
            change = decide(run, Released("released"), now=now)
            assert change.after is not None, "the end of a lease is written into the run's row"
            changes.append(change._replace(after=change.after._replace(stalls=run.stalls)))
        try:
            self.committer.commit(*changes)
        except JournalError:
            for run in runs:
                self.owe(run)
            raise
        with self._lock:
            for run in runs:
                self._begun(run)

    def take_over(self) -> int:
        """Make ready for any worker what dead ones left, and those whose leases are over; how many runs it were."""
        return sum(
            self._hand_on(owner)
            for owner, lease_until in self.store.holders()
            if owner != self.owner and self._is_gone(owner, lease_until)
        )

    def _is_gone(self, owner: str, lease_until: float) -> bool:
        """Whether what `owner` holds may be taken over: its death is proven, or a lease of it is over."""
        store = self.store
        return lease_until <= store.now() or store.owner(owner) is None or store.owner_is_dead(owner)

    def _hand_on(self, owner: str) -> int:
        now = self.store.now()
        runs = self.store.runs_held(owner, limit=limits.HELD_RUNS)
        gone = [run for run in runs if may_claim(run, now=now, owner_is_dead=self.is_dead(run))]
        if not gone:
            return 0
        changes = [orphaned(run, self._past(run), now=now) for run in gone]
        return sum(isinstance(answer, Applied) for answer in self.committer.commit(*changes))

    def grant_late(self, run_id: str) -> None:
        """Do to a run that nobody holds what its holder was asked for, and has not heard in time."""
        run = self.store.run(run_id)
        if run is None or run.request is None or run.owner is not None:
            return
        change = acted(
            run, "cancelled" if run.request == "cancel" else "paused", by="request", now=self.store.now()
        )
        if change is not None:
            self.committer.commit(change)

    def held_here(self, run: Run) -> bool:
        """Whether the calling thread is the one that executes the run."""
        holder = self.lights.get(run.no) or self.sessions.get(run.no)
        return holder is not None and holder.thread == threading.get_ident()

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
        later = run._replace(fence=run.fence + 1)  # to a pass, what is recorded is of an earlier lease
        session = Session(later, last_seq=self.store.last_seq(run.no), safe_until=0.0, clock=self.clock)
        clash = RunConflict(
            run.id,
            f"run {run.id} has ended without some of the items given now; nothing of them was done. Call again.",
        )
        session.unwind(Stopped(str(clash)), cause=clash)
        return session

    def _stored(self, run: Run, answer: Applied) -> Run:
        return run._replace(no=answer.run_no)

    def _hold(self, run: Run, last_seq: int, safe_until: float) -> Session:
        make = Session if run.direct else Served
        session = make(run, last_seq=last_seq, safe_until=safe_until, clock=self.clock)
        session.run_stalls = run.stalls
        if run.fence > 1:
            session.begun.update((b.key, b) for b in self.store.begun(run.no))
            if run.kind == "workflow":
                session.learn(self.store.recorded(run.no))
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

    def register(self) -> None:
        """Make this process known as a holder of leases."""
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
            for run in list(self._ahead.values()):
                self.owe(run)
            if self._registered:
                self.leave()
            self.store.close()
            _engines.discard(self)

    def _take_from_their_code(self) -> list[Session]:
        # First of all: what is called from now on may find another journal open, and must not write this run into it.
        self.lights.raise_all()
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
        self.lights.abandon()
        self.sessions.clear()
        self._owed.clear()
        self._ahead.clear()
        self.store.abandon()


def _innermost(begun: Sequence[Begun]) -> tuple[Begun, ...]:
    """Units without those in whose body another one was in flight: a death is blamed on the one it happened in."""
    around: set[str] = {WHOLE} if len(begun) > 1 else set()
    for key in (b.key for b in begun):
        while SEPARATOR in key:
            key = key.rpartition(SEPARATOR)[0]
            around.add(key)
    return tuple(b for b in begun if b.key not in around)


def _host() -> str:
    # Not socket.gethostname, which says the same and takes milliseconds to import.
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")


def was_moved(store: Store) -> JournalUnusable:
    """What to say of a journal whose runs go on elsewhere."""
    return JournalUnusable(
        f"the journal {store.place} was moved to {store.moved_to()}; nothing was begun here. Say so to this program: "
        f"ONWARD_URL, or [tool.onward] url in pyproject.toml. `onward move --from` there takes the move back."
    )


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _abandon_all() -> None:
    for engine in list(_engines):
        engine.abandon()
    _engines.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
