"""A file with one line for each item that is done, as it is written by hand.

`synced`: the row and the line are synced, the row first, so that a power cut loses neither.
"""

import os
import sys
from pathlib import Path

import item

SYNCED = sys.argv[1] == "synced"
DONE = Path("done.txt")


def sync(path: Path) -> None:
    with path.open("a") as file:
        os.fsync(file.fileno())


done = set(DONE.read_text().split()) if DONE.exists() else set()
for number in item.ITEMS:
    if str(number) in done:
        continue
    item.work(number)
    if SYNCED:
        sync(item.ROWS)
    with DONE.open("a") as file:
        file.write(f"{number}\n")
    if SYNCED:
        sync(DONE)
