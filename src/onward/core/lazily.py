"""A module that is imported when it is first used, to keep `import onward` fast."""

from __future__ import annotations

import sys
from typing import Any


class Lazily:
    """Stands for a module: `asyncio = Lazily("asyncio")`, below `if TYPE_CHECKING: import asyncio`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        __import__(self._name)
        value = getattr(sys.modules[self._name], attribute)
        setattr(self, attribute, value)
        return value
