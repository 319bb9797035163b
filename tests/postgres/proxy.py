"""A TCP proxy before the tests' server that fails on demand: at a certain request, in a certain way."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Literal

# What becomes of a request that holds the awaited word. Cut: the connection is reset, before the request has passed or
# when its answer has come, which nobody gets. Black hole: nothing passes any more in either direction, on no
# connection, beginning with the request or right behind it.
Fault = Literal["cut before", "cut behind", "black hole before", "black hole behind"]
FAULTS: tuple[Fault, ...] = ("cut before", "cut behind", "black hole before", "black hole behind")

_CHUNK = 1 << 16


class Proxy:
    """Listens on `port`. `arm` sets the next fault; `heal` ends a black hole."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.word, self.fault = b"", FAULTS[0]
        self.struck = threading.Event()
        self.light = threading.Event()  # cleared: a black hole
        self.light.set()
        self.delivers = False
        self.spares_new = False  # whether connections that are made within a black hole pass
        self._pairs: list[_Pair] = []
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, word: bytes, fault: Fault) -> None:
        """Strike at the next request that holds `word`: once."""
        self.struck.clear()
        self.word, self.fault = word, fault

    def go_dark(self) -> None:
        """From now on packets vanish, in both directions, on old and new connections."""
        self.light.clear()

    def heal(self, *, deliver: bool = False) -> None:
        """Everything passes again: with `deliver` also what was on its way, else those connections are reset."""
        self.delivers = deliver
        self.light.set()

    def cut_all(self) -> None:
        """Reset every connection."""
        while self._pairs:  # others may be made meanwhile
            self._pairs.pop().reset()

    def close(self) -> None:
        self._closed = True
        self.heal()
        self._listener.close()
        self.cut_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                _reset(client)
                continue
            self._pairs.append(_Pair(self, client, server))
            if self._closed:
                self.cut_all()


class _Pair:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._spared = proxy.spares_new and not proxy.light.is_set()
        self._mute = threading.Event()  # answers are swallowed
        self._answered = threading.Event()
        threading.Thread(target=self._requests, daemon=True).start()
        threading.Thread(target=self._answers, daemon=True).start()

    def reset(self) -> None:
        _reset(self._client)
        _reset(self._server)

    def _requests(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._client.recv(_CHUNK):
                proxy = self._proxy
                if proxy.word and proxy.word in data:
                    fault, proxy.word = proxy.fault, b""
                    if self._strike(fault, data):
                        continue
                if self._passes():
                    self._server.sendall(data)
            if self._passes():  # a goodbye vanishes in a black hole like anything else
                self._server.shutdown(socket.SHUT_WR)

    def _strike(self, fault: Fault, data: bytes) -> bool:
        """Do it; whether the request has been dealt with."""
        behind = fault.endswith("behind")
        if behind:
            self._mute.set()
            self._server.sendall(data)
            self._answered.wait(30)
        if fault.startswith("black hole"):
            self._proxy.go_dark()
        else:
            self.reset()
        self._proxy.struck.set()
        return behind

    def _answers(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(_CHUNK):
                if self._mute.is_set():
                    self._answered.set()
                elif self._passes():
                    self._client.sendall(data)
            if self._passes():
                self._client.shutdown(socket.SHUT_WR)
        self._answered.set()  # or never will be

    def _passes(self) -> bool:
        """Wait out a black hole; raises OSError if what vanished stays lost."""
        if self._spared or self._proxy.light.is_set():
            return True
        self._proxy.light.wait()
        if not self._proxy.delivers:
            self.reset()
            raise OSError
        return True


def _reset(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextlib.contextmanager
def proxied(server_port: int) -> Iterator[Proxy]:
    proxy = Proxy(server_port)
    try:
        yield proxy
    finally:
        proxy.close()
