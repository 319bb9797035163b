"""The test that crawlers with a job directory fail: 1,000 pages, kill -9 at 300, the same command again.

The usual way keeps the queue of requests on disk and what is in memory not: pages in flight are never processed, others
twice, rows are lost. Here the pages come from a real web server, whose own log says what happened.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from crash.test_kills import Tell

pytestmark = [pytest.mark.important]
PAGES, KILLED_AT, CONCURRENCY = 1_000, 300, 16

CRAWLER = f"""
import json, sys, urllib.request
import onward

def crawl(number):
    with urllib.request.urlopen(f"http://127.0.0.1:{{sys.argv[1]}}/{{number}}", timeout=30) as page:
        return json.load(page)

with open("rows.jsonl", "w") as rows:
    for row in onward.map(crawl, range({PAGES}), concurrency={CONCURRENCY}):
        rows.write(json.dumps(row) + "\\n")
"""
# The rows by a sink instead, in a loop: one page at a time, each row on disk with its page.
LOOP = f"""
import json, sys, urllib.request
import onward

rows = onward.jsonl("rows.jsonl")
for number in onward.each(range({PAGES})):
    with urllib.request.urlopen(f"http://127.0.0.1:{{sys.argv[1]}}/{{number}}", timeout=30) as page:
        rows.write(json.load(page))
"""


class Site(ThreadingHTTPServer):
    """Pages, and how often each was served whole."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.served: Counter[int] = Counter()
        self.requests = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no news."""


class _Page(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        number = int(self.path[1:])
        self.server.requests += 1
        time.sleep(0.002 + number % 7 / 1_000)  # pages take turns in coming first
        body = json.dumps({"page": number, "title": f"venue {number}"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.served[number] += 1

    def log_message(self, *about: object) -> None:
        pass


@contextmanager
def site() -> Iterator[Site]:
    with Site() as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def crawler(folder: Path, script: str, port: int) -> subprocess.Popen[str]:
    (folder / "crawl.py").write_text(textwrap.dedent(script))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ONWARD_")}
    environment["ONWARD_URL"] = f"sqlite:///{folder / 'journal.db'}"
    command = [sys.executable, "crawl.py", str(port)]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(("script", "at_once"), [(CRAWLER, CONCURRENCY), (LOOP, 1)], ids=["map", "loop"])
def test_a_thousand_pages_killed_at_300_lose_no_page_and_no_row(
    tmp_path: Path, script: str, at_once: int, tell: Tell
) -> None:
    with site() as serving:
        first = crawler(tmp_path, script, serving.server_port)
        while serving.served.total() < KILLED_AT:
            assert first.poll() is None, first.communicate()[1]
            time.sleep(0.001)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        time.sleep(0.1)  # what the server still had in hand when its client died
        before = Counter(serving.served)
        again = crawler(tmp_path, script, serving.server_port)
        said = again.communicate(timeout=100)[1]
    assert again.returncode == 0, said
    never = PAGES - len(serving.served)
    repeated = [number for number, times in serving.served.items() if times > 1]
    rows = [json.loads(line)["page"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    lost, doubled = PAGES - len(set(rows)), len(rows) - len(set(rows))
    tell(
        f"{PAGES:,} pages, {at_once} at a time, killed at {before.total()}: {never} never processed, "
        f"{len(repeated)} processed twice, {lost} rows lost, {doubled} rows double"
    )
    assert KILLED_AT <= before.total() < PAGES // 2
    assert (never, lost, doubled) == (0, 0, 0)
    assert len(repeated) <= at_once
    assert max(serving.served.values()) <= 2
    assert sorted(rows) == list(range(PAGES))
    assert "continuing" in said
