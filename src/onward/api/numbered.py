"""`numbered`: names for the files of a run, `batch_001.json` and so on, that stay the same in every replay."""

from __future__ import annotations

from onward.api import connect
from onward.api.sinks.sink import output
from onward.core import codec
from onward.core.decide import Taken, decide
from onward.core.errors import UsageError
from onward.core.keys import SEPARATOR, checked
from onward.core.model import Entry
from onward.runtime import current
from onward.runtime.current import Here
from onward.runtime.drive import drive
from onward.runtime.effects import Flow, Keep, Now
from onward.runtime.engine import Engine
from onward.runtime.outcomes import decoded


def numbered(stem: str, suffix: str = "", *, digits: int = 3) -> str:
    """The next name of the run: `batch_001.json` for the first call, `batch_002.json` for the second, and so on.

        for batch in onward.each(batches):
            onward.atomic_write(onward.numbered("out/batch", ".json"), json.dumps(batch))

    A number belongs to the place that asked for it: an item, step or workflow, and how often it has asked before. It is
    recorded before this returns: after a crash and in a replay the same place gets the same name, and no two places of
    a run get the same one for a stem and suffix. What is on the disk plays no part; a new run counts from 1 again.
    Blocks for one commit. Raises UsageError outside of a run.
    """
    place = current.here()
    if place is None:
        raise UsageError(
            f"onward.numbered({stem!r}) counts the files of a run, and this is none; nothing was counted. Call it in a "
            "workflow, a step, or an item of a loop or map."
        )
    if type(digits) is not int or not 1 <= digits <= 20:
        raise UsageError(f"digits={digits!r} is not possible: give a whole number from 1 to 20")
    name = checked(f"{stem}_*{suffix}")
    engine = connect.engine()
    number: int = drive(_number(engine, place, name), engine, place.session)
    return f"{stem}_{number:0{digits}d}{suffix}"


def _number(engine: Engine, place: Here, name: str) -> Flow[int]:
    session, out = place.session, output(place.session)
    # One prefix for all of a name, so that the highest number is found without reading the rest of the journal. The
    # place is a part of the key in which nothing looks like a scope.
    asked = place.scope.next(f"numbered:{name}")
    prefix = f"number/{name}{SEPARATOR}"
    key = prefix + asked.replace(SEPARATOR, " / ")
    yield from session.check()
    with out.lock:
        entry = _recorded(engine, place, key)
        if entry is not None:
            session.met(key)
            value: int = decoded(entry)
            return value
        if name not in out.numbers:
            out.numbers[name] = _highest(engine, place, prefix)
        number = out.numbers[name] + 1
        change = decide(session.run, Taken(key, "value", "numbered", codec.encode(number)), now=(yield Now()))
        session.goes_on(asked)
        session.applied((yield Keep((change,))))
        out.numbers[name] = number
    if session.run.kind == "workflow":
        session.remember(change.entries[0])
    return number


def _recorded(engine: Engine, place: Here, key: str) -> Entry | None:
    session = place.session
    if session.run.kind == "workflow":
        return session.recorded.get(key)
    return engine.store.outcome(session.run.no, key)  # not kept in memory: a long loop asks for many numbers


def _highest(engine: Engine, place: Here, prefix: str) -> int:
    if place.session.run.fence == 1:
        return 0
    entries = engine.store.scope_entries(place.session.run.no, prefix)
    return max((decoded(entry) for entry in entries), default=0)
