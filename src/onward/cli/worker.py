"""`onward worker` and `onward dev`: execute queued runs, in one process or several, until asked to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final

import click

from onward.api import connect, working
from onward.cli.group import FAILED, FINISHED, tell
from onward.core import limits
from onward.core.errors import UsageError
from onward.core.texts import plain
from onward.runtime import observe, registry
from onward.runtime.worker import Ended

# How often `dev` looks for changed files.
_LOOK_S: Final = 0.5
# A worker process that dies is started again after this, twice as long each time it dies within a minute.
_AGAIN_S: Final = 1.0
_AGAIN_MAX_S: Final = 60.0
_OWN: Final = "ONWARD_WORKER_CHILD"
_SKIPPED: Final = {".venv", "venv", "node_modules", "__pycache__", ".git", ".onward"}

_targets = click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
_queues = click.option(
    "--queue", "queues", multiple=True, help="Serve this queue only; repeatable. All queues if none is named."
)
_concurrency = click.option(
    "--concurrency",
    "-c",
    default=limits.CONCURRENCY,
    show_default=True,
    type=click.IntRange(1, limits.MAP_CONCURRENCY),
    help="Runs that one process executes at once.",
)


@click.command()
@_targets
@_queues
@_concurrency
@click.option(
    "--processes",
    "-p",
    default=1,
    show_default=True,
    type=click.IntRange(1, 256),
    help="Processes that work.",
)
@click.option("--once", is_flag=True, help="Execute one run, then end.")
@click.option("--burst", is_flag=True, help="End when nothing is ready any more.")
@click.option(
    "--drain",
    "drain_s",
    default=limits.DRAIN_S,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds that running work may take to end after SIGTERM; then it is given back at its next step.",
)
@click.option("--quiet", is_flag=True, help="Say nothing of single runs.")
def worker(
    targets: tuple[str, ...],
    queues: tuple[str, ...],
    concurrency: int,
    processes: int,
    drain_s: float,
    *,
    once: bool,
    burst: bool,
    quiet: bool,
) -> None:
    """Execute queued runs until SIGTERM or Ctrl-C.

    TARGETs are the modules or scripts that define the workflows: `onward worker app.py` or `onward worker shop.jobs`.
    Runs of workflows that they do not define are left to other workers. A worker that is asked to end takes nothing
    new and lets what it executes end; a second signal ends it at once, which is safe: another worker continues.
    """
    context = click.get_current_context()
    if processes > 1:
        if once:
            raise UsageError("--once and --processes exclude each other; no worker was started")
        context.exit(Crew(processes).run())
    context.exit(_work(targets, queues, concurrency, drain_s, once=once, burst=burst, quiet=quiet))


def _work(
    targets: Sequence[str],
    queues: Sequence[str],
    concurrency: int,
    drain_s: float,
    *,
    once: bool,
    burst: bool,
    quiet: bool,
) -> int:
    _end_with_parent()
    working.load(targets)
    names = registry.names()
    connect.engine()  # says where the journal is, before anything else
    working.refuse_moved()
    if names:
        served = ", ".join(plain(queue) for queue in queues) if queues else "all queues"
        known = ", ".join(plain(name) for name in names[:10]) + (" …" if len(names) > 10 else "")
        observe.say(f"worker {os.getpid()} serves {served}, {concurrency} runs at once; it knows {known}")
    left = working.work(
        queues=queues,
        concurrency=1 if once else concurrency,
        burst=burst,
        at_most=1 if once else None,
        drain_s=drain_s,
        told=(lambda ended: None) if quiet else _tell_ended,
    )
    if left:
        observe.say(f"{left} runs were given back unfinished; another worker continues them")
    connect.disconnect()
    if left:
        # What has not come to rest must not hold up the end: Python would wait for an executor's calls.
        sys.stdout.flush()
        os._exit(FINISHED)
    return FINISHED


def _tell_ended(ended: Ended) -> None:
    """One line a run; of an error its class and message, the rest is in `onward show`."""
    error = ended.error
    why = (
        ""
        if error is None or ended.how == "waiting"
        else f": {type(error).__name__}: {plain(str(error), 200)}"
    )
    took = observe.span(ended.seconds)
    observe.say(f"{plain(ended.run.name)} {plain(ended.run.id)} {ended.how} after {took}{why}")


class Crew:
    """Several worker processes with the arguments of this one. One that dies is started again."""

    def __init__(self, count: int) -> None:
        words = sys.argv[1:]
        self._words = [sys.executable, "-m", "onward.cli", *_without_processes(words)]
        self._children: list[subprocess.Popen[bytes] | None] = [None] * count
        self._due = [0.0] * count
        self._began = [0.0] * count
        self._pause = [_AGAIN_S] * count
        self._asked: int | None = None
        self._stop = threading.Event()

    def run(self) -> int:
        before = {n: signal.signal(n, self._heard) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        try:
            worst = FINISHED
            while True:
                worst = max(worst, self._look())
                if not any(self._children) and (self._asked is not None or not self._is_one_due()):
                    return worst
                self._stop.wait(0.1)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _look(self) -> int:
        """Start what is due, and see what has ended; the worst exit code that was meant as an end."""
        worst = FINISHED
        for at, child in enumerate(self._children):
            if child is None:
                if self._asked is None and self._due[at] <= time.monotonic():
                    self._start(at)
                continue
            code = child.poll()
            if code is None:
                continue
            self._children[at] = None
            if code >= 0 and (code == FINISHED or self._asked is not None or code == 2):
                self._due[at] = float("inf")
                worst = max(worst, code)
            else:
                self._start_again(at, code)
        return worst

    def _start(self, at: int) -> None:
        self._began[at] = time.monotonic()
        self._children[at] = started(self._words)

    def _start_again(self, at: int, code: int) -> None:
        lived = time.monotonic() - self._began[at]
        self._pause[at] = _AGAIN_S if lived > 60 else min(_AGAIN_MAX_S, self._pause[at] * 2)
        self._due[at] = time.monotonic() + self._pause[at]
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        tell(f"a worker process {how}; starting it again in {observe.span(self._pause[at])}")

    def _is_one_due(self) -> bool:
        return any(due != float("inf") for due in self._due)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self._asked = number
        for child in self._children:
            if child is not None:
                with suppress(ProcessLookupError):
                    child.send_signal(number)


def started(words: Sequence[str]) -> subprocess.Popen[bytes]:
    """A worker process of its own group, which Ctrl-C of the terminal reaches once, from here.

    Its input stays open as long as this process lives: that is how it learns of our death, however we die.
    """
    return subprocess.Popen(
        words, env={**os.environ, _OWN: "1"}, stdin=subprocess.PIPE, start_new_session=True
    )


def _end_with_parent() -> None:
    """In a process that `started` made: end, as by SIGTERM, when the one that made it is gone."""
    if os.environ.pop(_OWN, None) is None:
        return

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="onward-parent", daemon=True).start()


def _without_processes(words: Sequence[str]) -> Iterator[str]:
    """The command line without `--processes N`, which is for the crew alone."""
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in ("--processes", "-p"):
            skip = True
        elif not word.startswith(("--processes=", "-p")):
            yield word


# -- dev --------------------------------------------------------------------------------------------------


@click.command()
@_targets
@_queues
@_concurrency
def dev(targets: tuple[str, ...], queues: tuple[str, ...], concurrency: int) -> None:
    """A worker that starts anew whenever a file of the project changes.

    What it executes when a file changes is given back at its next step, and continued with the new code.
    """
    root = connect.project_root(Path.cwd()) or Path.cwd()
    words = [
        sys.executable,
        "-m",
        "onward.cli",
        "worker",
        *targets,
        "--concurrency",
        str(concurrency),
        "--drain",
        "1",
    ]
    for queue in queues:
        words += ["--queue", queue]
    click.get_current_context().exit(Reloading(words, root).run())


class Reloading:
    """Keeps one worker going, and starts it anew when a file below `root` has changed."""

    def __init__(self, words: Sequence[str], root: Path) -> None:
        self._words, self._root = list(words), root
        self._stop = threading.Event()

    def run(self) -> int:
        def heard(number: int, frame: FrameType | None) -> None:
            self._stop.set()

        before = {n: signal.signal(n, heard) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            return self._until_stopped()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _until_stopped(self) -> int:
        while not self._stop.is_set():
            seen = stamps(self._root)
            child = started(self._words)
            changed = self._watch(child, seen)
            child.terminate()
            code = child.wait()
            if changed:
                tell(f"{changed} has changed; starting anew")
            elif not self._stop.is_set():
                tell(f"the worker ended with exit code {code}; it is started again when a file changes")
                if not self._watch_files(seen):
                    return FAILED
        return FINISHED

    def _watch(self, child: subprocess.Popen[bytes], seen: dict[str, float]) -> str | None:
        """Wait for a change (its file), or for the end of the worker or of all (None)."""
        while child.poll() is None and not self._stop.wait(_LOOK_S):
            changed = _difference(seen, stamps(self._root))
            if changed is not None:
                return changed
        return None

    def _watch_files(self, seen: dict[str, float]) -> bool:
        while not self._stop.wait(_LOOK_S):
            if _difference(seen, stamps(self._root)) is not None:
                return True
        return not self._stop.is_set()


def stamps(root: Path) -> dict[str, float]:
    """When each Python file below `root` was changed last; folders of tools and environments are left out."""
    found: dict[str, float] = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [one for one in folders if one not in _SKIPPED and not one.startswith(".")]
        for file in files:
            if file.endswith((".py", ".toml")):
                path = os.path.join(folder, file)
                with suppress(OSError):
                    found[path] = os.stat(path).st_mtime
    return found


def _difference(before: dict[str, float], after: dict[str, float]) -> str | None:
    return next((path for path in sorted({*before, *after}) if before.get(path) != after.get(path)), None)
