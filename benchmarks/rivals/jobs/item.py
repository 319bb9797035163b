"""What every job does for one item, whoever drives it: get the page, keep its row.

Imported by the jobs of all rivals, in their own environments: standard library only. The driver says through the
environment which server to ask, and at which moment of which item the first process shall be caught.
"""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

ITEMS = range(int(os.environ.get("RIVALS_ITEMS", "1000")))
# Empty where only the cost of the rival itself is measured: then a page is computed, not fetched.
SITE = os.environ.get("RIVALS_SITE", "")
# "received@300": caught when page 300 has arrived and its row is not kept yet. "kept@300": right after the row.
_CAUGHT_AT = os.environ.get("RIVALS_CATCH", "")
ROWS = Path("rows.jsonl")
_times: int | None = None


def url(number: int) -> str:
    return f"{SITE}/{number}"


def fetch(number: int) -> dict[str, Any]:
    """The row of one page. Waits to be killed when this is the moment."""
    if SITE:
        with urlopen(url(number), timeout=30) as answer:
            text = answer.read().decode()
    else:
        text = hashlib.sha256(str(number).encode()).hexdigest()
    row = {"number": number, "text": text}
    moment("received", number)
    return row


def keep(row: dict[str, Any]) -> None:
    """Append the row to the output file, as a script would. Waits to be killed when this is the moment."""
    with ROWS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    moment("kept", row["number"])


def work(number: int) -> None:
    """One item, all of it."""
    keep(fetch(number))


def moment(name: str, number: int) -> None:
    """A point at which the driver may strike: tell it, and be found here."""
    if name == "kept" and not SITE:
        _note_time()
    if f"{name}@{number}" == _CAUGHT_AT:
        Path("caught").touch()
        time.sleep(600)


def _note_time() -> None:
    """One line of nanoseconds for each item: what the cost per item is computed from."""
    global _times
    if _times is None:
        _times = os.open("times", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(_times, b"%d\n" % time.time_ns())
