"""Which items of a list are done: recognised by content, in memory that does not grow with the list.

A continued pass reads the keys of done items in the order in which they were recorded, a page at a time, and expects
the source to bring them in that order: then recognising an item is one comparison. An item that comes out of order is
looked up. One bit for each entry remembers what this pass has met already, which makes repeats of equal items tell:
the nth one is `key~n`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from operator import itemgetter
from typing import Literal

from onward.core import limits
from onward.core.keys import repeated
from onward.core.model import Entry

_CHUNK_BITS = 15
# Rows read after a jump; eight times as many with each further page.
_FIRST_ROWS = 8
# So many met rows in a row may be read over before an expectation is given up: a list in reverse meets them all.
_PASSED_ROWS = 500
# Most items that are looked up before the next jump. A list that was only rotated is back in order after as many.
_MOST_PAUSE = 255


class Bits:
    """A set of small integers, one bit each, in chunks of 4 KiB."""

    def __init__(self) -> None:
        self._chunks: dict[int, bytearray] = {}

    def add(self, number: int) -> None:
        at = number >> _CHUNK_BITS
        chunk = self._chunks.get(at)
        if chunk is None:
            chunk = self._chunks[at] = bytearray(1 << (_CHUNK_BITS - 3))
        low = number & ((1 << _CHUNK_BITS) - 1)
        chunk[low >> 3] |= 1 << (low & 7)

    def __contains__(self, number: int) -> bool:
        chunk = self._chunks.get(number >> _CHUNK_BITS)
        if chunk is None:
            return False
        low = number & ((1 << _CHUNK_BITS) - 1)
        return bool(chunk[low >> 3] & (1 << (low & 7)))


class Traces:
    """Which keys may have been given out: one bit for each, in a fixed megabyte. Wrong only by saying yes too often."""

    _MASK = (1 << 23) - 1

    def __init__(self) -> None:
        self._bits = bytearray((self._MASK + 1) >> 3)

    def add(self, key: str) -> None:
        at = hash(key) & self._MASK
        self._bits[at >> 3] |= 1 << (at & 7)

    def __contains__(self, key: str) -> bool:
        at = hash(key) & self._MASK
        return bool(self._bits[at >> 3] & (1 << (at & 7)))


# repeat: an equal item was met in this pass already, and equal items are the same work.
Standing = Literal["new", "done", "failed", "repeat"]


class Pass:
    """One walk over the items of a loop or map."""

    def __init__(
        self,
        *,
        fence: int,
        page: Callable[[int, int], list[tuple[int, str]]],
        outcome: Callable[[str], Entry | None],
        continued: bool,
        forgets: bool = True,
        empty: bool = False,
    ) -> None:
        self._fence, self._page, self._outcome = fence, page, outcome
        self._met = Bits()  # entries of earlier passes that an item of this pass has claimed
        self._rows: list[tuple[int, str]] = []
        self._at = 0
        self._after = -1
        self._more = continued
        self._page_rows = limits.PAGE_ROWS
        self._vain = self._pause = 0  # after jumps in vain so many items are looked up without another one
        # Keys given out by this pass whose entries may not be readable yet, or that ended without one.
        self._given: OrderedDict[str, None] = OrderedDict()
        self._repeats: OrderedDict[str, int] = OrderedDict()
        self._read: tuple[str, Entry | None] = ("", None)  # what the journal said last, and of which key
        # Of a run in which nothing was recorded before this pass: what it has not given out is not in the journal.
        self._traces = Traces() if empty else None
        self._forgets = forgets  # what this pass has given out can be looked up once it is recorded
        self.recognised = 0
        self.expected = self._peek()

    def take(self, base: str, *, once: bool = False) -> tuple[str, Standing]:
        """The key of an item whose content key is `base`, and how it stands.

        The nth equal item is `base~n`; with `once` there is but one, and the later ones stand as `repeat`.
        """
        key = self.expected
        if key is None or not (key == base or (not once and self._is_next_repeat(key, base))):
            return self._look_up_only(base) if once else self._look_up(base)
        self._met.add(self._rows[self._at][0])
        self._at += 1
        self._vain = self._pause = 0
        self.expected = self._peek()
        self.recognised += 1
        return key, "done"

    def _is_next_repeat(self, key: str, base: str) -> bool:
        """Whether `key` is the repeat of `base` whose turn it is; one that an edited list skipped goes first."""
        if not key.startswith(base + "~") or not key[len(base) + 1 :].isdigit():
            return False
        number = int(key[len(base) + 1 :])
        if self._repeats.get(base, 0) != number - 1 and not self._is_met(repeated(base, number - 1)):
            return False
        self._remember_repeat(base, number)
        return True

    def has_met(self, seq: int) -> bool:
        """Whether an item of this pass was recognised as the one of this entry."""
        return seq in self._met

    def _look_up(self, base: str) -> tuple[str, Standing]:
        count = self._first_unmet(base)
        key = repeated(base, count)
        if count > 1:
            self._remember_repeat(base, count)
        return self._stands(key)

    def _look_up_only(self, base: str) -> tuple[str, Standing]:
        return (base, "repeat") if self._is_met(base) else self._stands(base)

    def _stands(self, key: str) -> tuple[str, Standing]:
        # Most often the very key that was found to be unmet a moment ago: asking again would cost as much again.
        entry = self._read[1] if self._read[0] == key else self._outcome(key)
        if entry is not None and entry.state == "done":
            self._met.add(entry.seq)
            self._follow(entry.seq, key)
            self.recognised += 1
            return key, "done"
        self._given[key] = None
        if self._traces is not None:
            self._traces.add(key)
        if self._forgets and len(self._given) > limits.REPEATS_REMEMBERED:
            self._given.popitem(last=False)
        return key, "new" if entry is None else "failed"

    def _remember_repeat(self, base: str, number: int) -> None:
        self._repeats[base] = number
        self._repeats.move_to_end(base)
        if len(self._repeats) > limits.REPEATS_REMEMBERED:
            self._repeats.popitem(last=False)

    def _first_unmet(self, base: str) -> int:
        """The lowest repeat number that no item of this pass has: met numbers form a run from 1 on, so gallop."""
        low = self._repeats.get(base, 0)  # known to be met
        if not self._is_met(repeated(base, low + 1)):
            return low + 1
        step = 1
        low += 1
        while self._is_met(repeated(base, low + step)):
            low += step
            step *= 2
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            if self._is_met(repeated(base, middle)):
                low = middle
            else:
                high = middle
        return high

    def _is_met(self, key: str) -> bool:
        if key in self._given:
            return True
        is_unknown = self._traces is not None and key not in self._traces
        entry = None if is_unknown else self._outcome(key)
        self._read = key, entry
        return entry is not None and (entry.fence == self._fence or entry.seq in self._met)

    # -- the expected order -----------------------------------------------------------------------------------

    def _peek(self, patience: int = _PASSED_ROWS) -> str | None:
        """The next key that no item of this pass has met; None too where a long stretch is met."""
        passed = 0
        while True:
            while self._at < len(self._rows):
                seq, key = self._rows[self._at]
                if seq not in self._met:
                    return key
                self._at += 1
                passed += 1
            if not self._more or passed >= patience:
                return None
            rows, self._page_rows = self._page_rows, min(8 * self._page_rows, limits.PAGE_ROWS)
            self._rows = self._page(self._after, rows)
            self._at = 0
            self._more = len(self._rows) == rows
            if not self._rows:
                return None
            self._after = self._rows[-1][0]

    def _follow(self, seq: int, key: str) -> None:
        """Jump to where the source is, unless that was of no use lately: a list newest first is never in order."""
        if self._pause:
            self._pause -= 1
            return
        self._jump(seq, key)
        self._vain = self._pause = min(2 * self._vain + 1, _MOST_PAUSE)

    def _jump(self, seq: int, key: str) -> None:
        """The source is at entry `seq`: expect what was recorded after it."""
        if self._rows and self._rows[0][0] <= seq <= self._rows[-1][0]:
            self._at = bisect_right(self._rows, seq, key=itemgetter(0))
        else:
            self._rows, self._at, self._after, self._more = [], 0, seq, True
            # A list in another order jumps with every item: a whole page each time would be read for nothing.
            self._page_rows = min(_FIRST_ROWS, limits.PAGE_ROWS)
        self.expected = self._peek(_FIRST_ROWS)
