"""A rival's script in a folder of its own: fed, started, caught at a moment, killed, left to finish."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from field import Rival
from pages import Site
from place import HERE, Unavailable, environment

CAUGHT_WITHIN_S = 120
# A worker that has asked for nothing for so long is taken to have nothing left to do.
PATIENCE_S = 120
_LONGEST_S = 600


@dataclass(frozen=True)
class Contest:
    """What is the same for all: the pages, how many items, and at which of them the first life ends."""

    site: Site | None  # None: pages are computed, not fetched
    items: int
    caught_at: int


class Job:
    """A rival's script in a folder of its own."""

    def __init__(
        self,
        rival: Rival,
        setting: str,
        python: Path,
        folder: Path,
        contest: Contest,
        redis_url: str,
        wrapper: tuple[str, ...] = (),
    ) -> None:
        self._rival, self.folder, self._contest = rival, folder, contest
        self._command = [*wrapper, str(python), str(HERE / "jobs" / f"{rival.job}.py"), setting]
        self._variables = {
            "RIVALS_ITEMS": str(contest.items),
            "RIVALS_SITE": contest.site.url if contest.site else "",
            "RIVALS_REDIS": redis_url,
            "ONWARD_URL": f"sqlite:///{folder / 'journal.db'}",
        }

    def prepare(self) -> None:
        if self._rival.queue:
            self.run("prepare")

    def run(self, word: str) -> None:
        """Run another command of the job to its end."""
        process = self.start(word)
        if process.wait(CAUGHT_WITHIN_S) != 0:
            raise Unavailable(f"`{word}` failed: {self.last_words()}")

    def live_until_caught(self, moment: str) -> None:
        """The first life: until it stands at the moment, then SIGKILL to all of its processes."""
        process = self.start("work", RIVALS_CATCH=f"{moment}@{self._contest.caught_at}")
        until = time.monotonic() + CAUGHT_WITHIN_S
        try:
            while not (self.folder / "caught").exists():
                if process.poll() is not None or time.monotonic() > until:
                    raise Unavailable(f"it never reached the moment `{moment}`: {self.last_words()}")
                time.sleep(0.005)
        finally:
            kill(process)

    def live_to_the_end(self) -> None:
        """The second life: until it ends, or has all rows, or asks for nothing any more."""
        process = self.start("work")
        begun_at = time.monotonic()
        while process.poll() is None:
            now = time.monotonic()
            last = max(begun_at, self._last_answer_at())
            if now - last > PATIENCE_S or now - begun_at > _LONGEST_S:
                break
            if self._rival.queue and now - last > 1 and self._complete():
                break
            time.sleep(0.05)
        kill(process)

    def _last_answer_at(self) -> float:
        site = self._contest.site
        return site.answers[-1].at if site and site.answers else 0.0

    def _complete(self) -> bool:
        return len(set(numbers_in(self.folder / "rows.jsonl"))) == self._contest.items

    def start(self, word: str, **variables: str) -> subprocess.Popen[bytes]:
        """Begin a command of the job, in a session of its own."""
        with (self.folder / "output.txt").open("ab") as output:
            return subprocess.Popen(
                [*self._command, word],
                cwd=self.folder,
                env=environment(**self._variables, **variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def last_words(self) -> str:
        """The last line of what the job printed."""
        lines = (self.folder / "output.txt").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to everything the command started: some workers give their children a process group of their own."""
    if process.returncode is not None:
        return  # it is reaped: its number may be somebody else's by now
    for pid in session_of(process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()


def session_of(leader: int) -> list[int]:
    """The processes of the session that `leader` began, itself last."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(fields[3]) == leader and int(stat.parent.name) != leader:
            found.append(int(stat.parent.name))
    return [*found, leader]


def numbers_in(rows: Path) -> list[int]:
    """The numbers of all whole rows; a torn line is no row."""
    found = []
    for line in rows.read_text("utf-8").splitlines() if rows.exists() else []:
        try:
            found.append(int(json.loads(line)["number"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found
