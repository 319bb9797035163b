"""What `import onward` costs a script that starts, and what it brings into an environment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from statistics import median

from row import NO_TARGET, Row

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
    codes = ("pass", "import onward", "import onward; onward.each, onward.step, onward.workflow")
    took: dict[str, list[float]] = {code: [] for code in codes}
    for code in codes:
        _start(code, environment)
    for _ in range(_PROCESSES):
        for code in codes:
            took[code].append(_start(code, environment))
    empty, full, used = took.values()
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
        Row(
            "a process that uses loops, steps and workflows",
            f"{median(empty):.0f} ms (`python -c pass`)",
            f"{median(used):.0f} ms in all, best {min(used):.0f} ms",
            NO_TARGET,
            median(used),
            0,
            at_least=True,
        ),
        Row("hard dependencies", "–", f"{len(needed)}", "≤ 4", len(needed), 4),
    ]
