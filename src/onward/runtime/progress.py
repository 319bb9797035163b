"""How far a loop or map is, shown while it runs: a bar in a terminal, plain lines elsewhere.

Looks only; whatever goes wrong here never reaches the work. Messages go to stderr; `ONWARD_QUIET=1` silences them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final, TextIO

from onward.core.estimates import Estimate, time_left
from onward.core.model import Request
from onward.core.texts import command_in, plain
from onward.runtime import notebook, observe

# A bar that moves five times a second looks alive; a line every ten seconds does not flood a log file.
_BAR_S: Final = 0.2
_LINE_S: Final = 10.0
# Importing what draws the bar takes 0.1 s: work that is over sooner than this is not made to pay for it.
_PATIENCE_S: Final = 0.5
# Completions that the rate and the time left are judged by.
_REMEMBERED: Final = 200


class Progress:
    """The progress of one pass. `done` counts the items of earlier passes (`kept`) too, `command` continues it.

    `update` costs less than 3 µs: it notes the time and draws only when the last drawing is old.
    """

    def __init__(
        self,
        name: str,
        *,
        kept: int = 0,
        total: int | None = None,
        command: str | None = None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.kept, self.total, self._command = plain(name), kept, total, command
        self.done, self.failed = kept, 0
        self._clock = clock
        self._begun_at = clock()
        # When how many were done or failed; results of earlier passes come in without being done.
        self._ends: deque[tuple[float, int]] = deque(((self._begun_at, kept),), _REMEMBERED)
        self._bar: Bar | notebook.Display | None = notebook.Display.here() or Bar.on(stream or sys.stderr)
        self._every_s = _LINE_S if self._bar is None else _BAR_S
        self._next_at = self._begun_at + (_LINE_S if self._bar is None else _PATIENCE_S)
        if os.environ.get("ONWARD_QUIET"):
            self._next_at = float("inf")

    def update(self, *, done: int, failed: int = 0) -> None:
        """So many are done and have failed now. Call it once for each item that ends."""
        self.done, self.failed = done, failed
        now = self._clock()
        if done + failed > self._ends[-1][1]:
            self._ends.append((now, done + failed))
        if now >= self._next_at:
            self._draw(now)

    def finish(
        self, *, done: int, failed: int = 0, complete: bool = True, asked: Request | None = None
    ) -> None:
        """The pass is over; `complete` when it came to the end of its items, else `asked` says who wanted that."""
        self.done, self.failed = done, failed
        with contextlib.suppress(Exception):
            summary = self.summary(complete=complete, asked=asked)
            if self._bar is not None and self._bar.close(summary):
                observe.log.info(summary)
            else:
                observe.say(summary)

    def summary(self, *, complete: bool, asked: Request | None = None) -> str:
        """The sentence that stands at the end."""
        took = observe.span(max(0.0, self._clock() - self._begun_at))
        kept = f" ({self.kept:,} of them kept from earlier passes)" if self.kept else ""
        failed = f", {self.failed:,} failed" if self.failed else ""
        if complete:
            return f"{self.name}: finished, {self.done:,} done{kept}{failed}, in {took}"
        if asked == "cancel":  # the same call begins anew
            return f"{self.name}: cancelled after {took} at {self.counted}{kept}{failed}"
        goes_on = "the same call continues there"
        if self._command is not None:
            goes_on = f"continue with: {command_in(self._command, _working_folder())}"
        return f"{self.name}: stopped after {took} at {self.counted}{kept}{failed}; {goes_on}"

    @property
    def counted(self) -> str:
        """`61 of 117`, or `61` when it is not known how many there are."""
        return f"{self.done:,}" if self.total is None else f"{self.done:,} of {self.total:,}"

    @property
    def rate(self) -> float | None:
        """Items a second over the last ones; None before the first two."""
        (first, before), (last, after) = self._ends[0], self._ends[-1]
        return (after - before) / (last - first) if len(self._ends) > 2 and last > first else None

    @property
    def left(self) -> Estimate | None:
        """How long the rest will take; None while that is still being learnt."""
        if self.total is None:
            return None
        return time_left(
            self.total - self.done - self.failed,
            [(b - a) / (m - n) for (a, n), (b, m) in pairwise(self._ends)],
        )

    def line(self) -> str:
        """All of it as one plain line."""
        parts = [f"{self.name}: {self.counted}"]
        if self.total:
            parts[0] += f" ({100 * self.done // self.total} %)"
        return ", ".join([*parts, *self.remarks()])

    def remarks(self) -> list[str]:
        """What stands behind the count: failures, rate, time left, what was kept."""
        found = [f"{self.failed:,} failed"] if self.failed else []
        rate = self.rate
        if rate is not None:
            found.append(f"{rate:,.1f}/s" if rate >= 1 else f"{60 * rate:,.1f}/min")
        if self.total is not None:
            left = self.left
            found.append("learning…" if left is None else f"{left_text(left)} left")
        if self.kept:
            found.append(f"{self.kept:,} kept from earlier passes")
        return found

    def _draw(self, now: float) -> None:
        self._next_at = now + self._every_s
        try:
            if self._bar is None:
                observe.say(self.line())
            else:
                self._bar.draw(self)
        except Exception:  # a closed terminal must not end the work
            bar, self._bar, self._next_at = self._bar, None, float("inf")
            if bar is not None:
                with contextlib.suppress(Exception):
                    bar.close("")


def _working_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


class Bar:
    """One line at the bottom of a terminal. No cursor is hidden and no thread is started: a kill leaves nothing
    broken."""

    # Weak: a pass that was dropped without an end must not keep later ones from showing their bar.
    _shown: weakref.ref[Bar] | None = None

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._console: Any = None
        self._visible = False
        self._replaced: list[tuple[str, _Above]] = []
        self.midline = False

    @classmethod
    def on(cls, stream: TextIO) -> Bar | None:
        """A bar on `stream` if that is a terminal that can show one, and no other bar is there."""
        if (
            (cls._shown is not None and cls._shown() is not None)
            or os.environ.get("TERM") == "dumb"
            or os.environ.get("ONWARD_QUIET")
        ):
            return None
        try:
            if not stream.isatty():
                return None
        except (AttributeError, ValueError):  # no stream, or a closed one
            return None
        bar = cls(stream)
        cls._shown = weakref.ref(bar)
        return bar

    def draw(self, progress: Progress) -> None:
        if self.midline:  # somebody else's line is not finished yet
            return
        line = self._rendered(progress)
        self._stream.write(f"\r\x1b[2K{line}")
        self._stream.flush()
        self._visible = True

    def clear(self) -> None:
        """Make room for what somebody else is about to print."""
        if self._visible:
            self._visible = False
            self._stream.write("\r\x1b[2K")
            self._stream.flush()

    def close(self, summary: str) -> bool:
        """Take the bar away; what is said at the end is not shown in its place."""
        if Bar._shown is not None and Bar._shown() is self:
            Bar._shown = None
        for name, above in self._replaced:
            if getattr(sys, name) is above:
                setattr(sys, name, above.stream)
        self._replaced.clear()
        self.clear()
        return False

    def _rendered(self, progress: Progress) -> str:
        from rich.console import Console
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        if self._console is None:
            self._console = Console(file=self._stream, highlight=False, soft_wrap=False)
            self._intercept()
        console = self._console
        grid = Table.grid(padding=(0, 1))
        row: list[Any] = [Text(progress.name, style="bold", overflow="ellipsis", no_wrap=True)]
        if progress.total:
            row.append(
                ProgressBar(total=progress.total, completed=progress.done, width=max(8, console.width // 5))
            )
        row.append(Text(progress.counted, no_wrap=True))
        row.append(Text(" · ".join(progress.remarks()), style="dim", overflow="ellipsis", no_wrap=True))
        grid.add_row(*row)
        # One column less than the terminal has: in the last one some terminals wrap.
        with console.capture() as caught:
            console.print(grid, width=console.width - 1, end="")
        return str(caught.get()).rstrip("\n")

    def _intercept(self) -> None:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            with contextlib.suppress(Exception):
                if stream.isatty():
                    above = _Above(stream, self)
                    setattr(sys, name, above)
                    self._replaced.append((name, above))


class _Above:
    """Stands for sys.stdout or sys.stderr while a bar is shown: what is printed appears above it."""

    def __init__(self, stream: Any, bar: Bar) -> None:
        self.stream, self._bar = stream, bar

    def write(self, text: str) -> int:
        with contextlib.suppress(Exception):
            self._bar.clear()
            self._bar.midline = not text.endswith("\n") if text else self._bar.midline
        return int(self.stream.write(text))

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def left_text(left: Estimate) -> str:
    """`2 min to 3 min`; one time where the difference does not matter."""
    low, high = (observe.span(max(1.0, seconds)) for seconds in left)
    return high if low == high or left.high_s < 1.1 * left.low_s else f"{low} to {high}"
