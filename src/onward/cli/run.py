"""`onward run`: execute a script and start it again when it dies, until it has finished or gets no further."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

import click

from onward.api import parting
from onward.api.parting import Parting
from onward.cli.group import BUSY, FAILED, UNFINISHED, USAGE, tell
from onward.cli.witness import Witness
from onward.core.errors import UsageError
from onward.core.texts import plain
from onward.runtime.observe import span

_CALL: Final = ["-m", "onward.cli.call"]
_MAX_DELAY_S: Final = 60.0
# Beyond so many doublings every delay is a minute, and floats come to their end.
_DOUBLINGS: Final = 60


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("target", metavar="SCRIPT|MODULE:FUNCTION")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("--fresh", is_flag=True, help="Set the unfinished run aside and start a new one.")
@click.option(
    "--max-restarts",
    default=5,
    show_default=True,
    type=click.IntRange(0),
    help="Give up after so many restarts in a row without anything new in the journal.",
)
@click.option(
    "--delay",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds before the first restart; doubles up to a minute.",
)
def run(target: str, args: tuple[str, ...], max_restarts: int, delay: float, *, fresh: bool) -> None:
    """Run a script, and start it again when it crashes, until it has finished.

    It is a Python file, or `module:function`, which is called with ARGS as strings. SIGTERM and Ctrl-C are passed
    on, and then nothing is started again; nor is it when somebody pauses or cancels its run, when another process
    has that run, and when everything fails.
    """
    words = command_words(target, args)
    supervisor = Supervisor(words, max_restarts=max_restarts, delay_s=delay, fresh=fresh)
    click.get_current_context().exit(supervisor.run())


def command_words(target: str, args: Sequence[str]) -> list[str]:
    """What stands behind `python` in the command that executes the target."""
    if os.path.isfile(target):  # False as well for what cannot be a path
        return [target, *args]
    module, colon, function = target.rpartition(":")
    if colon and _is_dotted(module) and function.isidentifier():
        return [*_CALL, target, *args]
    raise UsageError(
        f"{plain(target, 200)} is neither a file here nor module:function; nothing was started. "
        f"Name a Python file, or a function as in `jobs.nightly:main`."
    )


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


class Supervisor:
    """Keeps one script going for as long as it gets on, see `Witness`."""

    def __init__(
        self,
        words: Sequence[str],
        *,
        max_restarts: int,
        delay_s: float,
        fresh: bool,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        self._words, self._max_restarts, self._delay_s, self._fresh = (
            list(words),
            max_restarts,
            delay_s,
            fresh,
        )
        self._wait = wait
        self._command = shlex.join(["python", *words])
        target = len(_CALL) if list(words[: len(_CALL)]) == _CALL else 0
        self._journal = Witness(shlex.join(["python", *words[: target + 1]]))
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped_by: int | None = None
        self._stop = threading.Event()
        self._folder: Path | None = None  # where the script leaves why it ends
        self._parting: Parting | None = None
        self._mistaken: str | None = None  # what the script was told of a call of it, if it ended of that

    def run(self) -> int:
        """The exit code.

        That of the work, 0, 1, 3 or 4; 2 or 75 if it cannot be executed, or not now; 128 + the number of the signal
        that stopped it.
        """
        before = {number: signal.signal(number, self._pass_on) for number in _signals()}
        try:
            with _folder() as self._folder:
                return self._until_finished()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _until_finished(self) -> int:
        in_vain = 0
        while True:
            code = self._once()
            if self._stop.is_set():
                return self._stopped()
            if code == 0:
                return self._journal.outcome()
            if (
                code == USAGE and self._words[: len(_CALL)] == _CALL
            ):  # what is not there now will not be there in a second
                return USAGE
            # The run that --fresh sets aside must not be the one that the restarted script has just begun.
            self._fresh = self._fresh and not self._journal.began_anew()
            got_on = self._journal.got_on()
            stopped = self._journal.stopped_early()
            if stopped is not None:
                tell(
                    f"{_death(code)} because everything failed in {plain(stopped.name)}; it is not started again. "
                    f"Mend the cause, then continue with: {self._command}"
                )
                return FAILED
            final = self._final(code)
            if final is not None:
                return final
            if self._is_mistaken_again(got_on=got_on):
                return USAGE
            in_vain = 0 if got_on else in_vain + 1
            if in_vain > self._max_restarts:
                tell(
                    f"{_death(code)}; {self._vain(in_vain - 1)}. Put it right, then continue with: {self._command}"
                )
                return FAILED
            pause = min(_MAX_DELAY_S, self._delay_s * 2.0 ** min(_DOUBLINGS, max(0, in_vain - 1)))
            tell(f"{_death(code)}; starting it again in {span(pause)}")
            if self._wait(self._stop, pause):
                return self._stopped()
            final = self._stopped_meanwhile()
            if final is not None:
                return final

    def _once(self) -> int:
        environment = {**os.environ, "ONWARD_FRESH": "1"} if self._fresh else _without_fresh()
        if self._folder is not None:
            environment[parting.FOLDER] = str(self._folder)
        self._child = subprocess.Popen([sys.executable, *self._words], env=environment)
        if self._stopped_by is not None:  # the signal came while the child was being started
            self._child.send_signal(self._stopped_by)
        code = self._child.wait()
        self._parting = None if self._folder is None else parting.read(self._folder, self._child.pid)
        self._child = None
        return code

    def _final(self, code: int) -> int | None:
        """The exit code if the script has ended so that nobody may start it again, or in vain; says so."""
        left = self._parting
        if left is None or left.why in ("held", "mistaken"):
            return None
        if left.why in ("paused", "cancelled"):
            return self._halted(left)
        if code < 0:  # it had got over that, and something else has killed it
            return None
        if left.why == "busy":
            tell(
                f"another process has {plain(left.run_id)}, so the script is not started again. If that one does not "
                f"finish it, continue with: {self._command}"
            )
            return BUSY
        tell(
            f"the script cannot use its journal, which a new start would not change: it is not started again. Put it "
            f"right, then continue with: {self._command}"
        )
        return USAGE

    def _is_mistaken_again(self, *, got_on: bool) -> bool:
        """Whether two starts in a row ended because of the same call, with nothing new in between; says so.

        Once may be an odd answer of somebody else's: what is to be recorded is part of a call too.
        """
        left, before = self._parting, self._mistaken
        self._mistaken = left.run_id if left is not None and left.why == "mistaken" else None
        if got_on or self._mistaken is None or self._mistaken != before:
            return False
        tell(
            f"the script ended twice because the same call cannot be carried out, so it is not started again; what is "
            f"recorded is kept. Put it right, then continue with: {self._command}"
        )
        return True

    def _stopped_meanwhile(self) -> int | None:
        """The exit code if somebody has stopped the run before the script is started again."""
        if self._parting is None or self._parting.why != "held":
            return None
        halted = self._journal.stopped_meanwhile(self._parting.run_id)
        return None if halted is None else self._halted(halted)

    def _halted(self, how: Parting) -> int:
        run = plain(how.run_id)
        if how.why == "paused":
            tell(
                f"{run} was paused, so the script is not started again; what is recorded is kept. Let it go on with: "
                f"onward resume {run}, then: {self._command}"
            )
            return UNFINISHED
        tell(
            f"{run} was cancelled, so the script is not started again; what it had recorded is kept. To begin afresh: "
            f"{self._command}"
        )
        return FAILED

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._stopped_by = number
        self._stop.set()
        child = self._child
        # The terminal sends Ctrl-C to the child as well; twice would mean "at once".
        if child is not None and not (number == signal.SIGINT and _in_foreground()):
            with suppress(ProcessLookupError):
                child.send_signal(number)

    def _stopped(self) -> int:
        assert self._stopped_by is not None, "only a signal stops"
        tell(f"stopped; continue with: {self._command}")
        return 128 + self._stopped_by

    def _vain(self, restarts: int) -> str:
        times = "1 restart" if restarts == 1 else f"{restarts} restarts"
        return f"given up after {times} without anything new in the journal"


def _signals() -> list[signal.Signals]:
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


@contextmanager
def _folder() -> Iterator[Path | None]:
    """A folder for what the script leaves; None where there is no place for one, which stops no work."""
    try:
        made = tempfile.TemporaryDirectory(prefix="onward-run-", ignore_cleanup_errors=True)
    except OSError:
        made = None
    if made is None:
        yield None
        return
    with made as name:
        yield Path(name)


def _without_fresh() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "ONWARD_FRESH"}


def _in_foreground() -> bool:
    """Whether a terminal sends its Ctrl-C to this process and its children."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _death(code: int) -> str:
    if code >= 0:
        return f"the script ended with exit code {code}"
    with suppress(ValueError):
        return f"the script was killed by {signal.Signals(-code).name}"
    return f"the script was killed by signal {-code}"
