"""All scenes and all programs: those of `scenes` and `programs`, and of each `scenes_NAME` and `programs_NAME`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from crash.scenes import Scene


def modules(kind: str) -> list[ModuleType]:
    """`kind` itself and the modules beside it whose names begin with `kind_`."""
    return [import_module(f"crash.{file.stem}") for file in _files(kind)]


def _files(kind: str) -> list[Path]:
    here = Path(__file__).parent
    return [here / f"{kind}.py", *sorted(here.glob(f"{kind}_*.py"))]


def program(name: str) -> Any:
    """The function of that name; there is one."""
    [found] = {getattr(module, name) for module in modules("programs") if hasattr(module, name)}
    return found


SCENES: tuple[Scene, ...] = tuple(scene for module in modules("scenes") for scene in module.SCENES)
BY_NAME = {scene.name: scene for scene in SCENES}
assert len(BY_NAME) == len(SCENES), "two scenes have the same name"
