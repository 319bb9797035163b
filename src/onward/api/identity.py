"""How a loop, a map or a workflow is recognised when it is called again."""

from __future__ import annotations

import os
import sys
import threading
import uuid
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING

from onward.api.connect import project_root
from onward.core import keys, limits
from onward.core.blake import blake2b
from onward.core.errors import UsageError
from onward.core.lazily import Lazily
from onward.core.model import Run

if TYPE_CHECKING:
    import shlex
else:
    shlex = Lazily("shlex")

_sites: dict[str, tuple[str, int]] = {}
_lock = threading.Lock()


def checked_name(name: str) -> str:
    """`name`, if it can stand as the name of a run or step."""
    given: object = name
    if not isinstance(given, str) or not 0 < len(name) <= limits.NAME_CHARS or not name.isprintable():
        raise UsageError(
            f"a name is a printable str of 1 to {limits.NAME_CHARS} characters, not {str(name)[:60]!r}"
        )
    if keys.SEPARATOR in name:
        raise UsageError(f"a name does not contain {keys.SEPARATOR!r}, which separates names: {name[:60]!r}")
    return name


def has_own_id(run: Run) -> bool:
    """Whether the run answers calls with an id that its program gave it."""
    return run.identity.endswith(f":id:{run.id}")


def checked_options(key: object, total: object, **amounts: object) -> None:
    """Refuse what cannot be the `key=`, the `total=` or an amount of time of a loop or map."""
    if key is not None and not callable(key):
        raise UsageError(
            f"key= takes a function, such as key=lambda item: item.id, not {key!r}; nothing was started"
        )
    if total is not None and (type(total) is not int or total < 0):
        raise UsageError(f"total= takes a whole number from 0 on, not {total!r}; nothing was started")
    for name, amount in amounts.items():
        if amount is not None and (
            isinstance(amount, bool) or not isinstance(amount, (int, float)) or not amount >= 0
        ):
            raise UsageError(f"{name}= takes a number from 0 on, not {amount!r}; nothing was started")


def checked_stop_after(given: object) -> None:
    """Refuse what cannot be a number of failures in a row."""
    if given not in ("auto", None):
        checked_count("stop_after", given)


def checked_count(name: str, given: object) -> None:
    """Refuse what cannot be a number of items or workers."""
    if type(given) is not int or not 1 <= given <= limits.MAP_CONCURRENCY:
        raise UsageError(
            f"{name}={given!r} is not possible: give a whole number from 1 to {limits.MAP_CONCURRENCY:,}; "
            f"nothing was started"
        )


def loop_name(given: str | None, frame: FrameType, what: str) -> str:
    """The name of a loop or map: the given one, or the script and function it stands in."""
    if given is not None:
        return checked_name(given)
    code = frame.f_code
    path = Path(code.co_filename)
    if code.co_filename.startswith("<") or not path.is_file() or "ipykernel" in code.co_filename:
        raise UsageError(
            f"onward.{what} cannot tell which loop this is, because its code stands in no file; give it a "
            f'name: onward.{what}(..., name="...")'
        )
    path = path.resolve()
    root = project_root(path.parent)
    shown = str(path.relative_to(root)) if root is not None else path.name
    name = shown if code.co_qualname == "<module>" else f"{shown}:{code.co_qualname}"
    _one_site(f"{what}:{name}", code, frame.f_lineno, what)
    return name[-limits.NAME_CHARS :]


def _one_site(name: str, code: CodeType, line: int, what: str) -> None:
    """A name that was not given stands for one place in the code: a second loop there needs a name of its own."""
    with _lock:
        known = _sites.setdefault(name, (code.co_filename, line))
    if known != (code.co_filename, line):
        raise UsageError(
            f"there are two onward.{what} in {name.partition(':')[2]} (lines {known[1]} and {line}), which "
            "could not be told "
            f'apart after a crash; nothing was started. Give the second one a name: onward.{what}(..., name="...")'
        )


def fresh_id(name: str) -> str:
    """An id for a new run: readable, and different every time."""
    return f"{stem_of(name)}-{uuid.uuid4().hex[:8]}"


def queued_id(name: str) -> str:
    """The same for a run that is queued. There may be millions of a name, so that eight digits would meet again."""
    return f"{stem_of(name)}-{os.urandom(8).hex()}"


@lru_cache(maxsize=1_000)
def stem_of(name: str) -> str:
    """What the ids of the runs of a name begin with."""
    name = Path(name).name.replace(".py", "")
    # Not by a regular expression: compiling one would take longer than the rest of beginning a run.
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in name).split()
    return "-".join(words).lower()[:40] or "run"


def digest(*parts: str | bytes) -> str:
    """A short hash of the parts, for identities."""
    seal = blake2b(digest_size=10)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        seal.update(len(data).to_bytes(8, "big") + data)
    return seal.hexdigest()


def command_line() -> str | None:
    """What a person types to run this program again, in any directory; None where no command does (a notebook)."""
    words = _words()
    if words is None or not all(
        word.isprintable() for word in words
    ):  # a program of several lines after `-c`
        return None
    command = shlex.join(words)
    return f"cd {shlex.quote(_begun_in)} && {command}" if _begun_in else command


def _words() -> list[str] | None:
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return ["python", "-m", spec.name.removesuffix(".__main__"), *sys.argv[1:]]
    if sys.argv[:1] == ["-c"]:
        return ["python", *sys.orig_argv[sys.orig_argv.index("-c") :]] if "-c" in sys.orig_argv else None
    # Typed into an interpreter or a notebook: its own command line would start another one, not the work.
    is_typed = sys.argv[:1] in ([], [""], ["-"]) or not hasattr(main, "__file__")
    if is_typed:
        return None
    if _is_installed(sys.argv[0]):
        return [os.path.basename(sys.argv[0]), *sys.argv[1:]]
    return ["python", *sys.argv]


def _is_installed(script: str) -> bool:
    """Whether it is a command that is found by its name alone, such as those that `pip install` makes."""
    folder, name = os.path.split(script)
    found = (one for one in os.get_exec_path() if os.access(os.path.join(one, name), os.X_OK))
    return os.path.isabs(folder) and next(found, None) == folder


def _working_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


# Where the program was begun: it may change its folder before it begins a run.
_begun_in = _working_folder()
