"""How units of work are named within a run, and when a record no longer matches the code.

A key is the path of scopes that leads to the unit: `fetch#3` is the third call of `fetch` in the run's own scope,
`each/venue-17 > fetch#1` the first one in the body of a loop's item.
"""

from __future__ import annotations

from onward.core import codec, limits
from onward.core.errors import UsageError
from onward.core.model import Entry

SEPARATOR = " > "
# What is in flight while a run's own function is executed; only kept of runs whose workers have died.
WHOLE = "run/whole"
# Between what a direct call is recognised by and the folder it belongs to, see `api.ground`: in no name.
_GROUND = "\x1f"
# Units under these are notes that onward makes for itself (where a sink's file stood, which number a file has). They
# are part of the record, and of no interest to a person who asks what was done.
NOTES = ("sink/", "number/", "part/")


class Scope:
    """Counts the calls made in one stretch of sequential code, so that each gets a key of its own."""

    __slots__ = ("_counts", "depth", "prefix")

    def __init__(self, prefix: str = "", depth: int = 0) -> None:
        if depth > limits.SCOPE_DEPTH:
            raise UsageError(
                f"steps are nested more than {limits.SCOPE_DEPTH} deep at `{prefix[:80]}...`; nothing more was "
                f"executed. Look for a step that calls itself without end."
            )
        self.prefix, self.depth = prefix, depth
        self._counts: dict[str, int] = {}

    def next(self, name: str) -> str:
        """`name#1` for the first call of that name in this scope, then `name#2`, ..."""
        counts = self._counts
        counts[name] = count = counts.get(name, 0) + 1
        return f"{self.prefix}{name}#{count}"

    def named(self, name: str, key: str) -> str:
        """The key of a call that was given `key=`."""
        return f"{self.prefix}{name}/{checked(key)}"

    def inner(self, key: str) -> Scope:
        """The scope inside the unit `key`."""
        return Scope(key + SEPARATOR, self.depth + 1)


def checked(key: str) -> str:
    """`key`, if it can stand as one."""
    if type(key) is not str:
        raise UsageError(f"key= must give a str, not a {type(key).__qualname__}; nothing was executed")
    if not 0 < len(key) <= limits.KEY_CHARS:
        raise UsageError(
            f"a key has 1 to {limits.KEY_CHARS} characters, not {len(key)}; nothing was executed"
        )
    if SEPARATOR in key or not key.isprintable():
        raise UsageError(
            f"the key {key[:80]!r} contains {SEPARATOR!r} or unprintable characters; choose another"
        )
    return key


def repeated(key: str, occurrence: int) -> str:
    """The key of the nth equal item."""
    return key if occurrence == 1 else f"{key}~{occurrence}"


def divergence(entry: Entry, kind: str, name: str, fingerprint: bytes | None) -> tuple[str, str] | None:
    """(recorded, present) if `entry` was recorded for another call than this one, else None.

    A failed entry binds to new arguments freely: fixing the argument and running again must work.
    """
    if entry.kind != kind or entry.name != name:
        return f"{entry.kind} `{entry.name}`", f"{kind} `{name}`"
    if (
        entry.state == "done"
        and entry.fingerprint not in (fingerprint, codec.hashed(fingerprint))
        and None not in (entry.fingerprint, fingerprint)
    ):
        return f"{kind} `{name}` with other arguments", f"{kind} `{name}` with these arguments"
    return None


def grounded(identity: str, folder: str) -> str:
    """The identity as it is in one folder; `folder` is empty where it is the same everywhere."""
    return f"{identity.partition(_GROUND)[0]}{_GROUND}{folder}" if folder else identity.partition(_GROUND)[0]


def ground_of(identity: str) -> str:
    """The folder that an identity belongs to; empty for one that is the same everywhere."""
    return identity.partition(_GROUND)[2]
