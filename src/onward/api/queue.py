"""`onward.Queue`: where started runs wait, and how many of them may be executed at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onward.api.identity import checked_name
from onward.core import codec, limits
from onward.core.errors import NotRecordable, UsageError
from onward.core.flow import Quota, quota_of, text_of
from onward.core.retry import Exceptions, Policy
from onward.runtime import registry


class Queue:
    """A queue, declared where the workflows are that use it.

        sites = onward.Queue("sites", concurrency=10, per_key=host, rate="60/min")

        @onward.workflow(queue=sites)
        def scrape(url: str) -> Page: ...

    - `concurrency=10`: of its runs, over all workers, so many are executed at once; `per_worker=2`: so many in each.
    - `per_key=host`: called with the arguments of `start`; of the runs for which it gives the same value one is
      executed at once, or `per_key_concurrency=2`. None: of no key. A key that is held up holds up no other one.
    - `rate="60/min"`: so many begin, evenly; `"60/min burst 60"`: all of them at once, if it so happens, and no more
      within that minute. `per_key_rate="1/s"`: the same for each key. A run that goes on is not held back.
    - `max_attempts=3`, `backoff=`, `backoff_max=`, `retry_on=`, `give_up_on=`: for the workflows in it that do not
      say so themselves.

    All of it holds over all processes, by the journal's clock, from when the first run is started or a worker begins.
    Who operates it may set other limits (`onward queue set`), which go before these until they are handed back.
    """

    def __init__(
        self,
        name: str,
        *,
        concurrency: int | None = None,
        per_worker: int | None = None,
        per_key: Callable[..., object] | None = None,
        per_key_concurrency: int | None = None,
        rate: str | None = None,
        per_key_rate: str | None = None,
        max_attempts: int | None = None,
        backoff: float | None = None,
        backoff_max: float | None = None,
        retry_on: Exceptions | None = None,
        give_up_on: Exceptions | None = None,
    ) -> None:
        self.name = checked_name(name)
        self.per_key = _callable(per_key)
        if per_key is None and (per_key_concurrency is not None or per_key_rate is not None):
            raise UsageError(
                f"queue `{name}` limits what has the same key, and does not say what its key is; nothing was declared. "
                f"Give it per_key=, a function of the arguments."
            )
        if per_key is not None and per_key_concurrency is None:
            per_key_concurrency = 1
        self._limits = checked_limits(
            concurrency=concurrency,
            per_key=per_key_concurrency,
            per_worker=per_worker,
            rate=rate,
            key_rate=per_key_rate,
        )
        attempts = {
            "max_attempts": max_attempts,
            "backoff_s": backoff,
            "backoff_max_s": backoff_max,
            "retry_on": retry_on,
            "give_up_on": give_up_on,
        }
        said: dict[str, Any] = {field: value for field, value in attempts.items() if value is not None}
        self.policy = Policy(**said) if said else None
        registry.add_queue(self)

    def __repr__(self) -> str:
        return f"<onward queue {self.name}>"

    @property
    def limits_text(self) -> str:
        """Its limits as the journal keeps them."""
        return text_of(self._limits)

    def lane_of(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        """What a run of the workflow `name` with these arguments is counted under; empty if it has no key.

        Raises UsageError if `per_key` fails or gives what is no key.
        """
        if self.per_key is None:
            return None
        try:
            key = self.per_key(*args, **kwargs)
        except Exception as error:
            raise UsageError(
                f"per_key of queue `{self.name}` cannot tell the key of a run of `{name}` "
                f"({type(error).__name__}: {error}); nothing was started. It is called with the arguments of start."
            ) from error
        if key is None:
            return ""
        if isinstance(key, str) and 0 < len(key) <= limits.KEY_CHARS and key.isprintable():
            return key
        try:
            return codec.item_key(key)
        except NotRecordable as error:
            raise UsageError(
                f"per_key of queue `{self.name}` gave {type(key).__qualname__}, which cannot be a key; nothing was "
                f"started. Return a str, a number, or None for no key."
            ) from error


def checked_limits(
    *,
    concurrency: int | None = None,
    per_key: int | None = None,
    per_worker: int | None = None,
    rate: str | None = None,
    key_rate: str | None = None,
) -> dict[str, int | Quota]:
    """The limits that are given, as fields of `core.flow.Limits`; raises UsageError for one that cannot be."""
    counts = {"concurrency": concurrency, "per_key_concurrency": per_key, "per_worker": per_worker}
    for option, value in counts.items():
        if value is not None and (type(value) is not int or not 1 <= value <= limits.QUEUE_RUNS):
            raise UsageError(
                f"{option}={value!r} is not possible; nothing was changed. Give a whole number from 1 to "
                f"{limits.QUEUE_RUNS:,}; to let nothing begin, pause the queue."
            )
    given: dict[str, int | Quota | None] = {
        "concurrency": concurrency,
        "per_key": per_key,
        "per_worker": per_worker,
        "rate": None if rate is None else quota_of(rate, "rate"),
        "key_rate": None if key_rate is None else quota_of(key_rate, "per_key_rate"),
    }
    return {field: value for field, value in given.items() if value is not None}


def _callable(per_key: object) -> Any:
    if per_key is not None and not callable(per_key):
        raise UsageError(
            f"per_key= takes a function of the arguments, such as per_key=lambda url: urlsplit(url).netloc, not "
            f"{per_key!r}; nothing was declared"
        )
    return per_key
