"""The progress of a pass in a notebook: one display that is updated in place.

Uses what the notebook has imported already. A notebook that cannot show HTML shows the plain line.
"""

from __future__ import annotations

import html
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onward.runtime.progress import Progress


class Display:
    """Where one pass is shown, below its cell."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._handle: Any = None

    @classmethod
    def here(cls) -> Display | None:
        """A display, if this process is the kernel of a notebook."""
        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
        # A terminal's IPython has no kernel: there the bar is right.
        if shell is None or getattr(shell, "kernel", None) is None:
            return None
        module = sys.modules.get("IPython.display")
        return None if module is None else cls(module.display)

    def draw(self, progress: Progress) -> None:
        self._show(Shown(progress.line(), progress.name, progress.done, progress.total, progress.remarks()))

    def close(self, summary: str) -> bool:
        """Leave the summary in the display's place; False if nothing was ever displayed."""
        if self._handle is None:
            return False
        self._show(Shown(summary, "", 0, None, [summary]))
        return True

    def _show(self, shown: Shown) -> None:
        if self._handle is None:
            self._handle = self._display(shown, display_id=True)
        else:
            self._handle.update(shown)


class Shown:
    """What is displayed: as HTML, and as a plain line."""

    def __init__(self, line: str, name: str, done: int, total: int | None, remarks: list[str]) -> None:
        self._line, self._name, self._done, self._total, self._remarks = line, name, done, total, remarks

    def __repr__(self) -> str:
        return self._line

    def _repr_html_(self) -> str:
        parts = [f"<b>{html.escape(self._name)}</b>"] if self._name else []
        if self._total:
            parts.append(f'<progress value="{self._done}" max="{self._total}"></progress>')
            parts.append(f"{self._done:,} of {self._total:,}")
        elif self._name:
            parts.append(f"{self._done:,}")
        parts.append(html.escape(" · ".join(self._remarks)))
        return f"<div>{' '.join(parts)}</div>"
