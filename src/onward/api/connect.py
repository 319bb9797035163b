"""Which journal is used: found once, when it is first needed, and said aloud.

Order: `connect(url)`, the variable ONWARD_URL, `[tool.onward] url` in the nearest pyproject.toml, else
`.onward/journal.db` at the project's root (the nearest folder upwards with a pyproject.toml or .git), else the user's
state folder. `env:NAME` takes the URL from another variable.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

from onward.api import ephemeral
from onward.core.errors import UsageError
from onward.core.lazily import Lazily
from onward.runtime import observe
from onward.runtime.engine import Engine
from onward.storage.open import open_store

if TYPE_CHECKING:
    import tomllib
else:
    tomllib = Lazily("tomllib")

Durability = Literal["machine", "process"]

_lock = threading.RLock()
_engine: Engine | None = None
_explicit: tuple[str, Durability] | None = None
_pinned = False


def pin(engine: Engine) -> None:
    """Let this process use `engine` and no other journal, whatever its program connects to; for a replay."""
    global _engine, _pinned
    with _lock:
        disconnect()
        _engine, _pinned = engine, True


def connect(url: str | os.PathLike[str] | None = None, *, durability: Durability = "machine") -> None:
    """Choose the journal for this process; closes the one that was open.

        onward.connect("sqlite:////var/lib/shop/journal.db")

    `url` is `sqlite:///path`, a path ending in `.db`, `memory:`, or `env:NAME`; None finds it as described above. Opens
    it at once: raises JournalUnusable with a sentence if that fails. `durability="process"` survives the death of the
    process, but not that of the machine: what was acknowledged in the last moments before a power cut may be lost.
    """
    global _explicit
    if _pinned:
        return
    with _lock:
        disconnect()
        _explicit = (str(url), durability) if url is not None else ("", durability)
        if url is None:
            _explicit = None
        engine()


def disconnect() -> None:
    """Close the journal, if one is open; the next call that needs one opens it again."""
    global _engine
    with _lock:
        if _engine is not None and not _pinned:
            closing, _engine = _engine, None  # even if closing fails, nobody goes on with what is left of it
            closing.close()


def engine() -> Engine:
    """The open journal of this process; opens it when it is first needed."""
    global _engine
    if _engine is not None:
        return _engine
    with _lock:
        if _engine is None:
            url, durability = _explicit or (find_url(), "machine")
            store = open_store(resolved(url), durability=durability)
            _engine = Engine(store)
            observe.say_place(store.place)
            doubt = ephemeral.warning(Path(store.place)) if store.place.startswith("/") else None
            for sentence in (*store.doubts, *([] if doubt is None else [doubt])):
                observe.say(sentence)
        return _engine


def uses(engine: Engine) -> bool:
    """Whether it is the open journal of this process."""
    return _engine is engine


def find_url(start: Path | None = None) -> str:
    """The URL that is used when none is given to `connect`."""
    url = os.environ.get("ONWARD_URL")
    if url:
        return url
    root = project_root(start or Path.cwd())
    url = _configured_url(root) if root is not None else None
    if url:
        return url
    if root is not None:
        return f"sqlite:///{root / '.onward' / 'journal.db'}"
    return f"sqlite:///{users_own()}"


def users_own() -> Path:
    """The journal of everything that belongs to no project, in the user's state folder."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "onward" / "journal.db"


def resolved(url: str) -> str:
    """`url`, with `env:NAME` replaced by the variable's value."""
    if not url.startswith("env:"):
        return url
    value = os.environ.get(url[4:])
    if not value:
        raise UsageError(
            f"the journal's address is {url}, but the variable {url[4:]} is not set; nothing was opened"
        )
    return value


def journal_file(url: str) -> Path | None:
    """The file of a SQLite journal; None for any other."""
    address = url.partition("?")[0] if url.startswith("sqlite:") else url
    if address.startswith("sqlite:///"):
        return Path(unquote(address.removeprefix("sqlite:///"))).absolute()
    return Path(address).absolute() if "://" not in address and address.endswith(".db") else None


def project_root(start: Path) -> Path | None:
    """The nearest folder upwards that holds a pyproject.toml or a .git."""
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file() or (folder / ".git").exists():
            return folder
    return None


def configured(name: str, start: Path | None = None) -> Any:
    """What `[tool.onward]` in the project's pyproject.toml says under this name; None if it says nothing."""
    root = project_root(start or Path.cwd())
    if root is None:
        return None
    try:
        with open(root / "pyproject.toml", "rb") as file:
            return tomllib.load(file).get("tool", {}).get("onward", {}).get(name)
    except FileNotFoundError:
        return None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{root / 'pyproject.toml'} cannot be read ({error}); nothing was opened") from error


def _configured_url(root: Path) -> str | None:
    url = configured("url", root)
    if url is not None and not isinstance(url, str):
        raise UsageError(
            f"[tool.onward] url in {root / 'pyproject.toml'} is not a string; nothing was opened"
        )
    return url


def _forget_in_child() -> None:
    global _engine, _lock
    _engine = None
    _lock = threading.RLock()


def _at_exit() -> None:
    try:
        disconnect()
    except Exception as error:  # the process ends: what was acknowledged is safe, the rest is said
        sys.stderr.write(f"onward: the journal could not be closed: {error}\n")


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
