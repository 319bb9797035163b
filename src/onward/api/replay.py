"""Replay a recorded run with the code as it is now: which program it belongs to, and its function in it.

The program is run as it was recorded, up to the call that began the run, which is answered from the record. If it
begins something else before that, or never comes to that call, the workflow is looked up by its name and called with
its recorded arguments. A loop or map has no function that could be looked up: its program must come to it.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import runpy
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType, TracebackType
from typing import Any, Final, NamedTuple

from onward.api import connect
from onward.api.journal import Journal
from onward.api.transfer import stored_entries
from onward.api.workflow import Workflow
from onward.core import codec
from onward.core.errors import PayloadError, Unwind, UsageError
from onward.core.model import Begun, Run
from onward.core.texts import plain
from onward.runtime.drive import drive, drive_async
from onward.runtime.replay import End, Foreign, Kind, Over, Recorded, Replay, ReplayEngine, place_of

_CALLER: Final = "onward.cli.call"
# Runs of a name that are looked at for what a script does before it comes to the loop that is replayed.
_LOOKED_AT: Final = 100


class Program(NamedTuple):
    """What is run to find the workflow: a script or a module as the main program, or a module that is only imported."""

    kind: str  # `script`, `module` or `import`
    name: str
    args: tuple[str, ...] = ()
    folder: str | None = None


class Played(NamedTuple):
    """What a replay came to."""

    run: Run
    end: End
    keys: list[str]  # what is recorded
    unused: list[str]  # of that, what was not asked for
    begun: Begun | None = None  # what had begun of the item in front of which it ended


def replay(
    journal: Journal,
    run_id: str,
    program: Program | None = None,
    *,
    stop_at: str | None = None,
    arrived: Callable[[str, Kind], bool] = lambda key, kind: True,
    enter: bool = False,
) -> Played:
    """Run a recorded workflow, loop or map against its record, in memory; no step is executed, nothing is written.

    Ends at `stop_at`, a key, when `arrived` says so; with the first unit that is not recorded in any case. With `enter`
    the body of a loop's item that is not recorded is gone into. From then on
    this process can be used for nothing else. Raises UsageError for a run whose function or loop is not found.
    """
    run = journal.get(run_id).run
    engine = _Engine(
        *_recorded(journal, run),
        stop_at=stop_at,
        arrived=arrived,
        beside=lambda want: _beside(journal, want),
        renamed=program is not None,
    )
    engine.enters = enter
    connect.pin(engine)
    program = program or recorded_program(run)
    end = _end(engine, program) if run.kind == "workflow" else _end_of_pass(engine, program)
    session = engine.replay
    assert session is not None, "only a session ends"
    keys, unused = engine.outcomes(session)
    return Played(run, end, keys, unused, session.begun.get(end.key))


def _recorded(journal: Journal, run: Run) -> Recorded:
    store = journal.store
    return Recorded(run, stored_entries(journal, run, store.last_seq(run.no)), store.begun(run.no))


def _beside(journal: Journal, want: Run) -> Recorded | None:
    """The latest recorded run of the same place or call; None if there is none."""
    for run in journal.store.runs(name=want.name, limit=_LOOKED_AT):
        if run.kind == want.kind and place_of(run) == place_of(want):
            return _recorded(journal, run)
    return None


class _Engine(ReplayEngine):
    """Remembers the session that it gave out."""

    replay: Replay | None = None

    def session(self) -> Replay:
        self.replay = super().session()
        return self.replay


def recorded_program(run: Run) -> Program:
    """The program that began a run, from its recorded command."""
    words = _words(run.command or "")
    folder = None
    if words[:1] == ["cd"] and "&&" in words:
        at = words.index("&&")
        folder, words = " ".join(words[1:at]), words[at + 1 :]
    if words[:1] != ["python"]:  # an installed command, whose words mean what it wants
        words = []
    if words[1:2] == ["-m"] and len(words) > 2:
        if run.kind == "workflow" and words[2] == _CALLER and len(words) > 3:
            return Program("import", words[3].partition(":")[0], folder=folder)
        return Program("module", words[2], tuple(words[3:]), folder)
    if len(words) > 1 and words[1].endswith(".py"):
        return Program("script", words[1], tuple(words[2:]), folder)
    raise UsageError(
        f"run {plain(run.id)} does not tell which program it belongs to; nothing was executed. Name it: --script FILE, "
        f"or --app MODULE for one that is imported."
    )


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


# -- running it -------------------------------------------------------------------------------------


def _end(engine: _Engine, program: Program) -> End:
    """How the replay ended: by the program's own call, or else by ours."""
    found: Mapping[str, Any] = {}
    failure: BaseException | None = None
    with _as_begun(program):
        try:
            found = _run(program)
        except _NoScript:
            raise
        except Over as over:
            return over.end
        except (Foreign, SystemExit) as begun:
            found = _globals_of(begun.__traceback__)
        except Exception as error:
            found, failure = _globals_of(error.__traceback__), error
        workflow = _found(engine.original.name, found)
        if workflow is None:
            raise _not_found(engine.original, program, failure)
        with _as_main(found):
            return _called(engine, workflow)


def _end_of_pass(engine: _Engine, program: Program) -> End:
    """How the replay of a loop or map ended, in the program that comes to it."""
    run, failure = engine.original, None
    if program.kind == "import":
        raise UsageError(
            f"run {plain(run.id)} is a {run.kind}, to which only its own program comes; nothing was executed. Name it: "
            f"--script FILE"
        )
    with _as_begun(program):
        try:
            _run(program)
        except _NoScript:
            raise
        except Over as over:
            return over.end
        except Foreign as other:
            raise UsageError(
                f"{program.name} comes to `{plain(other.run.name)}` before the {run.kind} `{plain(run.name)}`, and the "
                f"journal has no result of that; the replay ended there, nothing was executed"
            ) from None
        except (Exception, SystemExit, Unwind) as error:
            failure = error
    session = engine.replay
    if session is not None and isinstance(failure, Exception):
        return End("raised", _entered(session), error=failure)
    if session is not None and session.end is not None:
        return session.end
    raise _not_reached(run, program, failure)


def _entered(session: Replay) -> str:
    return session.end.key if session.end is not None else ""


def _not_reached(run: Run, program: Program, failure: BaseException | None) -> UsageError:
    what = f"{program.name} ended without coming to the {run.kind} `{plain(run.name)}`"
    if failure is not None and not isinstance(failure, SystemExit):
        line = traceback.format_exception_only(failure)[-1].strip()
        what = f"{program.name} ended with an error before the {run.kind} `{plain(run.name)}` ({plain(line)})"
    return UsageError(
        f"{what}; nothing of it was executed. Name the program: --script FILE; if it was renamed: "
        f"onward rename {plain(run.name)} NEW"
    )


class _NoScript(UsageError):
    """The program is not there, so that nothing of it can have failed."""


def _run(program: Program) -> Mapping[str, Any]:
    if program.kind == "import":
        return vars(importlib.import_module(program.name))
    if program.kind == "module":
        return runpy.run_module(program.name, run_name="__main__", alter_sys=True)
    if not os.path.isfile(program.name):
        raise _NoScript(
            f"there is no script {plain(program.name)} in {os.getcwd()}; nothing was executed. Name it: --script FILE"
        )
    return runpy.run_path(program.name, run_name="__main__")


@contextmanager
def _as_begun(program: Program) -> Iterator[None]:
    """The folder, arguments and module path that the program had."""
    folder, args, path = os.getcwd(), sys.argv, list(sys.path)
    if program.folder is not None and os.path.isdir(program.folder):
        os.chdir(program.folder)
    sys.argv = [program.name, *program.args]
    first = os.path.dirname(os.path.abspath(program.name)) if program.kind == "script" else os.getcwd()
    sys.path.insert(0, first)
    try:
        yield
    finally:
        os.chdir(folder)
        sys.argv, sys.path[:] = args, path


@contextmanager
def _as_main(found: Mapping[str, Any]) -> Iterator[None]:
    """Let recorded values find the classes of the program, which stood in its `__main__`."""
    before = sys.modules["__main__"]
    module = ModuleType("__main__")
    vars(module).update(found)
    sys.modules["__main__"] = module
    try:
        yield
    finally:
        sys.modules["__main__"] = before


def _globals_of(tb: TracebackType | None) -> Mapping[str, Any]:
    """The main module that an exception left."""
    while tb is not None:
        found = tb.tb_frame.f_globals
        if (
            found.get("__name__") == "__main__"
            and found.get("__spec__") is not sys.modules["__main__"].__spec__
        ):
            return found
        if tb.tb_frame.f_code.co_name == "<module>" and found.get("__name__") == "__main__":
            return found
        tb = tb.tb_next
    return {}


def _called(engine: _Engine, workflow: Workflow[..., Any]) -> End:
    args, kwargs = _arguments(engine.original)
    session = engine.session()
    flow = session.whole(workflow.fn, args, kwargs)
    try:
        if workflow.is_async:
            asyncio.run(drive_async(flow, engine, session))
        else:
            drive(flow, engine, session)
    except Over as over:
        return over.end
    raise AssertionError("a replay ends by telling how")


def _arguments(run: Run) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if run.args is None:
        raise UsageError(
            f"the arguments of run {plain(run.id)} could not be recorded, so only its own program can call it; nothing "
            f"was executed. Name the program and what it was given: --script FILE"
        )
    try:
        args, kwargs = codec.decode(run.args)
    except PayloadError as error:
        raise UsageError(
            f"the arguments of run {plain(run.id)} cannot be read: {error}; nothing was executed"
        ) from error
    return tuple(args), kwargs


# -- finding the function -----------------------------------------------------------------------------


def _found(name: str, main: Mapping[str, Any]) -> Workflow[..., Any] | None:
    """The workflow of this name: in the main program, else in any module that it has imported."""
    modules: Sequence[Mapping[str, Any]] = [
        main,
        *(vars(module) for module in [*sys.modules.values()]),
    ]
    for module in modules:
        for value in [*module.values()]:
            inner = vars(value).values() if isinstance(value, type) else ()
            for one in (value, *inner):
                if isinstance(one, Workflow) and one.name == name:
                    return one
    return None


def _not_found(run: Run, program: Program, failure: BaseException | None) -> UsageError:
    what = f"{program.name} defines no workflow `{plain(run.name)}`"
    if failure is not None:
        line = traceback.format_exception_only(failure)[-1].strip()
        what = f"{program.name} ended with an error before it came to workflow `{plain(run.name)}` ({plain(line)})"
    return UsageError(
        f"{what}; nothing was executed. Name the program: --script FILE, or --app MODULE; if the function was renamed: "
        f"onward rename {plain(run.name)} NEW"
    )
