"""Workflows over several lives: children, loops and maps inside them."""

# Loops are what is tested here, so they stay loops.
# ruff: noqa: PERF402
from __future__ import annotations

import pytest

import onward
from api.lives import Fate, Killed, outcomes, runs, the_run, two_lives
from api.steps import calls, fetch, save


def test_a_workflow_inside_a_workflow_is_recorded_once_as_a_whole() -> None:
    fate = Fate()

    @onward.workflow(name="child")
    def child(what: str) -> str:
        calls.append(f"child of {what}")
        return fetch(what) + fetch("more")

    @onward.workflow
    def job() -> str:
        got = child("a")
        fate()
        return got

    assert two_lives(job) == "<a><more>"
    assert calls == ["child of a", "a", "more"]
    assert list(outcomes()) == ["child#1 > fetch#1", "child#1 > fetch#2", "child#1"]
    assert len(runs()) == 1


def test_a_child_that_was_interrupted_continues_inside() -> None:
    fate = Fate()

    @onward.workflow(name="child")
    def child() -> str:
        got = fetch("a")
        fate()
        return got + fetch("b")

    @onward.workflow
    def job() -> str:
        return child()

    assert two_lives(job) == "<a><b>"
    assert calls == ["a", "b"]


@pytest.mark.parametrize("at", ["a", "b", "c", "after"])
def test_a_loop_in_a_workflow_leaves_the_same_variables_wherever_it_died(at: str) -> None:
    fate = Fate()

    @onward.workflow
    def job() -> list[str]:
        got = []
        for item in onward.each("abc"):
            got.append(fetch(item))
            if item == at:
                fate()
        if at == "after":
            fate()
        return got

    assert two_lives(job) == ["<a>", "<b>", "<c>"]
    assert calls == ["a", "b", "c"]


def test_variables_come_out_the_same_when_the_steps_stand_deeper_in_the_body() -> None:
    """Only steps called directly in the body made it run again; those inside a gather did not."""
    fate = Fate()

    @onward.workflow
    def job() -> list[str]:
        got: list[str] = []
        for item in onward.each("ab"):
            got += onward.gather(lambda: fetch(item + "1"), lambda: fetch(item + "2"))  # noqa: B023
        for item in onward.each("c"):
            for inner in onward.each("d"):
                got.append(fetch(item + inner))
        for item in onward.each("e"):
            got += onward.map(fetch, [item + "f"])
        fate()
        return got

    assert two_lives(job) == ["<a1>", "<a2>", "<b1>", "<b2>", "<cd>", "<ef>"]
    assert sorted(calls) == ["a1", "a2", "b1", "b2", "cd", "ef"]


def test_a_body_without_steps_runs_once() -> None:
    fate, bodies = Fate(), []

    @onward.workflow
    def job() -> None:
        for item in onward.each("ab"):
            bodies.append(item)
        fate()

    two_lives(job)
    assert bodies == ["a", "b"]


def test_a_map_in_a_workflow_gives_the_recorded_results_and_does_the_rest() -> None:
    fate = Fate()

    def work(item: str) -> str:
        if item == "c":
            fate()
        return fetch(item)

    @onward.workflow
    def job() -> list[str]:
        return list(onward.map(work, "abcd", concurrency=1))

    assert two_lives(job) == ["<a>", "<b>", "<c>", "<d>"]
    assert calls == ["a", "b", "c", "d"]


def test_steps_in_the_body_of_a_loop_survive_with_their_item() -> None:
    fate, got = Fate(), []
    for _ in range(2):
        try:
            for item in onward.each("ab", name="loop"):
                page = fetch(item)
                if item == "b":
                    fate()
                save(page)
                got.append(page)
        except Killed:
            continue
    assert got == ["<a>", "<b>"]
    assert calls == ["a", ("save", "<a>"), "b", ("save", "<b>")]
    assert "each/b > fetch#1" in outcomes()


def test_a_workflow_in_the_body_of_a_loop_survives_with_its_item() -> None:
    fate = Fate()

    @onward.workflow(name="child")
    def child(item: str) -> str:
        got = fetch(item)
        fate()
        return got

    for _ in range(2):
        try:
            for item in onward.each("a", name="loop"):
                assert child(item) == "<a>"
        except Killed:
            continue
    assert calls == ["a"]
    assert the_run().state == "done"


def test_a_loop_left_by_break_in_a_workflow_is_left_at_the_same_item_again() -> None:
    fate = Fate()

    @onward.workflow
    def job() -> str:
        found = ""
        for item in onward.each("abcd"):
            found = fetch(item)
            if item == "b":
                break
        last = fetch("after")
        fate()
        return found + last

    assert two_lives(job) == "<b><after>"
    assert calls == ["a", "b", "after"]


def test_inner_loops_are_told_apart_by_their_place() -> None:
    @onward.workflow
    def job() -> None:
        for outer in onward.each([1, 2]):
            for inner in onward.each([1, 2]):
                fetch((outer, inner))
        for inner in onward.each([1]):
            fetch(("second", inner))

    job()
    assert len(calls) == 5
    assert "each#1/2 > each#1/1 > fetch#1" in outcomes()
    assert "each#2/1 > fetch#1" in outcomes()


def test_equal_items_of_a_loop_in_a_workflow_are_done_as_often_as_they_occur() -> None:
    fate = Fate()

    @onward.workflow
    def job() -> list[str]:
        got = []
        for item in onward.each("aab"):
            got.append(fetch(item))
            if item == "b":
                fate()
        return got

    assert two_lives(job) == ["<a>", "<a>", "<b>"]
    assert calls == ["a", "a", "b"]
