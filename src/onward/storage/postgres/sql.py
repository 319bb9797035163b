"""The statements of `queries.sql` for a schema of any name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from onward.storage.queries import load

PACKAGE: Final = "onward.storage.postgres"
_NAME: Final = re.compile(r"\bonward\b")


def statements(schema: str) -> Mapping[str, str]:
    """All statements by their names."""
    return {name: in_schema(text, schema) for name, text in load(PACKAGE).items()}


def in_schema(text: str, schema: str) -> str:
    """`text` with the journal's schema in place of `onward`: an identifier, checked where the URL is read."""
    return _NAME.sub(f'"{schema}"', text)
