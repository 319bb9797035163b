"""The core does no I/O, reads no clock and draws no chance; what it does read from the disk is named here."""

from __future__ import annotations

import ast
import json
import pathlib
import subprocess
import sys
import textwrap
import zoneinfo

import pytest

CORE = pathlib.Path(__file__).parents[2] / "src" / "onward" / "core"
# Modules that open nothing and ask nothing of the system, as the core uses them. `sys`: for `sys.modules` alone.
PURE = {
    *("__future__", "ast", "base64", "binascii", "collections", "collections.abc", "dataclasses", "datetime"),
    *(
        "decimal",
        "enum",
        "fractions",
        "functools",
        "_blake2",
        "hashlib",
        "heapq",
        "itertools",
        "json",
        "json.encoder",
        "math",
    ),
    *(
        "operator",
        "pathlib",
        "re",
        "shlex",
        "string",
        "struct",
        "sys",
        "types",
        "typing",
        "unicodedata",
        "uuid",
    ),
    *("zlib", "email"),
}
# docs/decisions/006-what-the-core-reads.md
EXCEPTIONS = {
    ("codec_types.py", "zoneinfo"),
    ("codec_errors.py", "traceback"),
    ("when.py", "zoneinfo"),
    ("when.py", "cronsim"),
}
# Names that reach the world through a module which is otherwise pure.
WORLDLY = {
    "now",
    "today",
    "utcnow",
    "uuid1",
    "uuid4",
    "cwd",
    "home",
    "getpid",
    "open",
    "read_text",
    "read_bytes",
}
WORLDLY |= {"write_text", "write_bytes", "exists", "is_file", "stat", "environ", "urandom", "stdin", "stdout"}


def imports(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
    return {name for name in found if name.partition(".")[0] != "onward"}


def reached(tree: ast.AST) -> set[str]:
    """Functions of the world that are called, or attributes of it that are read, by their last name."""
    names = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    attributes = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and not node.value.id.startswith("self")
    }
    return (names | attributes) & WORLDLY


@pytest.mark.parametrize("file", sorted(CORE.glob("*.py")), ids=lambda file: file.stem)
def test_a_module_of_the_core_reaches_nothing_outside(file: pathlib.Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert {name for name in imports(tree) - PURE if (file.name, name) not in EXCEPTIONS} == set()
    assert reached(tree) == set()


def test_the_exceptions_are_still_needed() -> None:
    found = {(file.name, name) for file in CORE.glob("*.py") for name in imports(ast.parse(file.read_text()))}
    assert found >= EXCEPTIONS


@pytest.mark.parametrize("line", ["import os", "from time import time", "import random", "import socket"])
def test_the_gate_sees_imports(line: str) -> None:
    assert imports(ast.parse(line)) - PURE


@pytest.mark.parametrize(
    "line", ["dt.datetime.now()", "datetime.now()", "open(path)", "uuid.uuid4()", "path.stat()"]
)
def test_the_gate_sees_calls(line: str) -> None:
    tree = ast.parse(line.replace("dt.datetime", "datetime"))
    assert reached(tree)


SCRIPT = """
import dataclasses, datetime as dt, decimal, json, pathlib, sys, uuid, zoneinfo
from onward.core import claiming, codec, decide, keys, retry, timeline
from onward.core.model import Run

def fail():
    raise ValueError("no")

try:
    zoneinfo.ZoneInfo("Mars/Base")  # the first time round, zoneinfo finds out where its files are
except zoneinfo.ZoneInfoNotFoundError:
    pass
codec.encode_error(ValueError("the first error imports what tracebacks need"))
when = '{"$t":"datetime","v":"2026-01-01T00:00:00","z":"Europe/Rome"}'
opened = []
watching = False

def watch(event, args):
    if watching and event in ("open", "import", "os.listdir", "os.scandir", "socket.connect", "subprocess.Popen"):
        opened.append(str(args[0]))

def during(act):
    global watching
    opened.clear()
    watching = True
    try:
        act()
    finally:
        watching = False
    return list(opened)

sys.addaudithook(watch)

def values():
    value = [1, 2.5, 1j, b"a", {1: 2}, {3}, (4,), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), decimal.Decimal(1),
             uuid.UUID(int=1), pathlib.PurePosixPath("a/b")]
    assert codec.decode(codec.encode(value)) == value
    codec.fingerprint((value,))
    codec.item_key(value)

def transitions():
    run = Run("r", "loop", "n", "loop:n")
    change = claiming.opened(run, owner="me", now=1.0, lease_s=30)
    decide.decide(change.after, decide.Returned(None), now=2.0)
    timeline.timeline(change.after, [], [], now=3.0, holder_is_dead=False)
    codec.decode_error(codec.encode_error(ValueError("made here, never raised")))

def error():
    try:
        fail()
    except ValueError as raised:
        codec.encode_error(raised)

values(), transitions()  # once unwatched: what is imported when it is first needed
print(json.dumps({
    "values": during(values),
    "transitions": during(transitions),
    "zone": during(lambda: codec.decode(when)),
    "zone again": during(lambda: codec.decode(when)),
    "error": during(error),
    "error again": during(error),
}))
"""


def test_the_only_files_that_the_core_opens_are_zones_and_the_sources_of_a_traceback(
    tmp_path: pathlib.Path,
) -> None:
    script = tmp_path / "job.py"
    script.write_text(textwrap.dedent(SCRIPT), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, str(script)],
        env={"PYTHONPATH": str(CORE.parents[1]), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    opened = json.loads(ended.stdout)
    files = [str(pathlib.Path(folder, "Europe/Rome")) for folder in zoneinfo.TZPATH]
    zones = opened.pop("zone")
    # Where the system has no zone files they are in the package `tzdata`, which is imported for it.
    assert any(zone in files for zone in zones) or any("tzdata" in zone for zone in zones), zones
    assert [zone for zone in zones if zone not in files and "tzdata" not in zone] == []
    assert set(opened.pop("error")) == {str(script)}
    assert opened == {"values": [], "transitions": [], "zone again": [], "error again": []}
