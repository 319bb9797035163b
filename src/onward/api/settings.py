"""How a map runs: its options, checked before anything is started."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final, Literal

from onward.api.identity import checked_count, checked_stop_after
from onward.api.opening import IfRunning
from onward.api.step import RetryOptions
from onward.core.errors import UsageError
from onward.core.pace import Rate
from onward.core.retry import Policy

OnError = Literal["raise", "continue"]
Pool = Executor | Callable[[], Executor]


class MapOptions(RetryOptions, total=False):
    """How the items of a map are attempted, and how fast they start."""

    executor: Pool
    rate: str
    per_key_concurrency: int
    per_key_rate: str
    stop_after: int | None


OWN: Final = frozenset(MapOptions.__annotations__) - frozenset(RetryOptions.__annotations__)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a map runs."""

    concurrency: int
    on_error: OnError
    as_completed: bool
    policy: Policy
    if_running: IfRunning
    max_age_s: float | None
    fresh: bool
    executor: Pool | None = None
    rate: Rate | None = None
    per_key: Callable[[Any], object] | None = None
    per_key_concurrency: int = 1
    per_key_rate: Rate | None = None
    stop_after: int | Literal["auto"] | None = "auto"

    def __post_init__(self) -> None:
        checked_count("concurrency", self.concurrency)
        checked_count("per_key_concurrency", self.per_key_concurrency)
        if self.on_error not in ("raise", "continue"):
            raise UsageError(
                f'on_error={self.on_error!r} is not possible: give "raise" or "continue"; nothing was started'
            )
        if self.per_key is None and (self.per_key_concurrency != 1 or self.per_key_rate is not None):
            raise UsageError(
                "per_key_concurrency= and per_key_rate= need per_key=, which says what an item belongs to, as in "
                "per_key=lambda url: urlsplit(url).netloc; nothing was started"
            )
        checked_stop_after(self.stop_after)

    @property
    def is_paced(self) -> bool:
        """Whether items wait for their turn: because of a rate or of their keys."""
        return self.rate is not None or self.per_key is not None


def settings_of(fn: Callable[..., Any], options: dict[str, Any], policy: Policy, **others: Any) -> Settings:
    """The settings that the options of a map describe; raises UsageError before anything is started."""
    if "executor" in options:
        _check_executor(options["executor"], fn)
    if others.get("per_key") is not None and not callable(others["per_key"]):
        raise UsageError(
            f"per_key= takes a function of an item, not {others['per_key']!r}; nothing was started"
        )
    given = {name: options[name] for name in OWN & options.keys()}
    for name in ("rate", "per_key_rate"):
        if given.get(name) is not None:
            given[name] = Rate.parsed(given[name], name)
    return Settings(policy=policy, **others, **given)


def _check_executor(executor: object, fn: Callable[..., Any]) -> None:
    if executor is None:
        return
    if inspect.iscoroutinefunction(fn):
        raise UsageError(
            "executor= is for sync functions: an async one cannot leave its event loop. Leave executor= out; nothing "
            "was started"
        )
    if not callable(executor) and not callable(getattr(executor, "submit", None)):
        raise UsageError(
            f"executor= takes a concurrent.futures.Executor, or a function that makes one, not {executor!r}; nothing "
            f"was started"
        )
