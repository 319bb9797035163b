"""Files as checkpoints, and sinks: files are whole at any moment, rows are there once at the end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pyarrow.parquet  # noqa: F401  (once, before the forks)

import onward
from crash.programs import world

# Longer than a buffer, so that a file is written by more than one call.
LENGTH = 3_000


def version(n: int) -> str:
    return f"{n}\n" * LENGTH


# -- files --------------------------------------------------------------------------------------------


@onward.step
def save(n: int) -> None:
    """Replaces the same file over and over."""
    world.effect()
    onward.atomic_write("state.txt", version(n))


@onward.step
def save_batch(n: int) -> list[onward.File]:
    """Makes a file of its own, in a block."""
    world.effect()
    with onward.atomic_write(onward.numbered("batch", ".txt")) as file:
        for _ in range(LENGTH):
            file.write(f"{n}\n")
    return [file.recorded]


@onward.workflow
def _saving() -> list[str]:
    names = []
    for n in (1, 2, 3):
        save.options(key=str(n))(n)
        (batch,) = save_batch(n)
        names.append(batch.path)
    return names


def look() -> None:
    """Note which files are no whole version, as this phase finds them."""
    whole = {version(n) for n in (1, 2, 3)}
    for path in Path().glob("*.txt"):
        if path.read_text() not in whole:
            with open("torn.log", "a") as log:
                log.write(f"{path.name}\n")


def files_whole() -> list[str]:
    look()
    return _saving()


@onward.step
def make(n: int) -> str:
    world.effect()
    return version(n)


@onward.step
def keep(n: int) -> onward.File:
    """Its work is done by a step inside, so that nothing but the file is made again."""
    return onward.atomic_write(f"kept-{n}.txt", make(n))


@onward.step
def lose(name: str) -> None:
    """What somebody else might do."""
    world.effect()
    Path(name).unlink(missing_ok=True)


@onward.step
def work(n: int) -> None:
    world.effect()


@onward.workflow
def _losing() -> list[int]:
    files = [keep(n) for n in (1, 2)]
    lose(files[0].path)
    work(1)
    work(2)
    return [file.size for file in files]


def files_lost() -> list[int]:
    look()
    return _losing()


# -- sinks --------------------------------------------------------------------------------------------


def rows_csv() -> None:
    out = onward.csv("table.csv")
    for x in onward.each(range(5), name="csv"):
        world.effect()
        out.write({"x": x, "text": f'"{x}",\nend'})


def rows_parquet() -> None:
    out = onward.parquet("table.parquet", rows_per_file=2)
    for x in onward.each(range(5), name="parquet"):
        world.effect()
        out.write({"x": x, "text": "x" * x or None})


def rows_grouped() -> None:
    out = onward.jsonl("rows.jsonl")
    for x in onward.each(range(8), name="grouped-rows", flush_ms=1):
        world.effect()
        out.write({"x": x})


@onward.workflow
def _nesting() -> int:
    out = onward.jsonl("rows.jsonl")
    total = 0
    # Bodies with steps run again in a replay: what they write then is recorded already, and goes nowhere.
    for x in onward.each(range(2)):
        out.write({"x": x})
        for y in onward.each(range(2)):
            world.effect()
            out.write({"x": x, "y": y})
        total += _add(x)
    return total


@onward.step
def _add(x: int) -> int:
    world.effect()
    return x + 1


def rows_nested() -> int:
    return _nesting()


def _pair(x: int) -> int:
    world.effect()
    out = onward.jsonl("rows.jsonl")
    out.write({"first": x})
    out.write({"second": x})
    return x


async def _pair_async(x: int) -> int:
    await asyncio.sleep(0)
    return _pair(x)


def _told(value: int) -> int:
    world.ack(f"map/{value}", value)
    return value


def rows_mapped() -> list[int]:
    return [_told(value) for value in onward.map(_pair, range(8), name="rows", concurrency=3)]


def rows_mapped_async() -> list[int]:
    async def main() -> list[int]:
        return [_told(v) async for v in onward.map(_pair_async, range(8), name="rows", concurrency=3)]

    return asyncio.run(main())
