"""One rival, one death: started, caught at item 300, killed with SIGKILL, started again with the same command."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from field import Rival
from job import Contest, Job, numbers_in
from pages import Answer
from place import redis_for

# The site answers those that are dead by now; that is not yet the second life.
_SETTLE_S = 0.2


@dataclass(frozen=True)
class Outcome:
    """What the site and the output file say after the second life."""

    never: int  # items whose page was never sent
    again: int  # pages that were sent more often than once
    lost: int  # rows that should be in the output file and are not
    doubled: int  # rows that are in it more often than once
    continued_s: float | None  # from the second start to its first page; None if there was none
    finished_s: float  # from the second start to its last page


def story(rival: Rival, setting: str, python: Path, moment: str, folder: Path, contest: Contest) -> Outcome:
    """Both lives. Raises Unavailable if the job cannot run here at all."""
    folder.mkdir(parents=True)
    site = contest.site
    assert site is not None, "a story is judged by what the site saw"
    site.forget()
    with redis_for(rival, setting, folder) as url:
        job = Job(rival, setting, python, folder, contest, url)
        job.prepare()
        job.live_until_caught(moment)
        time.sleep(_SETTLE_S)
        begun_at = time.monotonic()
        job.live_to_the_end()
        if rival.exports:
            job.run("rows")
    return judged(folder / "rows.jsonl", site.answers, contest.items, begun_at)


def judged(rows: Path, answers: list[Answer], items: int, begun_at: float) -> Outcome:
    sent = Counter(answer.number for answer in answers)
    kept = Counter(numbers_in(rows))
    second = [answer.at for answer in answers if answer.at > begun_at]
    return Outcome(
        never=sum(number not in sent for number in range(items)),
        again=sum(sent.values()) - len(sent),
        lost=sum(number not in kept for number in range(items)),
        doubled=sum(kept.values()) - len(kept),
        continued_s=min(second) - begun_at if second else None,
        finished_s=max(second, default=begun_at) - begun_at,
    )
