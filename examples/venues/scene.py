"""The stage of the demo: the server beyond reach, the scraper started and killed, and what was seen of it.

When to kill is decided here; what the kills prove is `evidence`, what is said about them `demo`.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from evidence import Kill, Request, Row, ServerLog, kill_seen, rows_in

HERE = Path(__file__).resolve().parent
# The server's delays add up to about this much, so that 117 venues take seconds and 12,579 take minutes.
LATENCY_BUDGET_S = 25.0
MOST_LATENCY_S = 0.06
# Parsing and storing a page takes about this long after the answer; a kill aims at the time up to there.
STORING_S = 0.002
# Some kills come this early, around start-up, whether an item was begun or not. Never two in a row: three
# kills of one item would be onward's proof that the item itself is deadly (`max_crashes`).
EARLY_KILL_S = 0.4
EARLY_KILL_SHARE = 0.25
# How often the demo looks at the server's log.
WATCH_S = 0.001
# A scraper from which the server hears nothing for this long is stuck, and the demo says so.
SILENCE_S = 60.0


class Broken(Exception):
    """The scraper did what it never may: it failed by itself, or stood still."""


@dataclass(frozen=True)
class Pass:
    """One process of the scraper, from start to end: what it asked for, and the kill that ended it."""

    requests: Sequence[Request]
    kept: int  # pages that had been answered before this process began and that it did not ask for
    kill: Kill | None  # None: it finished


@dataclass
class Scene:
    """One demo: where its files are, what runs in it, and what was seen so far."""

    folder: Path
    script: Path
    site: str
    venues: dict[str, Row]
    latency_s: float
    rng: Random
    log: ServerLog
    passes: list[Pass] = field(default_factory=list)
    early_last: bool = True

    @property
    def table(self) -> Path:
        return self.folder / "venues.db"

    @property
    def kills(self) -> list[Kill]:
        return [ended.kill for ended in self.passes if ended.kill]

    @property
    def mid_item_kills(self) -> int:
        return sum(kill.mid_item for kill in self.kills)


@dataclass(frozen=True)
class Ambush:
    """When to kill: `delay_s` after this many different venues have been asked for."""

    venues: int
    delay_s: float


def latency_for(venues: int) -> float:
    """The server's mean delay, in seconds, for this many venues."""
    return min(MOST_LATENCY_S, LATENCY_BUDGET_S / venues)


def next_ambush(scene: Scene, wanted: int) -> Ambush | None:
    """A random moment, such that the missing kills spread over the venues ahead; None for no more."""
    missing = wanted - scene.mid_item_kills
    ahead = len(scene.venues) - len(scene.log.venues)
    if missing <= 0 or ahead == 0:
        return None
    if not scene.early_last and scene.rng.random() < EARLY_KILL_SHARE:
        scene.early_last = True
        return Ambush(0, scene.rng.uniform(0, EARLY_KILL_S))
    scene.early_last = False
    stride = max(1, round(ahead / (missing + 1) * scene.rng.uniform(0.5, 1.5)))
    return Ambush(len(scene.log.venues) + stride, scene.rng.uniform(0, scene.latency_s + STORING_S))


@contextmanager
def serving(log: Path, country: str, seed: int, latency_s: float) -> Iterator[str]:
    """The site as a process of its own, out of reach of every kill; yields its address."""
    command = [sys.executable, str(HERE / "server.py"), "--country", country, "--seed", str(seed)]
    command += ["--latency", str(latency_s), "--log", str(log)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            site = server.stdout.readline().strip()
            if not site:
                raise Broken("The server did not start; its message is above.")
            yield site
        finally:
            server.stdin.close()  # The server leaves when this end closes, even if we are killed.


def start_scraper(scene: Scene) -> subprocess.Popen[bytes]:
    """The same command every time; what it prints is collected in `scraper.log`."""
    environment = os.environ | {
        "ONWARD_URL": f"sqlite:///{scene.folder / 'journal.db'}",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    command = [sys.executable, str(scene.script), scene.site, str(scene.table)]
    with (scene.folder / "scraper.log").open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )


def run_pass(scene: Scene, ambush: Ambush | None, progress: Callable[[], None]) -> Pass:
    """One process of the scraper, killed in the ambush or run to its end. It is added to `scene.passes`."""
    before = len(scene.log.requests)
    scraper = start_scraper(scene)
    try:
        sprung = watch(scene, scraper, ambush, progress)
    finally:
        scraper.kill()
        code = scraper.wait()
        settle(scene)
    killed = sprung and code == -signal.SIGKILL
    if code != 0 and not killed:
        raise Broken(f"The scraper ended by itself with exit code {code}. {last_words(scene)}")
    requests = scene.log.requests[before:]
    answered = {request.venue for request in scene.log.requests[:before] if request.last_event == "ok"}
    kept = len(answered - {request.venue for request in requests})
    ended = Pass(requests, kept, kill_seen(requests, rows_in(scene.table)) if killed else None)
    scene.passes.append(ended)
    return ended


def watch(
    scene: Scene, scraper: subprocess.Popen[bytes], ambush: Ambush | None, progress: Callable[[], None]
) -> bool:
    """Follow the server's log until the scraper ends (False) or the moment of the ambush has come (True)."""
    heard, heard_at = -1, time.monotonic()
    while scraper.poll() is None:
        scene.log.read()
        if ambush and len(scene.log.venues) >= ambush.venues:
            time.sleep(ambush.delay_s)
            return True
        if len(scene.log.requests) != heard:
            heard, heard_at = len(scene.log.requests), time.monotonic()
            progress()
        elif time.monotonic() - heard_at > SILENCE_S:
            raise Broken(f"The scraper asked for nothing in {SILENCE_S:.0f} s. {last_words(scene)}")
        time.sleep(WATCH_S)
    return False


def settle(scene: Scene) -> None:
    """Read the log to its end, once the server has logged everything the dead process had asked for."""
    connection = http.client.HTTPConnection(scene.site.removeprefix("http://"), timeout=30)
    connection.request("GET", "/settled")
    connection.getresponse().read()
    connection.close()
    scene.log.read()


def last_words(scene: Scene) -> str:
    """The end of what the scraper printed."""
    text = (scene.folder / "scraper.log").read_text(encoding="utf-8", errors="replace").strip()
    return "Its last words:\n" + "\n".join(text.splitlines()[-15:])
