"""The numbers of the advisory locks by which processes agree on what no row stands for."""

from __future__ import annotations

import hashlib
from typing import Literal

# layout: changing the schema. owner: held for life by the session of an owner. batch: putting items into the run of a
# `single`. schedule: changing one. moving: adding runs (shared), or moving the journal elsewhere (alone).
Purpose = Literal["layout", "owner", "batch", "schedule", "moving"]


def number(schema: str, purpose: Purpose, name: str = "") -> int:
    """One for each purpose, and each name within it, of each journal of a database."""
    digest = hashlib.sha256(f"onward {purpose} {schema} {name}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
