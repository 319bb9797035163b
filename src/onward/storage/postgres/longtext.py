"""Texts that an index must find although it cannot hold them whole.

PostgreSQL's indexes take about 2,700 bytes a row; a key is the path of scopes that leads to a unit and may be longer.
So the indexed column holds what begins and identifies a long text, and a column beside it (`long_key`) the text.
"""

from __future__ import annotations

import hashlib
from typing import Final

# Of UTF-8, with room for the digest, the number of the run and the index's own.
INDEXED_BYTES: Final = 1_600
_CHARS: Final = INDEXED_BYTES // 4  # as many characters never have more bytes


def short(text: str) -> str:
    """What stands for `text` in an index: the text itself, as a rule; different for every text."""
    if len(text) <= _CHARS:
        return text
    data = text.encode()
    if len(data) <= INDEXED_BYTES:
        return text
    return f"{_cut(data)}…{hashlib.sha256(data).hexdigest()}"


def long(text: str) -> str | None:
    """`text` if its index holds something shorter; else None."""
    return None if len(text) <= _CHARS or len(text.encode()) <= INDEXED_BYTES else text


def start(prefix: str) -> str:
    """What the short forms of all texts that begin with `prefix` begin with."""
    data = prefix.encode()
    return prefix if len(data) <= INDEXED_BYTES else _cut(data)


def _cut(data: bytes) -> str:
    return data[:INDEXED_BYTES].decode(errors="ignore")
