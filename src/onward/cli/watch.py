"""`onward watch`: what runs, live. A board in a terminal, a line for each change elsewhere.

Asks the journal only whether anything was written, which costs a few microseconds, and reads the runs when it was.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

from onward.api import connect
from onward.api.journal import Journal
from onward.api.overview import Overview
from onward.cli import output
from onward.cli.group import FINISHED, wants_color
from onward.cli.output import SCHEMA
from onward.core.errors import NoJournal
from onward.core.lazily import Lazily
from onward.core.texts import plain
from onward.core.timeline import ShownState

if TYPE_CHECKING:
    from onward.cli import board
else:
    board = Lazily("onward.cli.board")

_OPEN: Final[tuple[ShownState, ...]] = (
    "running", "waiting", "pending", "paused", "interrupted", "failed", "stuck",
)  # fmt: skip
_ENDED: Final[tuple[ShownState, ...]] = ("done", "cancelled")
_GOING: Final = ("running",)
# How often the journal is asked whether anything was written (seconds).
_LOOK_S: Final = 0.2
# What changes without a write: time left, ages, and the death of a process, which nobody writes down.
_AGE_S: Final = 1.0
_IDLE_S: Final = 5.0
# A line for each run at most this often, but for changes of its state.
_LINE_S: Final = 10.0
_RUNS: Final = 200


class Shown(Protocol):
    """Where runs are shown."""

    def show(self, runs: Sequence[Overview], now: float, place: str) -> None: ...

    def wait(self, seconds: float) -> bool:
        """Let time pass; True if the person wants to leave."""
        ...


@click.command()
@click.argument("run_ids", metavar="[RUN...]", nargs=-1)
@click.option(
    "--until-idle", is_flag=True, help="End when nothing is being executed any more, with its exit code."
)
@click.option(
    "--interval", type=click.FloatRange(0), help="Seconds between two lines of a run, where lines are shown."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line for each change of a run.")
def watch(run_ids: Sequence[str], interval: float | None, *, until_idle: bool, as_json: bool) -> None:
    """Watch what runs, live: state, progress, rate, time left, who executes it.

    All unfinished runs and those that end meanwhile, or the given ones. In a terminal a board, which q or Ctrl-C
    leaves; in a pipe one line for each change.
    """
    watched = Watched(run_ids)
    code = FINISHED
    with _ended_by_sigterm(), watched, _shown(interval, as_json=as_json) as shown:
        for runs, now, place in watched.changes(shown.wait):
            shown.show(runs, now, place)
            if until_idle and not any(one.state in _GOING for one in runs):
                code = max((output.state_code(one) for one in runs), default=FINISHED)
                break
    click.get_current_context().exit(code)


class Watched:
    """The runs that are looked at, read again whenever the journal has changed."""

    def __init__(self, run_ids: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._run_ids, self._clock = tuple(run_ids), clock
        self._url = connect.resolved(connect.find_url())
        self._journal = Journal.existing(self._url)
        self._file = self._identity()
        self._begun_at = self._journal.now()
        self._seen: list[str] = []  # runs that were unfinished when they were looked at

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    def changes(self, wait: Callable[[float], bool]) -> Iterator[tuple[list[Overview], float, str]]:
        """The runs now, and again after each change, until `wait` says that it is over."""
        version, read_at = object(), float("-inf")
        runs: list[Overview] = []
        while True:
            self._follow()
            at, present = self._clock(), self._journal.version()
            every = _AGE_S if any(one.state in _GOING for one in runs) else _IDLE_S
            if present != version or at - read_at >= every:
                version, read_at = present, at
                runs = self._read()
                yield runs, self._journal.now(), self._journal.place
            if wait(_LOOK_S):
                return

    def _read(self) -> list[Overview]:
        if self._run_ids:
            return [self._journal.get(run_id) for run_id in self._run_ids]
        unfinished = self._journal.list(states=_OPEN, limit=_RUNS)
        for one in unfinished:
            if one.run.id not in self._seen:
                self._seen = [*self._seen, one.run.id][-_RUNS:]
        ended = self._journal.list(states=_ENDED, limit=20)
        return unfinished + [
            one for one in ended if one.run.id in self._seen or one.run.updated_at >= self._begun_at
        ]

    def _follow(self) -> None:
        """A journal that was removed and begun anew is another file: the old one would stand still for ever."""
        if self._identity() == self._file:
            return
        fresh = Journal.existing(self._url)
        self._journal.close()
        self._journal, self._file = fresh, self._identity()

    def _identity(self) -> tuple[int, int] | None:
        path = connect.journal_file(self._url)
        if path is None:
            return None
        try:
            found = os.stat(path)
        except FileNotFoundError:
            raise NoJournal(f"the journal {path} was removed while it was watched") from None
        return found.st_dev, found.st_ino


# -- where it is shown ------------------------------------------------------------------------------


@contextmanager
def _shown(interval: float | None, *, as_json: bool) -> Iterator[Shown]:
    if as_json:
        yield Lines(_json_line, 0.0 if interval is None else interval)
    elif interval is None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        with board.Board(colors=wants_color()) as shown:
            yield shown
    else:
        yield Lines(_plain_line, _LINE_S if interval is None else interval)


class Lines:
    """A line for each change of a run."""

    def __init__(self, line: Callable[[Overview, float], str], every_s: float) -> None:
        self._line, self._every_s = line, every_s
        self._shown: dict[str, tuple[object, object, float]] = {}  # by run: its state, its progress, when

    def show(self, runs: Sequence[Overview], now: float, place: str) -> None:
        for one in runs:
            state, progress = (one.state, one.run.fence), (one.counts, one.run.updated_at)
            before = self._shown.get(one.run.id)
            if (
                before is not None
                and before[0] == state
                and (before[1] == progress or now - before[2] < self._every_s)
            ):
                continue
            self._shown[one.run.id] = state, progress, now
            click.echo(self._line(one, now))
        sys.stdout.flush()

    def wait(self, seconds: float) -> bool:
        time.sleep(seconds)
        return False


def _plain_line(one: Overview, now: float) -> str:
    parts = [output.moment(now), plain(one.run.name), output.state_text(one.state), output.progress_text(one)]
    return "  ".join(part for part in (*parts, output.rate_text(one.rate)) if part)


def _json_line(one: Overview, now: float) -> str:
    document: dict[str, Any] = {"schema": SCHEMA, "at": output.iso(now), "run": output.run_json(one)}
    return json.dumps(document)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends it like Ctrl-C, so that the terminal is given back as it was."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
