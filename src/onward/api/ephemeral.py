"""Places whose disk goes away: an embedded journal there dies with the machine or container, so it is said at start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# The variables by which these platforms make themselves known, from their documentation.
_PLATFORMS: Final = {
    "REPLIT_DEPLOYMENT": "a Replit deployment",
    "DYNO": "Heroku",
    "K_SERVICE": "Cloud Run",
    "CLOUD_RUN_JOB": "Cloud Run",
    "AWS_LAMBDA_FUNCTION_NAME": "AWS Lambda",
    "FUNCTIONS_WORKER_RUNTIME": "Azure Functions",
    "VERCEL": "Vercel",
}


def warning(journal: Path, environ: Mapping[str, str] = os.environ, mounts: str | None = None) -> str | None:
    """A sentence if the disk that holds the journal is thrown away on restart, else None."""
    place = next((name for variable, name in _PLATFORMS.items() if environ.get(variable)), None)
    if place is None and file_system(journal, mounts) == "overlay":
        place = "a container whose disk is an overlay"
    if place is None:
        return None
    return (
        f"this is {place}: the journal's disk goes away when it restarts, and the progress with it. "
        f"Put the journal into a database with ONWARD_URL=postgresql://… (or env:DATABASE_URL), or on a mounted volume "
        f"with ONWARD_URL=sqlite:////volume/journal.db."
    )


def file_system(path: Path, mounts: str | None = None) -> str | None:
    """The type of the file system that holds `path`, as the kernel names it; None where that cannot be told."""
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text()
        except OSError:
            return None
    best: tuple[int, str | None] = (-1, None)
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " "))
        if path.is_relative_to(point) and len(point.parts) >= best[0]:
            best = (len(point.parts), fields[2])
    return best[1]
