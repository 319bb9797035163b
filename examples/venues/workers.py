"""The workers of the spread-out demo, from outside: hired, watched through the web server's log, killed, sent home."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from evidence import ServerLog, rows_in
from evidence_cluster import Loss
from scene import HERE, WATCH_S, Broken

# Runs that one worker executes at once.
CONCURRENCY = 4
# A worker that was asked to end has this long; onward gives running work less than that.
LEAVE_S = 60.0


class Crew:
    """Worker processes of `spread.py` on one journal, and what the site's log and the table say of their work."""

    def __init__(
        self, folder: Path, site: str, url: str, log: ServerLog, venues: int, patience_s: float
    ) -> None:
        self.log, self.venues, self.table = log, venues, folder / "venues.db"
        self._patience_s = patience_s
        self._output = folder / "workers.log"
        self._environment = os.environ | {
            "ONWARD_URL": url,
            "VENUES_SITE": site,
            "VENUES_TABLE": str(self.table),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        self._workers: dict[str, subprocess.Popen[bytes]] = {}

    # -- what was seen ----------------------------------------------------------------------------------

    @property
    def rows(self) -> int:
        return len(rows_in(self.table))

    @property
    def asked(self) -> int:
        """Different venues that were asked for."""
        self.log.read()
        return len(self.log.venues)

    @property
    def asked_in_all(self) -> int:
        self.log.read()
        return len(self.log.requests)

    @property
    def asked_by(self) -> Counter[str]:
        """Pages that each worker has asked for."""
        return Counter(request.client for request in self.log.requests)

    @property
    def busy(self) -> Counter[str]:
        """Of each worker, the pages that are on their way to it."""
        self.log.read()
        return Counter(request.client for request in self.log.requests if request.last_event == "begun")

    # -- what is done to them ------------------------------------------------------------------------------

    def hire(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker with the command that anybody would type."""
        command = [sys.executable, "-m", "onward.cli", "worker", str(HERE / "spread.py")]
        process = self._start([*command, "--concurrency", str(CONCURRENCY), *options])
        self._workers[f"worker {process.pid}"] = process
        return process

    def queue_all(self) -> None:
        """Queue a run for every venue."""
        if self._start([sys.executable, str(HERE / "spread.py")]).wait(LEAVE_S) != 0:
            raise Broken(f"The venues could not be queued. {self.last_words()}")

    def kill_one(self) -> Loss:
        """SIGKILL to the worker with the most pages on their way; what it left, once the site has noticed."""
        client = max(self._workers, key=lambda one: self.busy[one])
        stored_before = {row[0] for row in rows_in(self.table)}
        process = self._workers.pop(client)
        killed_at = time.time()
        process.send_signal(signal.SIGKILL)
        process.wait()
        stored = {row[0] for row in rows_in(self.table)}
        self.until(lambda: self.busy[client] == 0)
        cut_off = sum(r.client == client and r.last_event == "aborted" for r in self.log.requests)
        return Loss(client, killed_at, cut_off, frozenset(stored_before), frozenset(stored))

    def end_well(self) -> None:
        """SIGTERM to all; each ends by itself with exit code 0, or the promise of a clean end is broken."""
        for process in self._workers.values():
            process.terminate()
        for client, process in self._workers.items():
            if process.wait(LEAVE_S) != 0:
                raise Broken(
                    f"{client} ended with {process.returncode} when it was asked to. {self.last_words()}"
                )
        self._workers.clear()

    def look_again(self) -> None:
        """One more worker, which ends when nothing is left to do."""
        process = self.hire("--burst")
        if process.wait(LEAVE_S) != 0:
            raise Broken(f"The last worker ended with {process.returncode}. {self.last_words()}")
        self._workers.clear()

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for it; a worker that ends by itself, or a standstill, breaks the demo."""
        heard, heard_at = -1, time.monotonic()
        while not condition():
            for client, process in self._workers.items():
                if process.poll() is not None:
                    raise Broken(f"{client} ended by itself with {process.returncode}. {self.last_words()}")
            self.log.read()
            if len(self.log.requests) != heard:
                heard, heard_at = len(self.log.requests), time.monotonic()
            elif time.monotonic() - heard_at > self._patience_s:
                raise Broken(f"Nobody asked for anything in {self._patience_s:.0f} s. {self.last_words()}")
            time.sleep(10 * WATCH_S)

    def dismiss(self) -> None:
        """Leave no process behind, however the demo went."""
        for process in self._workers.values():
            process.kill()
            process.wait()

    def last_words(self) -> str:
        text = self._output.read_text(encoding="utf-8", errors="replace").strip()
        return "The last words of the workers:\n" + "\n".join(text.splitlines()[-15:])

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self._output.open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                start_new_session=True,
            )
