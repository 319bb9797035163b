"""A workflow that is interrupted after its step: for tests of which run a call means."""

from __future__ import annotations

import onward
from api.lives import die
from api.steps import calls


@onward.step
def fetch(what: str) -> str:
    calls.append(what)
    return what.upper()


def dying_workflow(deaths: int = 1) -> onward.Workflow[[str], str]:
    """A workflow whose first lives end after its step."""
    lives = iter(range(100))

    @onward.workflow(name="job")
    def job(what: str) -> str:
        got = fetch(what)
        if next(lives) < deaths:
            die()
        return got

    return job
