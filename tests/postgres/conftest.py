"""Stores on a schema of their own, opened directly or through a proxy that fails on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from onward.storage.postgres.store import PostgresStore
from postgres.proxy import Proxy, proxied
from postgres.server import Server, fresh_schema

Open = Callable[..., PostgresStore]


@pytest.fixture
def schema() -> str:
    return fresh_schema()


@pytest.fixture
def proxy(postgres_server: Server) -> Iterator[Proxy]:
    with proxied(postgres_server.port) as proxy:
        yield proxy


@pytest.fixture
def open_store(postgres_server: Server, schema: str) -> Iterator[Open]:
    """Opens stores on one journal; they are closed at the end."""
    with ExitStack() as opened:

        def opening(*, port: int | None = None, user: str = "postgres", **given: Any) -> PostgresStore:
            url = postgres_server.url(port=port, user=user, schema=schema)
            store = PostgresStore(url, **given)
            opened.callback(store.close)
            return store

        yield opening
