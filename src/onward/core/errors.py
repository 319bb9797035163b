"""Every error onward raises, and the signals that unwind user code.

OnwardError                      base of all errors; each message says what happened, what is left, what to do
├─ UsageError                    the call itself is wrong; nothing was started
│  ├─ WrongThread                a step was called where its order could not be recorded
│  ├─ BlockingCall               a blocking call inside a running event loop
│  └─ NotRecordable              a value that the journal cannot hold
├─ ScheduleNotFound              no such schedule
├─ QueueNotFound                 no such queue
├─ RunError                      about one run
│  ├─ AlreadyRunning             another live process has it
│  ├─ RunNotFound                no such run
│  ├─ RunConflict                same id or name, other work
│  ├─ RunFailed                  the run ended with a failure
│  │  └─ TooManyFailures         a map or loop stopped early, because everything failed
│  ├─ ExecutorBroken             the executor of a map or step can execute nothing any more
│  ├─ RunCancelled               somebody cancelled it
│  ├─ RunStuck                   it needs a person
│  │  ├─ Diverged                the code asks for something else than is recorded
│  │  └─ InDoubt                 nobody knows whether an at-most-once step was executed
│  ├─ StepTimeout                a step ran longer than its timeout
│  └─ StepFailed                 a step failed with an exception that cannot come back as itself
│     └─ StepCrashed             the process died in it too often
└─ JournalError                  about the store
   ├─ JournalUnusable            cannot be opened as it is: rights, version, file system, not a journal
   │  └─ NoJournal               there is none, and looking for one creates none
   ├─ JournalBusy                its write lock is held for too long, or its server cannot be reached
   ├─ JournalFull                the disk is full; nothing was lost, nothing more can be recorded
   ├─ JournalBroken              an I/O error or corruption; nothing was acknowledged
   ├─ OutcomeUnknown             a commit may or may not have happened
   └─ PayloadError               a stored value that cannot be read

Unwind (BaseException)           not errors: they end user code so that nothing more is done
├─ LeaseLost                     another process has taken the run over
├─ Suspended                     the run waits; its worker has given it back
└─ Stopped                       the run was cancelled, paused, or its journal failed
"""

from __future__ import annotations

import shlex


class OnwardError(Exception):
    """Base class of every error raised by onward."""


# -- the call is wrong ------------------------------------------------------------------------------


class UsageError(OnwardError):
    """The call itself cannot be carried out as written; nothing was started or recorded."""


class WrongThread(UsageError):
    """A step was called from a thread or task that does not own the run's scope."""

    def __init__(
        self,
        what: str,
        where: str,
        run_id: str,
        cure: str = "Use onward.gather or onward.map for parallel work.",
    ) -> None:
        self.what, self.where, self.run_id = what, where, run_id
        super().__init__(
            f"{what} was called from {where}, which is not where run {run_id} is being executed, so its place in the "
            f"run could not be recorded; nothing was executed. {cure}"
        )


class BlockingCall(UsageError):
    """A call that would block the running event loop."""

    def __init__(self, what: str, instead: str) -> None:
        self.what, self.instead = what, instead
        super().__init__(f"{what} would block the running event loop; nothing was done. Use `{instead}`.")


class NotRecordable(UsageError):
    """A value that the journal cannot hold exactly."""

    def __init__(self, where: str, path: str, type_name: str, cure: str) -> None:
        self.where, self.path, self.type_name, self.cure = where, path, type_name, cure
        super().__init__(f"{where}: `{path}` is a `{type_name}`, which cannot be recorded; {cure}")


class QueueNotFound(OnwardError):
    """The journal knows no such queue: none of its runs ever waited there, and nobody has set its limits."""

    def __init__(self, name: str, journal: str, near: str | None = None) -> None:
        self.name, self.journal = name, journal
        hint = f" Did you mean `{near}`?" if near else " `onward queue` lists what there is."
        super().__init__(f"there is no queue `{name}` in {journal}; nothing was changed.{hint}")


class ScheduleNotFound(OnwardError):
    """The journal holds no such schedule."""

    def __init__(self, name: str, journal: str, near: str | None = None) -> None:
        self.name, self.journal = name, journal
        hint = f"Did you mean `{near}`?" if near else "`onward schedule` lists what there is."
        super().__init__(f"there is no schedule `{name}` in {journal}; nothing was changed. {hint}")


# -- about one run ----------------------------------------------------------------------------------


class RunError(OnwardError):
    """Something about one run. `run_id` names it."""

    def __init__(self, run_id: str, message: str) -> None:
        self.run_id = run_id
        super().__init__(message)


class AlreadyRunning(RunError):
    """Another process executes this run now."""

    def __init__(self, run_id: str, name: str, holder: str, *, refused: str = "") -> None:
        # `refused` is what was not done to it, such as "moved"; without it, the run itself was called.
        self.name, self.holder = name, holder
        after = f"nothing was {refused}. Wait until it has ended, or stop that process, and do this again."
        called = 'nothing was started. Wait for it, pass if_running="wait", or stop that process.'
        super().__init__(run_id, f"{name} is already running ({holder}); {after if refused else called}")


class RunNotFound(RunError):
    """The journal holds no such run."""

    def __init__(self, run_id: str, journal: str, near: str | None = None) -> None:
        self.journal = journal
        hint = f" Did you mean `{near}`?" if near else " `onward runs` lists what there is."
        super().__init__(run_id, f"there is no run `{run_id}` in {journal}; nothing was changed.{hint}")


class RunConflict(RunError):
    """The same id or name stands for other work already."""


class RunFailed(RunError):
    """The run has ended with a failure."""


class TooManyFailures(RunFailed):
    """So many items of a map or a loop failed in a row that it stopped early; its place is kept."""

    def __init__(self, run_id: str, name: str, why: str, kept: str, again: str) -> None:
        self.name, self.why = name, why
        super().__init__(
            run_id,
            f"`{name}` stopped early: {why}. {kept} The others were not begun. Mend the cause and {again}; if the "
            f"items themselves are bad, pass stop_after=None.",
        )


class ExecutorBroken(RunError):
    """The executor of a map or step can execute nothing any more; what a map had in flight there counts as crashed."""


class RunCancelled(RunError):
    """The run was cancelled; what it had recorded is kept."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            run_id, f"run {run_id} was cancelled; what it had recorded is kept, nothing more is done"
        )


class RunStuck(RunError):
    """The run needs a person; nothing more is executed until then."""


class Diverged(RunStuck):
    """The code now asks for something else than the journal holds at this place."""

    def __init__(self, run_id: str, key: str, recorded: str, present: str) -> None:
        self.key, self.recorded, self.present = key, recorded, present
        super().__init__(
            run_id,
            f"run {run_id} no longer matches its record at `{key}`: recorded was {recorded}, the code now asks for "
            f"{present}. Nothing more was executed and nothing is lost. Give the new call its own key=, put the old "
            f"call back, or start afresh with `onward cancel {run_id}`.",
        )


class InDoubt(RunStuck):
    """An at-most-once step was begun, and nobody knows whether it was executed: it is not begun again by itself."""

    def __init__(self, run_id: str, key: str, why: str) -> None:
        self.run_id, self.key, self.why = run_id, key, why
        super().__init__(
            run_id,
            f"step `{key}` of run {run_id} may have been executed or not: {why}. It is at_most_once, so it was not "
            f"begun again, and what is recorded is kept. Find out what happened. If it was executed: "
            f"`{self.commands[0]}` with what it returned; if not: `{self.commands[1]}`. Then run the program again. "
            f"A probe= can answer by itself.",
        )

    @property
    def commands(self) -> tuple[str, str]:
        """What a person types if the step was executed, and if it was not."""
        key = shlex.quote(self.key)
        return f"onward skip {self.run_id} {key} --value JSON", f"onward retry {self.run_id} {key}"


class StepTimeout(RunError, TimeoutError):
    """A step ran longer than its `timeout=` and was ended. Counts as an attempt."""

    def __init__(self, what: str, timeout_s: float, how: str) -> None:
        self.timeout_s = timeout_s
        super().__init__("", f"{what} took longer than its timeout of {timeout_s:g} s and was {how}")


class StepFailed(RunError):
    """A step failed with an exception that cannot come back as itself."""

    def __init__(self, class_name: str, message: str) -> None:
        self.class_name, self.message = class_name, message
        super().__init__("", f"{class_name}: {message}" if message else class_name)


class StepCrashed(StepFailed):
    """The process died while this step or item was executed, as often as is allowed."""

    def __init__(self, message: str) -> None:
        self.class_name, self.message = "StepCrashed", message
        RunError.__init__(self, "", message)


# -- about the journal ------------------------------------------------------------------------------


class JournalError(OnwardError):
    """Something about the place where runs are recorded."""


class JournalUnusable(JournalError):
    """The journal cannot be opened as asked; it was left as it is."""


class NoJournal(JournalUnusable):
    """There is no journal at the place that was asked for; none was created."""


class JournalBusy(JournalError):
    """The journal does not take a write now: its lock is held for too long, or its server cannot be reached."""


class JournalFull(JournalError):
    """There is no room left on the journal's disk."""


class JournalBroken(JournalError):
    """An I/O error or corruption: nothing that was in flight is acknowledged."""


class OutcomeUnknown(JournalError):
    """A commit's answer was lost: it may or may not have happened. The same call may be repeated safely."""


# What passes: nothing is in doubt for good, and the same request may be repeated.
PASSING = (JournalBusy, JournalFull, OutcomeUnknown)


class PayloadError(JournalError):
    """A stored value cannot be read."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"a recorded value cannot be read: {problem}")


# -- unwinding --------------------------------------------------------------------------------------


class Unwind(BaseException):
    """Ends user code. A BaseException, so that `except Exception` cannot carry on as if all were well."""


class LeaseLost(Unwind):
    """The run is leased to somebody else; nothing that came later was written."""

    def __init__(self, run_id: str, fence: int) -> None:
        self.run_id, self.fence = run_id, fence
        super().__init__(f"run {run_id} was taken over (fence {fence} is old); nothing more was written")


class Suspended(Unwind):
    """The run waits for a time or a message and has been given back."""


class Stopped(Unwind):
    """The run was cancelled or paused, or its journal failed; `__cause__` says why."""
