"""Reads files of named SQL: `-- name: x` begins a block, comments above it say why it is as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

_BLOCK = re.compile(r"^-- name: (\w+)[ \t]*\n", re.MULTILINE)


def load(package: str, file: str = "queries.sql") -> Mapping[str, str]:
    """The statements of a package's SQL file by their names. A name that is asked for and missing is a KeyError."""
    parts = _BLOCK.split(resources.files(package).joinpath(file).read_text("utf-8"))
    names, bodies = parts[1::2], parts[2::2]
    assert len(set(names)) == len(names), f"a name occurs twice in {package}/{file}"
    return {name: _bare(body) for name, body in zip(names, bodies, strict=True)}


def _bare(body: str) -> str:
    """The statement without comment lines: they would be part of every statement's cache key."""
    return "\n".join(
        line for line in body.splitlines() if line.strip() and not line.lstrip().startswith("--")
    )
