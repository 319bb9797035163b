"""Texts that came from outside, as a person may see them: errors as they were recorded, anything neutralised."""

from __future__ import annotations

import json
import shlex
from typing import Final, NamedTuple

# Longest text shown of a name, a key or a message; a hostile one must not fill the screen.
SHOWN_CHARS: Final = 300
# A command must be whole to be of use; one that is longer holds a program of its own (`python -c`).
COMMAND_CHARS: Final = 4_000


class Failure(NamedTuple):
    """What was recorded of an exception. Texts are as they were raised: neutralise them before showing."""

    class_name: str
    message: str
    traceback: str

    @property
    def line(self) -> str:
        """`ValueError: no such page`, on one line."""
        name = self.class_name.rpartition(":")[2]
        return plain(f"{name}: {self.message}" if self.message else name)


def failure_of(text: str | None) -> Failure | None:
    """What was recorded of an exception, without making it again: its class need not be known here."""
    if text is None:
        return None
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError):
        parts = None
    if not isinstance(parts, dict):
        return Failure("unreadable", "what was recorded of the error cannot be read; see `onward doctor`", "")
    name, message, traceback = (_string(parts.get(part)) for part in ("class", "message", "traceback"))
    return Failure(name or "unknown", message, traceback)


def _string(part: object) -> str:
    return part if isinstance(part, str) else ""


def command_in(command: str | None, folder: str | None) -> str:
    """What to type in `folder` for a recorded command, which begins with the change to its own folder."""
    text = plain(command or "", COMMAND_CHARS)
    if folder is not None and text.startswith(f"cd {shlex.quote(plain(folder, COMMAND_CHARS))} && "):
        return text.partition(" && ")[2] if " && " not in folder else text
    return text or "(call it again from the program it belongs to)"


def cursor_text(row: str) -> str:
    """Where a cursor stands, as the JSON that is recorded."""
    return plain(json.dumps(json.loads(row).get("value"), ensure_ascii=False), 60)


def plain(text: str, longest: int = SHOWN_CHARS) -> str:
    """`text` on one line, without anything that a terminal would obey, cut at `longest` characters."""
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else _visible(c) for c in text)


def quoted(text: str) -> str:
    """`text` as a word of a command that can be typed, or as well as that can be shown."""
    return shlex.quote(plain(text))


def plain_lines(text: str) -> str:
    """`text` with its lines and tabs, without anything else that a terminal would obey."""
    return "\n".join(plain(line.expandtabs(), len(line) * 8 + 1) for line in text.splitlines())


def _visible(character: str) -> str:
    if character in "\n\r\t":
        return " "
    # Surrogates too: they cannot be written to any terminal.
    return character.encode("unicode_escape").decode("ascii")
