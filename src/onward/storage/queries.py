"""Reads files of named SQL: `-- name: x` begins a block, comments above it say why it is as it is."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

_BLOCK = re.compile(r"^-- name: (\w+)[ \t]*\n", re.MULTILINE)


_PLACEHOLDERS = re.compile(r"(\((?:\?, )*\?\))")


def load(package: str, file: str = "queries.sql") -> Mapping[str, str]:
    """The statements of a package's SQL file by their names. A name that is asked for and missing is a KeyError."""
    parts = _BLOCK.split(text_of(package, file))
    names, bodies = parts[1::2], parts[2::2]
    assert len(set(names)) == len(names), f"a name occurs twice in {package}/{file}"
    return {name: _bare(body) for name, body in zip(names, bodies, strict=True)}


def widened(statement: str, rows: int) -> str:
    """The same statement for so many rows at once: its one row of placeholders, repeated.

    A statement that inserts 50 runs takes half as long as 50 that insert one each (9.9 us a run instead of 17.6).
    """
    head, values, tail = _PLACEHOLDERS.split(statement)
    return head + ", ".join([values] * rows) + tail


def text_of(package: str, file: str) -> str:
    """A text file that belongs to a package, wherever that is imported from.

    Asks the package's loader (PEP 302): importlib.resources takes as long to import as all of our storage.
    """
    __import__(package)
    module: Any = sys.modules[package]
    data: bytes = module.__spec__.loader.get_data(f"{module.__path__[0]}/{file}")
    return data.decode()


def _bare(body: str) -> str:
    """The statement without comment lines: they would be part of every statement's cache key."""
    return "\n".join(
        line for line in body.splitlines() if line.strip() and not line.lstrip().startswith("--")
    )
