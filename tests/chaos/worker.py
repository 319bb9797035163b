"""A worker process of the chaos tests: `python -m chaos.worker URL FOLDER AHEAD_S [MUTANT]`.

It executes the jobs of `chaos.jobs` until it is ended. The clock on its wall is AHEAD_S off: that is done before
anything of the product is imported, which may keep the function that reads it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

_, url, folder, ahead, *mutant = sys.argv
if float(ahead):
    right = time.time
    time.time = lambda: right() + float(ahead)

from chaos import jobs, mutants  # noqa: E402
from onward.api import connect  # noqa: E402
from onward.api.working import work  # noqa: E402

if __name__ == "__main__":
    jobs.enter(Path(folder))
    for name in mutant:
        mutants.plant(name)
    jobs.watch_doubts()
    engine = connect._engine = jobs.opened(url)
    jobs.note(jobs.WORKERS, what="up", off=engine.store.now() - time.clock_gettime(time.CLOCK_REALTIME))
    left = work(concurrency=4, drain_s=1.0, told=jobs.told)
    jobs.note(jobs.WORKERS, what="down", left=left)
    connect.disconnect()
