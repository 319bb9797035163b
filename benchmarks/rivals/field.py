"""Who takes part, and how each is used: its job, its settings and what it needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rival:
    """One way to do the job. `settings` are the words its job takes; the first is how its documentation begins."""

    name: str
    title: str
    job: str
    settings: tuple[str, ...] = ("default",)
    package: str = ""  # whose version is told; empty for what needs none
    queue: bool = False  # a worker that never ends by itself, fed by `prepare` beforehand
    redis: bool = False
    exports: bool = False  # its rows are written by the command `rows`
    crawls: bool = False  # asks for pages by itself, so that its cost cannot be measured without them
    atonce: int = 1  # items that may be in hand at the same time, as it is used here


FIELD = (
    Rival("plain", "plain loop", "plain"),
    Rival("onward.each", "onward.each", "onward_each", package="onward"),
    Rival("onward.map", "onward.map, 8 at once", "onward_map", package="onward", atonce=8),
    Rival("done.txt", "done.txt by hand", "done_txt", ("default", "synced")),
    Rival("joblib", "joblib.Memory", "joblib_memory", package="joblib"),
    Rival("scrapy", "Scrapy JOBDIR", "scrapy_jobdir", ("feed", "pipeline"), "scrapy", crawls=True),
    Rival("crawlee", "Crawlee", "crawlee_queue", ("files", "sqlite"), "crawlee", exports=True, crawls=True),
    Rival("huey", "Huey (SQLite)", "huey_sqlite", ("default", "synced"), "huey", queue=True),
    Rival("celery", "Celery (Redis)", "celery_redis", ("default", "late"), "celery", queue=True, redis=True),
    Rival("rq", "RQ (Redis)", "rq_redis", ("default", "retried"), "rq", queue=True, redis=True),
    Rival("dbos", "DBOS (SQLite)", "dbos_sqlite", package="dbos"),
)
