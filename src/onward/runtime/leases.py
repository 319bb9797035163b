"""The leases that this process holds: renewed in time, watched for requests, and given back, late if need be.

The keeper is one thread for all runs of a journal, independent of their code. A renewal that fails for a reason that
passes is tried again at every tick: meanwhile sessions begin nothing new, and what runs goes on.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Callable, Iterable, Sequence

from onward.core import limits
from onward.core.decide import Released, Started, decide
from onward.core.errors import PASSING, JournalError, LeaseLost, Stopped
from onward.core.model import Begun, Change, Request, Run
from onward.runtime import current, observe
from onward.runtime.light import Light, Lights
from onward.runtime.session import Session
from onward.storage import Store
from onward.storage.committer import Committer
from onward.storage.ticket import Ticket


class Debt:
    """A run whose lease has ended here, and whose release the journal has not taken yet."""

    def __init__(self, run: Run, pause_s: float = 0.0) -> None:
        self.run, self.pause_s = run, pause_s
        self.ticket: Ticket | None = None

    def is_due(self, run: Run | None) -> bool:
        """Whether the row still names the lease that has ended here."""
        return run is not None and (run.state, run.owner, run.fence) == (
            "running",
            self.run.owner,
            self.run.fence,
        )

    def release(self, run: Run, now: float) -> Change:
        """The change that gives the run back."""
        waits = self.pause_s > 0 and not run.direct
        fact = Released("suspended", wake_at=now + self.pause_s) if waits else Released("released")
        change = decide(run, fact, now=now)
        assert change.after is not None, "the end of a lease is written into the run's row"
        # Only on the row as it is read here: the commit that was thought lost may have ended the run under this fence.
        return change._replace(before=run, after=change.after._replace(stalls=run.stalls))


def _new_name() -> str:
    """What no other process is ever called: 80 bits by chance. Short, for it is written with every lease."""
    return base64.b32encode(os.urandom(10)).decode("ascii").lower()


class Leases:
    """The sessions of one open store, and the thread that keeps their leases."""

    def __init__(
        self, store: Store, committer: Committer, *, lease_s: float, clock: Callable[[], float], keeper: bool
    ) -> None:
        self.store, self.committer = store, committer
        self.lease_s, self.clock = lease_s, clock
        self.owner = _new_name()
        self.sessions: dict[int, Session] = {}
        self._leasing: list[str] = []  # identities of runs that are being leased
        self._owed: dict[str, Debt] = {}  # by run id
        # Leased by a Claim, and not begun yet, or begun and without a session so far.
        self._ahead: dict[int, Run] = {}
        self.lights = Lights(self)
        self._claims = self._answered = 0  # Claims that were sent, and of them those that were answered
        self._in_doubt = False  # whether the answer to a Claim was lost
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._version: object = None  # of the journal, when requests were last looked at
        self._failing = False  # whether the last renewal failed
        self._fault = ""  # of the keeper's last round
        self._keeper_wanted = keeper
        self._keeper: threading.Thread | None = None
        self._busy = threading.Event()
        self._closed = threading.Event()

    # -- which runs are kept ----------------------------------------------------------------------------------

    def hold(self, session: Session) -> None:
        """Keep the lease of a session from now on."""
        with self._lock:
            self.sessions[session.run.no] = session
            self._wake_keeper()
        current.begin(session)

    def keep_light(self, light: Light, session: Session) -> None:
        """As `hold`, of a run that has begun without a session."""
        with self._lock:
            self.sessions[session.run.no] = session
            asked = self._begun(session.run).request
            self._wake_keeper()
        current.raise_light(light, session)
        if asked is not None:
            self._ask(session, asked)

    def settled(self, runs: Iterable[Run]) -> None:
        """These have ended without a session, and the journal has heard of it."""
        with self._lock:
            ahead = self._ahead
            for run in runs:  # as `_begun`
                latest = ahead.get(run[29])
                if latest is not None and latest[7] == run[7]:
                    del ahead[run[29]]

    def let_go(self, session: Session) -> None:
        """The session has ended: its run is no longer kept. A journal that has not heard of it does, once it can."""
        current.end(session)
        with self._lock:
            if self.sessions.get(session.run.no) is session:
                del self.sessions[session.run.no]
        if not session.given_back and not isinstance(session.unwinding, LeaseLost):
            self.owe(session.run, limits.FAULT_PAUSE_S)
        # Code that was left behind, such as a loop that nobody closed, must not write into what has ended.
        session.over = True
        over = f"run {session.run.id} is over in this process; nothing more of it is executed or recorded"
        session.unwind(Stopped(over))

    def owe(self, run: Run, pause_s: float = 0.0) -> None:
        """A lease of ours has ended, or never came to be used, and the journal may not know it.

        A queued run is claimed again after `pause_s` at the earliest: whatever ended it must not do so without rest.
        """
        with self._lock:
            self._begun(run)
            self._owed[run.id] = Debt(run, pause_s)
            self._wake_keeper()

    def _begun(self, run: Run) -> Run:
        """This lease is no longer ahead; the run with what was asked of it meanwhile.

        A later lease of the same run may be: this process was given it again, after it had lost this one unnoticed.
        """
        ahead = self._ahead.get(run.no)
        if ahead is None or ahead.fence != run.fence:
            return run
        return self._ahead.pop(run.no)

    def holds(self, run: Run) -> bool:
        """Whether this process executes the run, or is about to, as of when `run` was read.

        What an earlier lease of it still executes here, which was lost unnoticed, does not count.
        """
        # In this order: it is among our sessions before it leaves `_leasing` or `_ahead`.
        if run.identity in self._leasing:
            return True
        ahead = self._ahead.get(run.no)
        if ahead is not None and ahead.fence >= run.fence:
            return True
        session = self.sessions.get(run.no)
        return session is not None and session.run.fence >= run.fence

    def ended_alive(self, run: Run) -> bool:
        """Whether the run's last lease is known to have ended without its process dying: then nothing killed it."""
        if run.owner != self.owner:
            return run.owner is not None and self.store.ended_alive(run.owner)
        debt = self._owed.get(run.id)
        return debt is not None and debt.run.fence == run.fence

    def _wake_keeper(self) -> None:
        if not self._busy.is_set():
            self._busy.set()
        if self._keeper is None and self._keeper_wanted:
            self._keeper = threading.Thread(target=self._keep, name="onward-keeper", daemon=True)
            self._keeper.start()

    # -- keeping ------------------------------------------------------------------------------------------------

    def reconfirm(self, session: Session) -> bool | JournalError:
        """Renew now; whether `session` still holds its run, or why the journal cannot say."""
        try:
            with self._renewing:
                if self.clock() >= session.safe_until:  # else another thread has just done it
                    self.renew()
        except JournalError as error:
            return error
        return session.unwinding is None

    def renew(self) -> None:
        """Extend the leases of all our runs; those that somebody took over begin to unwind."""
        with self._lock:
            held = dict(self.sessions)
        if not held and not self._ahead:
            return
        safe_until = self.safe_until()
        ours = dict(self.store.renew(self.owner, self.store.now() + self.lease_s))
        for no, session in held.items():
            if no in ours:
                if not session.draining:
                    session.safe_until = safe_until
                self._ask(session, ours[no])
            elif session.unwinding is None and self._was_taken(session.run):
                session.unwind(LeaseLost(session.run.id, session.run.fence))

    def _was_taken(self, run: Run) -> bool:
        """Whether somebody else has the run now; if not, its own code has just given it back."""
        stored = self.store.run(run.id)
        return stored is None or stored.fence != run.fence

    def safe_until(self) -> float:
        """Until when, by `clock`, a lease that is asked for now is certain to hold."""
        # From before the request is sent: the lease may have begun as early as that.
        return self.clock() + self.lease_s - limits.LEASE_MARGIN_S

    def _ask(self, session: Session, request: Request | None) -> None:
        if session.halting is not None:
            session.withdrawn = request is None
        if session.unwinding is not None or session.halting is not None or request == session.asked:
            return
        session.asked = request
        if request is not None:
            session.woken.set()
        else:  # withdrawn
            session.woken.clear()

    def _keep(self) -> None:
        renewed = self.clock()
        while True:
            self._busy.wait()
            if self._closed.wait(limits.TICK_S):
                return
            with self._lock:
                sessions = list(self.sessions.values())
                if not (sessions or self._owed or self._in_doubt or self._ahead):
                    self._busy.clear()
                    continue
            try:
                renewed = self.look_after(sessions, renewed)
            except Exception as fault:  # of ours: shown, and no reason for other runs to lose their leases
                self._show(fault)

    def _show(self, fault: Exception) -> None:
        if repr(fault) != self._fault:  # once: the next round may meet it again
            self._fault = repr(fault)
            threading.excepthook(
                threading.ExceptHookArgs(
                    (type(fault), fault, fault.__traceback__, threading.current_thread())
                )
            )

    def look_after(self, sessions: Sequence[Session], renewed: float) -> float:
        """One round of the keeper; `renewed` and what is returned: when, by `clock`, the leases were last renewed."""
        try:
            self.lights.raise_all(before=self.clock() - limits.TICK_S)
            for session in sessions:
                self.tend(session)
            self._find_lost()
            self._repay()
            due = self.clock() - renewed >= self.lease_s / 3
            if due:
                sent_at = self.clock()
                with self._renewing:
                    self.renew()
                renewed, self._failing = sent_at, False
            self._listen()
            if due:
                self.store.tidy()
        except PASSING as error:
            self._say_failing(error)
        except JournalError as error:
            for session in sessions:
                session.unwind(Stopped(str(error)), cause=error)
        return renewed

    def _say_failing(self, error: JournalError) -> None:
        if not self._failing:
            self._failing = True
            observe.log.warning("the leases in %s are looked after again soon: %s", self.store.place, error)

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

    def _listen(self) -> None:
        """See what is asked of our runs, if anybody has written meanwhile: one that sleeps hears it from no commit."""
        version = self.store.version()
        if version == self._version:
            return
        asked = dict(self.store.requests(self.owner))
        self._version = version
        with self._lock:  # what begins meanwhile is found in one of the two
            for no, run in self._ahead.items():
                if run.request != asked.get(no):
                    self._ahead[no] = run._replace(request=asked.get(no))
            sessions = list(self.sessions.items())
        for no, session in sessions:
            self._ask(session, asked.get(no))

    # -- giving back late -----------------------------------------------------------------------------------------

    def _find_lost(self) -> None:
        """Runs that were leased by a Claim whose answer was lost: in our name, and nobody here knows of them."""
        claims = self._claims
        if not self._in_doubt or claims != self._answered:
            return
        leased = self.store.runs_held(self.owner, limit=limits.HELD_RUNS)
        if self._claims == claims:  # else some of these may have been claimed meanwhile, with an answer
            self._in_doubt = False
            for run in leased:
                debt = self._owed.get(run.id)
                # What we owed may have been given back and leased anew, by the very Claim that is in doubt.
                if (debt is None or not debt.is_due(run)) and not self.holds(run):
                    self.owe(run)

    def _repay(self) -> None:
        """Give back what ended while the journal took nothing."""
        for run_id, debt in list(self._owed.items()):
            if debt.ticket is not None and not debt.ticket.settled:
                continue
            run = self.store.run(run_id)
            if run is None or not debt.is_due(run):
                with self._lock:
                    if self._owed.get(run_id) is debt:
                        del self._owed[run_id]
            elif not self.holds(run):
                debt.ticket = self.committer.later(debt.release(run, self.store.now()))

    def leave(self) -> None:
        """The journal is closed: end the keeper, and give back what is still owed, in the journal or beside it.

        Where even that fails, whoever continues such a run has to take this process for dead.
        """
        self._closed.set()
        self._busy.set()
        if self.sessions:
            return
        try:
            self._repay_at_once()
            self.store.unregister(self.owner)
        except JournalError as error:
            self.store.note_end(self.owner)
            observe.log.warning("the end of this process is noted beside the journal: %s", error)

    def _repay_at_once(self) -> None:
        found = [(debt, self.store.run(run_id)) for run_id, debt in self._owed.items()]
        for debt, _ in found:
            debt.pause_s = 0.0  # this process meets the run no more
        releases = [debt.release(run, self.store.now()) for debt, run in found if run and debt.is_due(run)]
        if releases:
            self.store.commit(releases)
