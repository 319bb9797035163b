"""What a type checker sees of files and sinks. Checked by mypy and pyright, never run."""

from pathlib import Path
from typing import Any, assert_type

import onward


@onward.step
def save(name: str) -> onward.File:
    return onward.atomic_write(Path(name), b"content")


def files() -> None:
    file = onward.atomic_write("a.json", "{}", encoding="utf-16")
    assert_type(file, onward.File)
    assert_type(onward.atomic_write("a.json", "w"), onward.File)
    assert_type(onward.written(Path("a.json")), onward.File)
    assert_type(save("x"), onward.File)
    assert_type(file.size, int)
    with open(file) as opened:
        assert_type(opened.read(), str)
    with onward.atomic_write("a.txt") as text:
        assert_type(text.write("x"), int)
        text.write(b"x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(text.recorded, onward.File)
    with onward.atomic_write("a.bin", mode="wb") as binary:
        binary.write(b"x")
        binary.write("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(binary.recorded, onward.File)
    onward.atomic_write("a", 3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    file.size = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    assert_type(onward.numbered("batch", ".json", digits=4), str)


def sinks(row: dict[str, Any]) -> None:
    assert_type(onward.jsonl("a.jsonl", mode="append"), onward.Jsonl)
    assert_type(onward.csv("a.csv", fields=["a"], dialect="excel-tab"), onward.Csv)
    assert_type(onward.parquet("a.parquet", rows_per_file=10), onward.Parquet)
    onward.csv("a.csv").write(row)
    onward.jsonl("a.jsonl", mode="w")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
