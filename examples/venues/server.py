"""A web site with one page per venue that behaves as badly as real ones do.

It is a process of its own: killing the scraper does not touch it. It answers late, sometimes with `503` and
a `Retry-After`, sometimes it drops the connection in the middle of a page. What it does to the nth request
for a venue follows from the seed alone. Its log, two JSON lines a request, is what the demo judges by.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import select
import socket
import struct
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any, Literal

import airportsdata

Answer = Literal["ok", "503", "dropped", "aborted"]

COLUMNS = ("icao", "name", "city", "region", "country", "elevation", "lat", "lon", "tz")
BUSY_SHARE = 0.04
DROPPED_SHARE = 0.04
# After two failures in a row a venue answers, so a scraper that tries three times always gets its page.
MOST_FAILURES = 2
# `Retry-After` counts whole seconds. About this many answers say 1, however many venues there are.
SLOW_RETRIES = 3


def venues_of(country: str) -> dict[str, tuple[str, ...]]:
    """The data set's venues of one country by code, each as the text of its `COLUMNS`."""
    found = {}
    for code, entry in sorted(airportsdata.load("ICAO").items()):
        if entry["country"] == country:
            renamed = {**entry, "region": entry["subd"]}
            found[code] = tuple(str(renamed[column]) for column in COLUMNS)
    return found


def page_of(venue: tuple[str, ...]) -> bytes:
    fields = dict(zip(COLUMNS, venue, strict=True))
    lines = [f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in fields.items()]
    title = html.escape(fields["name"])
    head = f"<!doctype html>\n<title>{title}</title>\n<h1>{title}</h1>\n<dl>\n"
    return (head + "\n".join(lines) + "\n</dl>\n").encode()


@dataclass(frozen=True)
class Fate:
    """What the server does to one request."""

    answer: Literal["ok", "503", "dropped"]
    latency_s: float
    retry_after_s: int


@dataclass(frozen=True)
class Weather:
    """How the site misbehaves: every fate follows from the seed, the venue and how often it was asked for."""

    seed: int
    latency_s: float
    venues: int

    def fate(self, venue: str, nth: int) -> Fate:
        rng = Random(f"{self.seed}/{venue}/{nth}")
        latency_s = self.latency_s * rng.uniform(0.3, 1.7)
        draw = rng.random()
        slow = rng.random() < SLOW_RETRIES / (BUSY_SHARE * self.venues)
        if nth >= MOST_FAILURES or draw >= BUSY_SHARE + DROPPED_SHARE:
            return Fate("ok", latency_s, 0)
        return Fate("503" if draw < BUSY_SHARE else "dropped", latency_s, int(slow))


class Site(ThreadingHTTPServer):
    """The pages, the weather and the log."""

    daemon_threads = True

    def __init__(self, venues: dict[str, tuple[str, ...]], weather: Weather, log: Path) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.weather = weather
        self.pages = {f"/venues/{code}": page_of(venue) for code, venue in venues.items()}
        self._log = log.open("a", encoding="utf-8")
        self._asked: Counter[str] = Counter()
        self._requests = 0
        self._visits = 0
        self._changed = threading.Condition()

    def begun(self, venue: str, client: str) -> tuple[int, Fate]:
        """Logs that `venue` was asked for; returns the request's number and what is to become of it."""
        with self._changed:
            self._requests += 1
            fate = self.weather.fate(venue, self._asked[venue])
            self._asked[venue] += 1
            self._write(self._requests, venue, "begun", client=client)
            return self._requests, fate

    def ended(self, request: int, venue: str, answer: Answer) -> None:
        with self._changed:
            self._write(request, venue, answer)

    def _write(self, request: int, venue: str, event: str, **more: str) -> None:
        line = {"at": round(time.time(), 4), "request": request, "venue": venue, "event": event, **more}
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()

    def wait_until_settled(self) -> None:
        """Return when every connection made before this one has been answered, or found dead, and logged.

        Connections are accepted in the order they were made, and counted before their thread starts: so
        nothing of a process that died before this call can reach the log after it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._visits == 1)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._visits += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._visits -= 1
            self._changed.notify_all()


class Visit(BaseHTTPRequestHandler):
    """One connection, one request."""

    server: Site  # pyright: ignore[reportIncompatibleVariableOverride]  # as http.server's own classes do

    def do_GET(self) -> None:
        if self.path == "/":
            self._send(200, json.dumps(list(self.server.pages)).encode())
        elif self.path == "/settled":
            self.server.wait_until_settled()
            self._send(200, b"settled")
        elif page := self.server.pages.get(self.path):
            self._serve(self.path.rpartition("/")[2], page)
        else:
            self._send(404, b"no such page")

    def _serve(self, venue: str, page: bytes) -> None:
        request, fate = self.server.begun(venue, self.headers.get("User-Agent", ""))
        answer: Answer = "aborted"
        try:
            if not self._client_leaves_within(fate.latency_s):
                self._give(fate, page)
                answer = fate.answer
        except OSError:
            pass  # The client went away while it was being answered: that is what the log then says.
        finally:
            self.server.ended(request, venue, answer)

    def _client_leaves_within(self, seconds: float) -> bool:
        """Wait; True as soon as the client's end is closed, as the kernel does for a killed one."""
        readable, _, _ = select.select([self.connection], [], [], seconds)
        return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""

    def _give(self, fate: Fate, page: bytes) -> None:
        match fate.answer:
            case "ok":
                self._send(200, page)
            case "503":
                self._send(503, b"busy", retry_after_s=fate.retry_after_s)
            case "dropped":
                self._send(200, page[: len(page) // 2], promised_bytes=len(page))
                self._reset()

    def _send(
        self, status: int, body: bytes, *, promised_bytes: int | None = None, retry_after_s: int | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if promised_bytes is None else promised_bytes))
        if retry_after_s is not None:
            self.send_header("Retry-After", str(retry_after_s))
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        # Lingering for zero seconds turns the close into a TCP reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        """The site keeps a log of its own."""


def leave_with_parent() -> None:
    """End this process when whoever started it is gone: its end of our standard input closes then."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Serve one page per venue on a free port; the address is printed."
    )
    parser.add_argument("--country", default="IT")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--latency", type=float, default=0.05, help="mean seconds before an answer")
    parser.add_argument("--log", type=Path, required=True)
    options = parser.parse_args()
    venues = venues_of(options.country)
    site = Site(venues, Weather(options.seed, options.latency, len(venues)), options.log)
    print(f"http://127.0.0.1:{site.server_address[1]}", flush=True)
    threading.Thread(target=leave_with_parent, daemon=True).start()
    site.serve_forever(poll_interval=60)


if __name__ == "__main__":
    main()
