"""Who takes part: each queue on the stores that it is made for, as it comes and as well as we know how to set it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Store = Literal["SQLite", "PostgreSQL", "Redis"]


@dataclass(frozen=True)
class Contestant:
    """One queue on one store. `settings` are words that its script takes; the first is how its documentation begins."""

    name: str
    title: str
    job: str  # the script in jobs/
    store: Store
    environment: str = ""  # whose pins it needs, in ../rivals/requirements; empty for this checkout
    package: str = ""
    settings: tuple[str, ...] = ("default", "tuned")
    jobs: int = 1_000  # that are enqueued and drained: enough for a rate, few enough for patience


FIELD = (
    Contestant("onward-sqlite", "onward", "onward_queue", "SQLite", "", "onward", ("default", "bulk"), 20_000),
    Contestant("onward-postgres", "onward", "onward_queue", "PostgreSQL", "", "onward", ("default", "bulk"), 20_000),
    Contestant("huey", "Huey", "huey_queue", "SQLite", "huey", "huey"),
    Contestant("dbos-sqlite", "DBOS", "dbos_queue", "SQLite", "dbos", "dbos", jobs=300),
    Contestant("dbos-postgres", "DBOS", "dbos_queue", "PostgreSQL", "dbos", "dbos", jobs=300),
    Contestant("procrastinate", "Procrastinate", "procrastinate_queue", "PostgreSQL", "procrastinate", "procrastinate"),
    Contestant("pgqueuer", "PgQueuer", "pgqueuer_queue", "PostgreSQL", "pgqueuer", "pgqueuer", jobs=5_000),
    Contestant("celery", "Celery", "celery_queue", "Redis", "celery", "celery"),
    Contestant("rq", "RQ", "rq_queue", "Redis", "rq", "rq", jobs=300),
)  # fmt: skip
