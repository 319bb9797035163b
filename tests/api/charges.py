"""A step that is executed at most once, and a workflow that calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onward

calls: list[Any] = []


def job_of(charge: Callable[[int], Any]) -> onward.Workflow[[], Any]:
    @onward.workflow(name="job")
    def job() -> Any:
        return [charge(5), "shipped"]

    return job


def charging(fate: Callable[[], None], **options: Any) -> onward.Step[[int], str]:
    @onward.step(at_most_once=True, **options)
    def charge(cents: int) -> str:
        calls.append(cents)
        fate()
        return f"receipt {len(calls)}"

    return charge
