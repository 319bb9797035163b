"""When so many items fail in a row that going on makes no sense: the circuit breaker of a map. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from onward.core import limits

# Characters of an error's message that the reason of a stop quotes.
_QUOTED: Final = 200


class Reason(NamedTuple):
    """Why a map or a loop stopped early."""

    failures: int  # in a row
    most: int  # of them with the most frequent error
    error: str  # that error, in one line
    what: str = "failed"  # the items did

    @property
    def sentence(self) -> str:
        """`the last 20 items all failed ..., most often (18 of 20) with ConnectionError: no route to host`."""
        if self.failures == 1:
            return f"the last item {self.what} with {self.error}"
        if self.most == self.failures:
            how = "all of them with"
        else:
            how = f"most often ({self.most:,} of {self.failures:,}) with"
        row = f"the last {self.failures:,} items in a row {self.what} and none succeeded in between"
        return f"{row}, {how} {self.error}"


class Streak:
    """Counts failures in a row, in the order in which items end.

    `stop_after`: how many are too many; None for never. "auto": few while nothing has ever succeeded (then the
    function, the network or the credentials are at fault, not the items), many once something has: a stretch of bad
    rows in a list is no reason to stop. Failures of items that had failed in an earlier pass do not count: they say
    nothing new, and a list that begins with bad rows must not stop every pass at the same place.
    """

    def __init__(
        self, stop_after: int | str | None, *, anything_done: bool, failed_before: Iterable[str] = ()
    ) -> None:
        self._stop_after, self._anything_done = stop_after, anything_done
        self.failed_before = frozenset(failed_before)
        self._errors: list[BaseException] = []
        self.reason: Reason | None = None  # why to stop; stays once it is set
        self.cause: BaseException | None = None  # an error of the most frequent kind

    @property
    def limit(self) -> int | None:
        """How many failures in a row are too many now."""
        if isinstance(self._stop_after, str):
            return limits.MAP_STOP_AFTER if self._anything_done else limits.MAP_STOP_AT_ONCE
        return self._stop_after

    def succeeded(self) -> None:
        """An item has succeeded."""
        self._anything_done = True
        self._errors.clear()

    def failed(self, key: str, error: BaseException) -> None:
        """An item has failed for good."""
        limit = self.limit
        if limit is None or self.reason is not None or key in self.failed_before:
            return
        self._errors.append(error)
        if len(self._errors) >= limit:
            self._stop()

    def stop(self, reason: Reason, cause: BaseException) -> None:
        """There is another reason to stop."""
        if self.reason is None:
            self.reason, self.cause = reason, cause

    def _stop(self) -> None:
        kinds = Counter(type(error) for error in self._errors)
        kind, most = kinds.most_common(1)[0]
        self.cause = next(error for error in reversed(self._errors) if type(error) is kind)
        message = " ".join(_text(self.cause).split())
        shown = message if len(message) <= _QUOTED else message[: _QUOTED - 1] + "…"
        named = kind.__qualname__ + (f": {shown}" if shown else "")
        self.reason = Reason(len(self._errors), most, named)
        self._errors.clear()


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # a `__str__` of the user must not hide why the map stopped
        return ""
