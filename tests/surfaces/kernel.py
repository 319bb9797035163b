"""A kernel as a notebook drives it."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

Message = tuple[str, dict[str, Any]]


class Kernel:
    """Executes cells in a process of its own, whose project is `folder`.

    Made by a manager, who asks the operating system whether the process is alive: by itself a client counts
    heartbeats, and on a busy machine declares a kernel dead that is still being imported.
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        # Sockets in a folder of its own: a free port may be taken by another test before the kernel binds it.
        self._manager = KernelManager(kernel_name="python3", transport="ipc", ip=str(folder / "k"))
        self._manager.kernel_spec.argv[0] = sys.executable
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "IPYTHONDIR": str(folder)}
        self._manager.start_kernel(cwd=str(folder), env=environment | variables)
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def cell(self, code: str) -> list[Message]:
        """Execute a cell; the messages that came of it, in order."""
        asked = self._client.execute(code)
        found: list[Message] = []
        until = time.monotonic() + 60
        while time.monotonic() < until:
            message = self._client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != asked:
                continue
            found.append((message["msg_type"], message["content"]))
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return found
        raise AssertionError(f"the cell did not end: {found}")

    def end(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()


def said(found: list[Message]) -> str:
    """What a cell has printed."""
    return "".join(content["text"] for kind, content in found if kind == "stream")


def raised(found: list[Message]) -> str:
    """The error that ended a cell, in one line; empty if none did."""
    return "".join(f"{content['ename']}: {content['evalue']}" for kind, content in found if kind == "error")
