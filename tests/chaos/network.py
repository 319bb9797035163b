"""A PostgreSQL server behind a proxy for each client, and what can be done to servers and networks."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack

from postgres.proxy import Fault, Proxy, proxied
from postgres.server import Server

# What is in the requests that write: the COMMIT of a transaction, and the statements that are one by themselves.
_WRITES = (b"commit", b"commit", b"record", b"add_alone")


class Network:
    """The last proxy is that of those who start runs."""

    def __init__(self, server: Server, schema: str, clients: int, chance: random.Random) -> None:
        self._server, self._chance = server, chance
        self._opened = ExitStack()
        self._proxies = [self._opened.enter_context(proxied(server.port)) for _ in range(clients)]
        self._dark: dict[Proxy, float] = {}  # until when
        self.urls = [server.url(port=proxy.port, schema=schema) for proxy in self._proxies]

    @property
    def faults(self) -> dict[str, Callable[[], None]]:
        return {
            "backends terminated": self._terminate,
            "server restarted": self._restart,
            "connections reset": self._reset,
            "black hole": self._go_dark,
            "half-open": self._half_open,
            "cut after COMMIT": self._cut_after,
            "cut before COMMIT": self._cut_before,
        }

    def _terminate(self) -> None:
        """About half of them."""
        self._server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'onward' "
            "AND random() < 0.5"
        )

    def _restart(self) -> None:
        """As after a crash of all of its processes."""
        self._server.stop(immediate=True)
        time.sleep(self._chance.uniform(0.1, 0.8))
        self._server.start()

    def _reset(self) -> None:
        self._chance.choice(self._proxies).cut_all()

    def _go_dark(self) -> None:
        """Nothing passes for a while; then what was under way arrives after all, or never."""
        for proxy in self._in_the_light():
            proxy.spares_new = False
            proxy.go_dark()
            self._dark[proxy] = time.monotonic() + self._chance.uniform(1.0, 5.0)

    def _half_open(self) -> None:
        """The connections that there are lead nowhere, and neither side is told; new ones are sound."""
        for proxy in self._in_the_light():
            proxy.spares_new = True
            proxy.go_dark()
            self._dark[proxy] = time.monotonic() + self._chance.uniform(2.0, 6.0)

    def _in_the_light(self) -> list[Proxy]:
        """One of them, if not most are dark: somebody has to work."""
        light = [proxy for proxy in self._proxies if proxy not in self._dark]
        return [self._chance.choice(light)] if len(light) > len(self._proxies) // 2 else []

    def _cut_after(self) -> None:
        self._arm("cut behind")

    def _cut_before(self) -> None:
        self._arm("cut before")

    def _arm(self, fault: Fault) -> None:
        """At the next write of a client, most often of a worker."""
        proxy = self._chance.choice([*self._proxies[:-1], *self._proxies])
        if not proxy.word:
            proxy.arm(self._chance.choice(_WRITES), fault)

    def heal(self, now: float = float("inf")) -> None:
        """Those pass again whose time has come; at the end nothing is armed any more."""
        for proxy, until in list(self._dark.items()):
            if until <= now:
                proxy.heal(deliver=self._chance.random() < 0.5)
                del self._dark[proxy]
        if now == float("inf"):
            for proxy in self._proxies:
                proxy.word = b""

    def close(self) -> None:
        self._opened.close()
