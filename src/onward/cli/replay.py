"""`onward replay RUN`: a recorded run, run again with the code as it is now, perhaps in a debugger."""

from __future__ import annotations

import difflib
import os
import pdb
import sys
import traceback
from bdb import BdbQuit
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Any, Final

import click

from onward.api.journal import Journal
from onward.api.replay import Played, Program
from onward.api.replay import replay as replayed
from onward.cli import output
from onward.cli.group import FAILED, FINISHED, tell
from onward.core.errors import OnwardError
from onward.core.texts import failure_of, plain
from onward.runtime.replay import End, Kind, same_outcome

_OURS: Final = str(Path(__file__).resolve().parents[1]) + os.sep
# How a person is told of a place at which the debugger opens.
_ARRIVED: Final[Mapping[Kind, str]] = {
    "unrecorded": ", which is not recorded",
    "raised": ", which has failed",
    "diverged": ", which belongs to another list",
}
# Most variables listed of the place where it stopped.
_VARIABLES: Final = 30


@click.command(context_settings={"ignore_unknown_options": False})
@click.argument("run_id", metavar="RUN")
@click.option("--script", metavar="FILE", help="The script it belongs to now, if it was renamed or moved.")
@click.option("--app", metavar="MODULE", help="A module that defines the workflow; it is imported, not run.")
@click.option(
    "--to", "stop_at", metavar="KEY", help="Stop at this step or item, as `onward show RUN` lists it."
)
@click.option(
    "--enter",
    is_flag=True,
    help="Loops: go into the body of the item where it stopped; its code runs, its steps do not.",
)
@click.option(
    "--pdb", "debug", is_flag=True, help="Open the debugger there, or where an error left the function."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def replay(
    run_id: str,
    script: str | None,
    app: str | None,
    stop_at: str | None,
    *,
    enter: bool,
    debug: bool,
    as_json: bool,
) -> None:
    """Run a recorded workflow, loop or map again with the code as it is now; no step is executed.

    Steps and the items of a map give what is recorded, done items of a loop pass by; where nothing is recorded, the
    replay ends. Only code between steps runs, and what the script does before it comes there; a loop's body runs only
    with --enter, or with --to a step in it. Nothing is written to the journal. Exits with 1 if the code no longer fits
    the record.
    """
    program = _program(script, app)
    places: list[str] = []
    seen: list[str] = []
    variables: dict[str, str] = {}

    def arrived(key: str, kind: Kind) -> bool:
        frame = _users(sys._getframe())
        seen.append(key)
        if frame is not None:
            places.append(f"{frame.f_code.co_filename}, line {frame.f_lineno}")
            variables.update(
                {name: _shown(value) for name, value in frame.f_locals.items() if _is_told(name, value)}
            )
            if debug:
                click.echo(f"at {plain(key)}{_ARRIVED.get(kind, '')}", err=True)
                return _Pdb().open_in(frame)
        return True

    with Journal.existing() as journal, _print_aside() if as_json else nullcontext():
        played = replayed(journal, run_id, program, stop_at=stop_at, arrived=arrived, enter=enter)
    if stop_at is not None and stop_at not in seen:
        _say_not_reached(played, stop_at)
    if isinstance(played.end.error, BdbQuit):
        click.get_current_context().exit(FINISHED)
    fits = same_outcome(played.run, played.end) or played.end.kind == "reached"
    where = _line_of(played.end.error) or (places[-1] if places else "")
    if as_json:
        output.emit(_json(played, where, variables, fits=fits))
    else:
        _say(played, where, variables if not debug else {}, fits=fits)
    if debug and played.end.error is not None and played.end.kind == "raised":
        _post_mortem(played.end.error)
    click.get_current_context().exit(FINISHED if fits else FAILED)


@contextmanager
def _print_aside() -> Iterator[None]:
    """Let what the program prints go to stderr, also what its own processes print: it is no part of the document."""
    if sys.stdout is None:  # the shell has closed it
        yield
        return
    sys.stdout.flush()
    before = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(before, 1)
        os.close(before)


def _say_not_reached(played: Played, stop_at: str) -> None:
    near = difflib.get_close_matches(stop_at, played.keys, 1, 0.3)
    hint = f" Did you mean `{plain(near[0])}`?" if near else ""
    tell(f"it did not come to `{plain(stop_at)}`.{hint} The keys: onward show {plain(played.run.id)} --all")


def _program(script: str | None, app: str | None) -> Program | None:
    if script is not None:
        return Program("script", script)
    return None if app is None else Program("import", app.partition(":")[0], folder=os.getcwd())


# -- where the program is -----------------------------------------------------------------------------


def _users(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of the program itself: behind a progress bar, that of the loop."""
    while frame is not None and _is_foreign(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def _is_told(name: str, value: object) -> bool:
    """Whether a variable says something of the work: not what a script has imported and defined."""
    return name[:2] != "__" and not isinstance(value, ModuleType) and not callable(value)


def _is_foreign(filename: str) -> bool:
    return filename.startswith((_OURS, "<")) or "site-packages" in filename


def _line_of(error: BaseException | None) -> str:
    frames = [] if error is None else traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if not frame.filename.startswith((_OURS, "<"))]
    return f"{users[-1].filename}, line {users[-1].lineno}" if users else ""


class _Pdb(pdb.Pdb):
    """A debugger that does not stop in onward itself."""

    def __init__(self) -> None:
        super().__init__(skip=["onward", "onward.*"])
        self.reset()

    def open_in(self, frame: FrameType) -> bool:
        """Ask for commands in `frame`, as at a breakpoint; whether to end. `next` and `step` go on from there."""
        self.botframe = _outermost(frame)
        self.interaction(frame, None)
        goes_on = self.stopframe is self.botframe and self.stoplineno == -1  # what `continue` leaves
        if not self.quitting and (self.breaks or not goes_on):
            above: FrameType | None = frame
            while above is not None:
                above.f_trace = self.trace_dispatch
                above = above.f_back
            sys.settrace(self.trace_dispatch)
        return self.quitting


def _outermost(frame: FrameType) -> FrameType:
    while frame.f_back is not None:
        frame = frame.f_back
    return frame


def _post_mortem(error: BaseException) -> None:
    """Open the debugger where the error left the program's own code."""
    frames: list[TracebackType] = []
    tb = error.__traceback__
    while tb is not None:
        if not tb.tb_frame.f_code.co_filename.startswith((_OURS, "<")):
            frames.append(tb)
        tb = tb.tb_next
    chain: TracebackType | None = None
    for one in reversed(frames):
        chain = TracebackType(chain, one.tb_frame, one.tb_lasti, one.tb_lineno)
    if chain is not None:
        _Pdb().interaction(None, chain)


# -- what it came to ----------------------------------------------------------------------------------


def _say(played: Played, where: str, variables: Mapping[str, str], *, fits: bool) -> None:
    run, end = played.run, played.end
    click.echo(f"{plain(run.name)}  {plain(run.id)}")
    click.echo(f"  {len(played.keys) - len(played.unused):,} recorded outcomes were used")
    if played.unused and end.kind in ("returned", "raised"):
        click.echo(f"  {len(played.unused):,} were not asked for, first {plain(played.unused[0])}")
    click.echo(f"  {_sentence(played, fits=fits)}" + (f" ({plain(where, 1_000)})" if where else ""))
    if end.item is not None:
        click.echo(f"    the item = {plain(_shown(end.item), 200)}")
    for name, value in [*variables.items()][:_VARIABLES]:
        click.echo(f"    {plain(name, 60)} = {plain(value, 200)}")
    if end.kind in ("unrecorded", "raised") and fits and run.state != "done":
        click.echo(f"  continue it for real: {output.command_text(run)}")


def _sentence(played: Played, *, fits: bool) -> str:
    run, end = played.run, played.end
    if run.kind != "workflow" and end.kind != "diverged" and end.kind != "reached":
        return _sentence_of_pass(played, fits=fits)
    match end.kind:
        case "returned":
            value = plain(_shown(end.value))
            return f"it returned {value}, as recorded" if fits else f"it returned {value}; {_recorded(run)}"
        case "raised":
            error = plain(f"{type(end.error).__name__}: {end.error}")
            return f"it raised {error}, as recorded" if fits else f"it raised {error}; {_recorded(run)}"
        case "reached":
            return f"it is at {plain(end.key)}"
        case "diverged":
            return plain(str(end.error), 1_000)
        case "unrecorded":
            what = f"it comes to {plain(end.key)}, which is not recorded: that would be executed now"
            return what if fits else f"{what}, although {_recorded(run)}"


def _sentence_of_pass(played: Played, *, fits: bool) -> str:
    run, end, begun = played.run, played.end, played.begun
    although = "" if fits else f", although recorded is that it is {run.state}"
    if end.kind == "returned":
        return "it came to the end of its list, of which all is recorded"
    if end.kind == "raised":
        at = f" at {plain(end.key)}" if end.key else ""
        recorded = ", as recorded" if fits and isinstance(end.error, OnwardError) and not at else although
        return f"it raised {plain(f'{type(end.error).__name__}: {end.error}')}{at}{recorded}"
    if begun is not None:
        deaths = f" ({begun.crashes} deaths in it)" if begun.crashes else ""
        which = f"has begun and is not done{deaths}"
    else:
        which = "is not recorded"
    return f"it comes to {plain(end.key)}, which {which}: that would be executed now{although}"


def _recorded(run: Any) -> str:
    if run.state == "done":
        return f"recorded is that it returned {plain(run.result or 'nothing')}"
    failure = failure_of(run.error)
    return f"recorded is {failure.line}" if failure else f"recorded is that it is {run.state}"


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # whatever a class of the user does
        return f"a {type(value).__qualname__}"


def _json(played: Played, where: str, variables: Mapping[str, str], *, fits: bool) -> dict[str, Any]:
    end: End = played.end
    return {
        "run": played.run.id,
        "fits": fits,
        "ended": end.kind,
        "key": end.key or None,
        "item": None if end.item is None else _shown(end.item),
        "at": where or None,
        "variables": dict(variables),
        "error": None if end.error is None else f"{type(end.error).__name__}: {end.error}",
        "value": None if end.kind != "returned" else _shown(end.value),
        "used": len(played.keys) - len(played.unused),
        "unused": played.unused,
    }
