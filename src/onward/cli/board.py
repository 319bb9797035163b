"""The live board of `onward watch`: what is drawn, and the keys that leave it."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console, Group, RenderableType  # noqa: TID253  (imported only when a board is drawn)
from rich.live import Live  # noqa: TID253
from rich.progress_bar import ProgressBar  # noqa: TID253
from rich.table import Table  # noqa: TID253
from rich.text import Text  # noqa: TID253

from onward.api.overview import Overview
from onward.cli import output
from onward.core.texts import plain
from onward.runtime.observe import span
from onward.runtime.progress import left_text

if TYPE_CHECKING:
    from types import TracebackType

_STYLES: Final = {
    "done": "green",
    "running": "cyan",
    "waiting": "cyan",
    "pending": "cyan",
    "interrupted": "yellow",
    "paused": "yellow",
    "failed": "red",
    "stuck": "red",
}
_NEEDS_YOU: Final = ("interrupted", "failed", "stuck")
# Lines that are not runs: the head, the names of the columns, what to type, the foot.
_OTHER_LINES: Final = 6


class Board:
    """The board on a whole terminal. Leaves the terminal as it was, with the last board above the prompt."""

    def __init__(self, *, colors: bool | None, console: Console | None = None) -> None:
        self._console = console or Console(no_color=None if colors is not False else True, highlight=False)
        self._live = Live(console=self._console, screen=True, auto_refresh=False, transient=True)
        self._keys: tuple[int, Any] | None = None
        self._last: RenderableType | None = None

    def __enter__(self) -> Board:
        self._keys = _keys()
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, tb)
        if self._keys is not None:
            termios.tcsetattr(self._keys[0], termios.TCSADRAIN, self._keys[1])
        if self._last is not None:
            self._console.print(self._last)

    def show(self, runs: Sequence[Overview], now: float, place: str) -> None:
        self._last = drawn(runs, now, place, height=10_000)
        foot = Text("q or Ctrl-C leaves; the work goes on", style="dim")
        board = drawn(runs, now, place, height=self._console.height - 1)
        self._live.update(Group(board, foot), refresh=True)

    def wait(self, seconds: float) -> bool:
        """Until a key is pressed or the time is over; True for q."""
        if self._keys is None:
            time.sleep(seconds)
            return False
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self._keys[0]], [], [], left)[0]:
                key = os.read(self._keys[0], 64)
                if not key or key[:1] in b"qQ":  # without a key the terminal has gone away
                    return True
        return False


def _keys() -> tuple[int, Any] | None:
    """Let keys be read one by one; how the terminal was before, or None without one to read from."""
    try:
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
        tty.setcbreak(descriptor, termios.TCSANOW)
    except (termios.error, OSError, ValueError):
        return None
    return descriptor, before


def drawn(runs: Sequence[Overview], now: float, place: str, *, height: int) -> RenderableType:
    """The board: going on first, then what needs a person, then what has ended."""
    ordered = sorted(runs, key=_order)
    room = max(1, height - _OTHER_LINES)
    shown, hidden = ordered[:room], len(ordered) - room
    parts: list[RenderableType] = [_head(runs, place), _table(shown, now)]
    if hidden > 0:
        parts.append(Text(f"… and {hidden:,} more: onward runs", style="dim"))
    parts += [_to_type(one) for one in shown if one.state in _NEEDS_YOU][:3]
    return Group(*parts)


def _order(one: Overview) -> tuple[int, float]:
    rank = (
        0
        if one.state == "running"
        else 1
        if one.state in _NEEDS_YOU
        else 3
        if one.state in ("done", "cancelled")
        else 2
    )
    return rank, -one.run.created_at


def _head(runs: Sequence[Overview], place: str) -> Text:
    counts: dict[str, int] = {}
    for one in runs:
        counts[one.state] = counts.get(one.state, 0) + 1
    text = Text("onward ", style="bold", no_wrap=True, overflow="ellipsis")
    for state, count in counts.items():
        text.append(f" {count:,} {state} ", style=_STYLES.get(state, ""))
    return text.append(f" {plain(place)}", style="dim")


def _table(runs: Sequence[Overview], now: float) -> RenderableType:
    if not runs:
        return Text("nothing runs; what is begun appears here", style="dim")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=False)
    for name in ("run", "state", "", "progress", "failed", "rate", "left", "last", "by"):
        table.add_column(
            name, no_wrap=True, overflow="ellipsis", justify="right" if name in ("failed", "rate") else "left"
        )
    for one in runs:
        table.add_row(*_row(one, now))
    return table


def _row(one: Overview, now: float) -> list[RenderableType]:
    counts = one.counts
    style = _STYLES.get(one.state, "")
    known = counts.total is not None and counts.total > 0
    bar = ProgressBar(total=counts.total or 1, completed=counts.done, width=16) if known else Text("")
    progress = "" if one.run.kind == "workflow" and not counts.done and not known else f"{counts.done:,}"
    if known:
        progress += f" of {counts.total:,} ({100 * counts.done // (counts.total or 1)} %)"
    return [
        Text(plain(one.run.name, 40), style="bold"),
        Text(_state(one), style=style),
        bar,
        Text(progress),
        Text(f"{counts.failed:,}" if counts.failed else "", style="red"),
        Text(output.rate_text(one.rate)),
        Text(left_text(one.left) if one.left else ""),
        Text(f"{span(max(0.0, now - one.last_sign_at))} ago", style="dim"),
        Text(plain(one.holder or "", 60) if one.state == "running" else "", style="dim"),
    ]


def _state(one: Overview) -> str:
    if one.run.request:
        return f"asked to {one.run.request}"
    return "silent" if one.silent_s else one.state


def _to_type(one: Overview) -> Text:
    verb = f"onward retry {one.run.id}" if one.state == "stuck" else output.command_text(one.run)
    return Text(f"{plain(one.run.name, 40)}: {verb}", style="yellow", no_wrap=True, overflow="ellipsis")
