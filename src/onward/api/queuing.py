"""How a workflow's runs are queued: what `options` says for `start`, checked, and the run that it makes."""

from __future__ import annotations

import datetime as dt
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from onward.api.identity import checked_name, queued_id
from onward.core import limits
from onward.core.errors import UsageError
from onward.core.lazily import Lazily
from onward.core.model import Run

if TYPE_CHECKING:
    import json
else:
    json = Lazily("json")

# The queue of a workflow that names none.
DEFAULT: Final = "default"
# While what no second run of a key is added: until it begins, until it has ended, or for so many seconds.
Unique = Literal["queued", "running"] | float
_UNTIL: Final = {"queued": "start", "running": "end"}
# How many pauses in the starts of a key a debounced run waits at most, if nothing else is said.
_DEBOUNCES: Final = 10


@dataclass(frozen=True, slots=True)
class Queuing:
    """How a workflow's runs are queued."""

    queue: str = DEFAULT
    priority: int = 0
    delay_s: float | None = None
    at: float | None = None
    key: str | None = None
    unique: Unique = "running"
    debounce_s: float | None = None
    debounce_max_s: float | None = None
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checked_name(self.queue)

    def changed(
        self,
        *,
        queue: str | None = None,
        priority: int | None = None,
        delay: float | dt.timedelta | None = None,
        at: dt.datetime | None = None,
        key: str | None = None,
        unique: Unique | None = None,
        debounce: float | dt.timedelta | None = None,
        debounce_max: float | dt.timedelta | None = None,
        tags: Sequence[str] | None = None,
    ) -> Queuing:
        """The same with what is given; raises UsageError for what cannot be."""
        given: dict[str, Any] = {
            "queue": queue,
            "priority": None if priority is None else _whole(priority),
            "delay_s": None if delay is None else _seconds(delay, "delay"),
            "at": None if at is None else _timestamp(at),
            "key": None if key is None else checked_key(key),
            "unique": None if unique is None else _unique(unique),
            "debounce_s": None if debounce is None else _seconds(debounce, "debounce"),
            "debounce_max_s": None if debounce_max is None else _seconds(debounce_max, "debounce_max"),
            "tags": None if tags is None else _tags(tags),
        }
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    def refuse_contradictions(self, *, has_id: bool) -> None:
        """Raises UsageError for options that cannot go together."""
        if self.debounce_s is None:
            if self.debounce_max_s is not None:
                raise UsageError("debounce_max= needs debounce=; nothing was started")
            return
        if self.key is None:
            raise UsageError(
                'debounce= needs key=, such as key="sync-{customer}": a start replaces the arguments of the run of its '
                "key that waits; nothing was started"
            )
        if has_id or self.delay_s is not None or self.at is not None:
            raise UsageError(
                "debounce= says itself when the run begins and which one it is, so that it goes with none of id=, "
                "delay= and at=; nothing was started"
            )

    @property
    def longest_s(self) -> float:
        """How long a debounced run waits at most."""
        assert self.debounce_s is not None, "of debounced ones only"
        return self.debounce_s * _DEBOUNCES if self.debounce_max_s is None else self.debounce_max_s

    def single_of(self, name: str, key: str | None) -> str | None:
        """What no second stored run of the workflow has, so that there is one of the key at a time."""
        if key is None:
            return None
        unique = "queued" if self.debounce_s is not None else self.unique
        return f"{_UNTIL[unique] if isinstance(unique, str) else 'time'}:{name}:{key}"

    def run(
        self,
        name: str,
        run_id: str | None,
        args: str | None,
        *,
        now: float,
        lane: str | None = None,
        key: str | None = None,
    ) -> Run:
        """The run that would be queued at the time `now`; `key` is this one's, where that depends on its arguments."""
        delay_s = self.delay_s if self.debounce_s is None else min(self.debounce_s, self.longest_s)
        own = run_id or queued_id(name)
        return Run(
            own,
            "workflow",
            name,
            identity_of(name, own, has_own_id=run_id is not None),
            args=args,
            direct=False,
            wake_at=now + delay_s if delay_s is not None else self.at,
            queue=self.queue,
            priority=self.priority,
            lane=lane,
            single=self.single_of(name, self.key if key is None else key),
            tags=json.dumps(self.tags, ensure_ascii=False) if self.tags else None,
        )


def identity_of(name: str, run_id: str, *, has_own_id: bool) -> str:
    """What a queued run is recognised by: an id that was given is the same run wherever it is asked for."""
    return f"workflow:{name}:id:{run_id}" if has_own_id else f"queued:{run_id}"


def filled(template: str, names: Mapping[str, Any], workflow: str) -> str:
    """The template with what its names stand for; raises UsageError for one that stands for nothing."""
    try:
        return string.Formatter().vformat(template, (), names)
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        raise UsageError(
            f"{template[:200]!r} names something that is not an argument of {workflow}: {error}; nothing was started"
        ) from None


def checked_id(run_id: str) -> str:
    """`run_id`, if it can be the id of a run."""
    if not 0 < len(run_id) <= limits.NAME_CHARS or not run_id.isprintable() or "/" in run_id:
        raise UsageError(
            f"an id has 1 to {limits.NAME_CHARS} printable characters other than `/`, not {run_id[:80]!r}"
        )
    return run_id


# -- what is given --------------------------------------------------------------------------------------


def _whole(priority: object) -> int:
    if type(priority) is not int or abs(priority) > 1_000_000:
        raise UsageError(
            f"priority= takes a whole number up to a million, not {priority!r}; nothing was started"
        )
    return priority


def _seconds(given: object, option: str) -> float:
    if isinstance(given, dt.timedelta):
        given = given.total_seconds()
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given < 1e11:
        raise UsageError(
            f"{option}= takes seconds from 0 on, or a timedelta, not {given!r}; nothing was started"
        )
    return float(given)


def _timestamp(at: object) -> float:
    if not isinstance(at, dt.datetime) or at.tzinfo is None:
        raise UsageError(f"at= takes a datetime with a time zone, not {at!r}; nothing was started")
    return at.timestamp()


def checked_key(key: object) -> str:
    """`key`, if it can be the key of a run."""
    if not isinstance(key, str) or not 0 < len(key) <= limits.KEY_CHARS or not key.isprintable():
        raise UsageError(
            f"key= takes a printable str of 1 to {limits.KEY_CHARS} characters, not {str(key)[:60]!r}; nothing was "
            f"started"
        )
    return key


def _unique(unique: object) -> Unique:
    if unique in ("queued", "running"):
        return unique
    if isinstance(unique, bool) or not isinstance(unique, (int, float)) or not unique > 0:
        raise UsageError(
            f'unique= takes "queued", "running" or a number of seconds, not {unique!r}; nothing was started'
        )
    return float(unique)


def _tags(tags: object) -> tuple[str, ...]:
    if isinstance(tags, str) or not isinstance(tags, Sequence) or len(tags) > limits.TAGS:
        raise UsageError(
            f"tags= takes a list of up to {limits.TAGS} names, not {tags!r}; nothing was started"
        )
    return tuple(checked_name(tag) for tag in tags)
