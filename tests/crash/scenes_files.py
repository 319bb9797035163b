"""What the programs of `programs_files` must come to."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from crash.scenes import Scene

LENGTH = 3_000


def _files(wanted: dict[str, str]) -> Any:
    """These files are there and whole, and nothing is left of unfinished ones."""

    def judge(moment: Any, folder: Path) -> Iterator[str]:
        for name, text in wanted.items():
            path = folder / name
            if not path.exists() or path.read_text() != text:
                yield f"{name} is not whole at the end"
        if (folder / "torn.log").exists():
            yield f"a later phase found torn files: {(folder / 'torn.log').read_text().split()}"
        for path in folder.glob(".*tmp"):
            yield f"{path.name} is left"

    return judge


def _lost(moment: Any, folder: Path) -> Iterator[str]:
    """A file that was lost is made again as soon as a later lease meets it; each key is done once."""
    yield from _files({"kept-2.txt": "2\n" * LENGTH})(moment, folder)
    rows = moment.of(list(moment.runs)[-1])  # an earlier one may have ended just before it was killed
    lost = next(row for row in rows if row.key == "lose#1" and row.state == "done")
    if any(row.name == "claimed" and row.seq > lost.seq for row in rows):
        yield from _files({"kept-1.txt": "1\n" * LENGTH})(moment, folder)


def _csv(moment: Any, folder: Path) -> Iterator[str]:
    wanted = [["x", "text"], *([str(x), f'"{x}",\nend'] for x in range(5))]
    with open(folder / "table.csv", newline="") as file:
        found = list(csv.reader(file))
    if found != wanted:
        yield f"table.csv holds {found}"


def _parquet(moment: Any, folder: Path) -> Iterator[str]:
    parts = sorted((folder / "table.parquet").iterdir())
    if [part.name for part in parts] != [f"part-0000{n}.parquet" for n in (1, 2, 3)]:
        yield f"table.parquet holds {parts}"
    found = [row for part in parts for row in pq.ParquetFile(part).read().to_pylist()]
    if found != [{"x": x, "text": "x" * x or None} for x in range(5)]:
        yield f"table.parquet has the rows {found}"


def _pairs(moment: Any, folder: Path) -> Iterator[str]:
    """Each row once, those of an item together, whatever the order of items."""
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    first, second = [row.get("first") for row in rows[::2]], [row.get("second") for row in rows[1::2]]
    if first != second or sorted(map(str, first)) != [str(x) for x in range(8)]:
        yield f"rows.jsonl holds {rows}"


VERSIONS = {"state.txt": 3, **{f"batch_00{n}.txt": n for n in (1, 2, 3)}}
NESTED = tuple(row for x in range(2) for row in ({"x": x, "y": 0}, {"x": x, "y": 1}, {"x": x}))

SCENES = (
    Scene(
        "files_whole",
        [f"batch_00{n}.txt" for n in (1, 2, 3)],
        {"step": 6, "value": 3},
        silent=True,
        also=_files({name: f"{n}\n" * LENGTH for name, n in VERSIONS.items()}),
    ),
    Scene("files_lost", [2 * LENGTH, 2 * LENGTH], {"step": 7}, silent=True, also=_lost),
    Scene("rows_csv", None, {"item": 5, "value": 1}, begins=True, silent=True, also=_csv),
    # Each process of it that writes a file imports half of the data world.
    Scene("rows_parquet", None, {"item": 5, "value": 3}, begins=True, silent=True, slow=True, also=_parquet),
    Scene(
        "rows_grouped",
        None,
        {"item": 8, "value": 1},
        concurrency=8,
        silent=True,
        rows=tuple({"x": x} for x in range(8)),
    ),
    Scene("rows_nested", 3, {"item": 6, "step": 2, "value": 1}, silent=True, parallel=True, rows=NESTED),
    Scene("rows_mapped", list(range(8)), {"item": 8, "value": 9}, concurrency=3, parallel=True, also=_pairs),
    Scene(
        "rows_mapped_async",
        list(range(8)),
        {"item": 8, "value": 9},
        concurrency=3,
        parallel=True,
        also=_pairs,
    ),
)
