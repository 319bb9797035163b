"""Another name for what is recorded: a script that was moved, a function that was renamed.

A loop or map is recognised by its script, a workflow by its function's name. After a renaming the new code would begin
anew; with its runs renamed too, it continues them.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterator
from pathlib import PurePath
from typing import Final

from onward.api import ground
from onward.api.identity import checked_name
from onward.api.journal import Journal
from onward.api.overview import actor
from onward.core import codec, keys
from onward.core.errors import AlreadyRunning, RunConflict, UsageError
from onward.core.model import CLOSED, Applied, Entry, Refused, Run
from onward.core.texts import plain
from onward.storage import Store

_PAGE: Final = 500


def rename(journal: Journal, old: str, new: str) -> list[Run]:
    """Give all runs of the name `old` the name `new`, so that `new`'s next call continues the unfinished ones.

    For a script that means the loops of all its functions too. In the user's own journal the names mean runs of the
    present folder, or of the folder whose path stands before them. Nothing is renamed if one of them is being executed
    (AlreadyRunning) or could not live beside an unfinished run that `new` has already (RunConflict).
    """
    folder, old = ground.named(old, journal.place)
    to, new = ground.named(new, journal.place)
    checked_name(new)
    found = [run for run in _named(journal.store, old) if keys.ground_of(run.identity) in ("", folder)]
    if not found:
        names = {run.name for run in journal.store.runs(limit=_PAGE)}
        near = difflib.get_close_matches(old, names, 1, 0.5)
        hint = f" Did you mean `{plain(near[0])}`?" if near else " `onward runs` lists what there is."
        raise UsageError(f"there are no runs of the name `{plain(old, 80)}`; nothing was renamed.{hint}")
    for run in found:
        _refuse(journal, run, old, new, to)
    return [_renamed(journal, run, old, new, to) for run in found]


def _named(store: Store, name: str) -> Iterator[Run]:
    """Runs of this name, and of the functions in the script of this name; unfinished ones first."""
    before: int | None = None
    ended = []
    while True:
        page = store.runs(limit=_PAGE, before_no=before)
        for run in page:
            if run.name == name or run.name.startswith(f"{name}:"):
                if run.state in CLOSED:
                    ended.append(run)
                else:
                    yield run
        if len(page) < _PAGE:
            break
        before = page[-1].no
    yield from ended


def _refuse(journal: Journal, run: Run, old: str, new: str, to: str) -> None:
    # Refuses what cannot be renamed, of ended runs too: none is renamed, or all are.
    identity = _identity(run, old, new, to)
    if journal.is_held(run):
        holder = journal.overview(run).holder or "its holder is unknown"
        raise AlreadyRunning(run.id, f"`{plain(run.name)}`", plain(holder), refused="renamed")
    if run.direct and run.state not in CLOSED:
        rival = journal.store.open_run(identity)
        if rival is not None and rival.id != run.id:
            raise RunConflict(
                run.id,
                f"`{plain(_name(run, old, new))}` has an unfinished run {rival.id} of its own; nothing was renamed. "
                f"If it is the one that was begun by mistake: onward cancel {rival.id}",
            )


def _renamed(journal: Journal, run: Run, old: str, new: str, to: str) -> Run:
    name, value = _name(run, old, new), codec.encode(actor())
    mark = Entry(
        "run/renamed",
        "mark",
        "mark",
        "renamed",
        None,
        value,
        codec.checksum(value),
        1,
        run.fence,
        None,
        journal.now(),
    )
    identity, command = _identity(run, old, new, to), _command(_begun_in(run, to), old, new)
    answer = journal.store.rename(run, name=name, identity=identity, command=command, mark=mark)
    if not isinstance(answer, Applied):
        raise RunConflict(run.id, _half(run, answer))
    return journal.get(run.id).run


def _half(run: Run, answer: Refused) -> str:
    return (
        f"run {run.id} was changed by another process at this moment ({answer.detail}); repeat the command."
    )


def _name(run: Run, old: str, new: str) -> str:
    return checked_name(new + run.name[len(old) :])


def _identity(run: Run, old: str, new: str, to: str) -> str:
    """What its call under the new name is recognised by, in the folder `to` if it belongs to one."""
    identity = _called(run._replace(identity=keys.grounded(run.identity, "")), old, new)
    return keys.grounded(identity, to if keys.ground_of(run.identity) else "")


def _begun_in(run: Run, to: str) -> str | None:
    """Its command, begun in the folder `to` if it belongs to a folder and was begun in that."""
    folder = keys.ground_of(run.identity)
    start = f"cd {shlex.quote(folder)} && "
    if not folder or run.command is None or not run.command.startswith(start):
        return run.command
    return f"cd {shlex.quote(to)} && {run.command.removeprefix(start)}"


def _called(run: Run, old: str, new: str) -> str:
    """The identity with its name exchanged: `loop:old` is `loop:new`, `workflow:old:5f3a` is `workflow:new:5f3a`."""
    kind, _, rest = run.identity.partition(":")
    if kind == "cursor" and run.name == f"cursor {rest}":
        return f"cursor:{_cursor(_name(run, old, new), old)}"
    if not rest.startswith(run.name):
        raise UsageError(
            f"run {run.id} is not recognised by its name, so it cannot be renamed; nothing was renamed"
        )
    return f"{kind}:{_name(run, old, new)}{rest[len(run.name) :]}"


def _cursor(run_name: str, old: str) -> str:
    """The name of the cursor whose run has this name."""
    name = run_name.removeprefix("cursor ")
    if not name or name == run_name:
        shown = shlex.quote(plain(old))
        raise UsageError(
            f"`{plain(old)}` is the run of a cursor, whose name begins with `cursor `, and `{plain(run_name)}` does "
            f"not; nothing was renamed. Write: onward rename {shown} 'cursor NAME'"
        )
    return name


def _command(command: str | None, old: str, new: str) -> str | None:
    """What continues the run, with the script's new name where its old one stood."""
    if command is None or not old.endswith(".py"):
        return command
    # It begins with the change to its folder, see `identity.command_line`.
    folder, then, words = command.rpartition(" && ")
    try:
        renamed = [_word(word, PurePath(old), PurePath(new)) for word in shlex.split(words)]
    except ValueError:
        return command
    return folder + then + shlex.join(renamed)


def _word(word: str, old: PurePath, new: PurePath) -> str:
    path = PurePath(word)
    if path.parts[-len(old.parts) :] == old.parts:
        return str(PurePath(*path.parts[: -len(old.parts)]) / new)
    if len(path.parts) < len(old.parts) and old.parts[-len(path.parts) :] == path.parts:
        # Typed in the script's own folder: known only if the new one lies there too.
        return new.name if new.parent == old.parent else str(new)
    return word
