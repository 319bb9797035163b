"""Steps that note what they were called with: for tests about what is executed, and how often."""

from __future__ import annotations

import asyncio
from typing import Any

import onward

# What the steps of a test were called with, in order; emptied before each test.
calls: list[Any] = []


@onward.step
def fetch(what: Any) -> str:
    calls.append(what)
    return f"<{what}>"


@onward.step
def save(what: Any) -> None:
    calls.append(("save", what))


@onward.step
def note(what: Any) -> Any:
    calls.append(what)
    return what


@onward.step
async def note_async(what: Any) -> Any:
    calls.append(what)
    await asyncio.sleep(0)
    return what
