"""On what the numbers were measured: a table without its machine says nothing."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import apsw


def described(folder: Path) -> str:
    """One sentence that names processor, cores, file system, Python and SQLite."""
    return (
        f"{_processor()}, {os.cpu_count()} cores, {_file_system(folder)}, "
        f"Python {platform.python_version()}, SQLite {apsw.sqlite_lib_version()}"
    )


def busy() -> str:
    """A sentence if others use the machine while it is being measured, else nothing: their work is in every number."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load < cores / 4:
        return ""
    return f" The machine was not idle: a load of {load:.1f} on {cores} cores before the first measurement."


def refuse_memory(folder: Path) -> None:
    """A disk that is memory syncs for free; numbers from it would be nobody's."""
    kind = _file_system(folder)
    if kind in ("tmpfs", "ramfs"):
        raise SystemExit(
            f"{folder} is on {kind}, where syncing costs nothing; name a folder on a disk with --folder"
        )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(tuple(part.strip() for part in line.split(":", 1)) for line in lines if ":" in line)
    clock = fields.get("cpu MHz")
    name = fields.get("model name", platform.machine())
    return f"{name} at {float(clock) / 1000:.1f} GHz" if clock else name


def _file_system(folder: Path) -> str:
    """The type of the file system that `folder` is on: that of the longest mount point above it."""
    path = str(folder.resolve())
    best, kind = "", "an unknown file system"
    try:
        mounts = Path("/proc/mounts").read_text("utf-8").splitlines()
    except OSError:
        return kind
    for line in mounts:
        _, point, found, *_ = line.split()
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, found
    return kind
