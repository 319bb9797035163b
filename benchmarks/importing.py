"""What `import onward` costs a script that starts, and what it brings into an environment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from statistics import median

from row import Row

_PROCESSES = 15
_ROOT = Path(__file__).resolve().parent.parent


def _start(code: str, environment: dict[str, str]) -> float:
    """Milliseconds of a whole process, from its start to its end."""
    begun_at = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    return 1_000 * (time.perf_counter() - begun_at)


def measure(folder: Path) -> list[Row]:
    # Compiled files as after any installation, in a folder of their own so that nothing is left in the checkout.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
    for code in ("import onward", "pass"):
        _start(code, environment)
    empty: list[float] = []
    full: list[float] = []
    for _ in range(_PROCESSES):
        empty.append(_start("pass", environment))
        full.append(_start("import onward", environment))
    took_ms = median(full)
    with open(_ROOT / "pyproject.toml", "rb") as file:
        needed = tomllib.load(file)["project"]["dependencies"]
    return [
        Row(
            "a process with `import onward`",
            f"{median(empty):.0f} ms (`python -c pass`)",
            f"{took_ms:.0f} ms in all, best {min(full):.0f} ms",
            "≤ 60 ms",
            took_ms,
            60,
        ),
        Row("hard dependencies", "–", f"{len(needed)}", "≤ 4", len(needed), 4),
    ]
