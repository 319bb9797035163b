"""Steps: recorded once under a stable key, in functions and methods, sync and async."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import onward
from api.lives import Fate, Killed, outcomes, runs, the_run, two_lives
from api.steps import calls
from onward.api import connect
from onward.core import decide
from onward.runtime import session


@onward.step
def fetch(what: str, page: int = 1) -> str:
    calls.append(what)
    return what.upper()


def test_outside_of_a_run_a_step_is_a_plain_call() -> None:
    assert [fetch("a"), fetch("a")] == ["A", "A"]
    assert calls == ["a", "a"]
    assert runs() == []


def test_a_recorded_step_is_not_executed_again() -> None:
    life = Fate()

    @onward.workflow
    def job() -> list[str]:
        got = [fetch("a"), fetch("b")]
        life()
        return [*got, fetch("c")]

    assert two_lives(job) == ["A", "B", "C"]
    assert calls == ["a", "b", "c"]
    assert outcomes() == {"fetch#1": "done", "fetch#2": "done", "fetch#3": "done"}


def test_a_step_is_on_disk_when_its_call_returns() -> None:
    @onward.workflow
    def job() -> None:
        for count in range(1, 4):
            fetch("a")
            stored = connect.engine().store.entries(the_run().no)
            assert [e.key for e in stored if e.kind == "step"] == [f"fetch#{n}" for n in range(1, count + 1)]

    job()


def test_a_key_of_its_own_names_a_call() -> None:
    @onward.workflow
    def job() -> None:
        fetch.options(key="rome")("a")
        fetch("b")

    job()
    assert list(outcomes()) == ["fetch/rome", "fetch#1"]


def test_the_same_key_twice_in_one_scope_gives_the_recorded_value_or_diverges() -> None:
    @onward.workflow
    def job(second: str) -> list[str]:
        named = fetch.options(key="same")
        return [named("a"), named(second)]

    assert job("a") == ["A", "A"]
    assert calls == ["a"]
    with pytest.raises(onward.Diverged, match="fetch/same"):
        job("b")


def test_arguments_may_be_anything_and_count_by_their_type() -> None:
    life = Fate()

    @onward.step
    def query(connection: object, city: str) -> str:
        calls.append(city)
        return city

    @onward.workflow
    def job() -> str:
        got = query(threading.Lock(), "rome")
        life()
        return got

    assert two_lives(job) == "rome"
    assert calls == ["rome"]


def test_an_argument_at_its_default_may_be_left_out_later() -> None:
    life = Fate()

    @onward.workflow
    def job() -> str:
        got = fetch("a", 1) if life.deaths else fetch(what="a")
        life()
        return got

    assert two_lives(job) == "A"


def test_a_step_in_a_step_is_recorded_in_its_scope() -> None:
    life = Fate()

    @onward.step
    def outer() -> str:
        got = fetch("inner")
        life()
        return got

    @onward.workflow
    def job() -> str:
        return outer()

    name = outer.name
    assert two_lives(job) == "INNER"
    assert calls == ["inner"]
    assert list(outcomes()) == [f"{name}#1 > fetch#1", f"{name}#1"]


def test_a_step_costs_no_more_when_it_is_replayed_than_a_look_into_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    life = Fate()

    @onward.workflow
    def job() -> None:
        for _ in range(20):
            fetch("a")
        decided.clear()
        life()

    decided: list[object] = []
    real = decide.decide
    monkeypatch.setattr(session, "decide", lambda *a, **k: decided.append(a) or real(*a, **k))
    with pytest.raises(Killed):
        job()
    job()
    assert len(decided) == 1  # that the run is done


# -- methods ------------------------------------------------------------------------------------------


class Client:
    def __init__(self, city: str) -> None:
        self.city = city

    @onward.step
    def pull(self, page: int) -> str:
        calls.append((self.city, page))
        return f"{self.city}{page}"

    @onward.step
    async def pull_async(self, page: int) -> str:
        return f"{self.city}{page}"

    @staticmethod
    @onward.step
    def static(page: int) -> int:
        return page

    @classmethod
    @onward.step
    def of_class(cls, page: int) -> str:
        return f"{cls.__name__}{page}"


def test_methods_are_steps() -> None:
    life = Fate()

    @onward.workflow
    def job() -> list[object]:
        client = Client("rome")
        got = [client.pull(1), client.pull(page=2), client.static(3), Client.of_class(4)]
        life()
        return got

    assert two_lives(job) == ["rome1", "rome2", 3, "Client4"]
    assert calls == [("rome", 1), ("rome", 2)]
    assert list(outcomes()) == ["Client.pull#1", "Client.pull#2", "Client.static#1", "Client.of_class#1"]


def test_async_methods_are_steps() -> None:
    @onward.workflow
    async def job() -> str:
        return await Client("rome").pull_async(1)

    assert asyncio.run(job()) == "rome1"
    assert list(outcomes()) == ["Client.pull_async#1"]


def test_a_decorator_below_step_keeps_its_name_and_arguments() -> None:
    def shouting(fn: Any) -> Any:
        @functools.wraps(fn)
        def wrapper(*args: Any) -> Any:
            return fn(*args) + "!"

        return wrapper

    @onward.step
    @shouting
    def greet(whom: str) -> str:
        return f"hello {whom}"

    @onward.workflow
    def job() -> str:
        return greet("you")

    assert job() == "hello you!"
    assert list(outcomes()) == ["greet#1"]


# -- what cannot be a step ----------------------------------------------------------------------------


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        (generator, "is a generator, whose values cannot be recorded one by one"),
        (async_generator, "is a generator"),
        (Client, "goes on a function or method, not"),
        ("fetch", "goes on a function or method, not"),
        (staticmethod(len), "put @staticmethod above @onward"),
    ],
)
@pytest.mark.parametrize("decorator", ["step", "workflow"])
def test_what_cannot_be_recorded_is_refused_where_it_is_defined(
    decorator: str, thing: object, says: str
) -> None:
    with pytest.raises(onward.UsageError, match=says):
        getattr(onward, decorator)(thing)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_attempts": 0}, "max_attempts=0 is not possible; give a number of at least 1"),
        ({"max_attempts": "3"}, "max_attempts='3' is not possible"),
        ({"max_attempts": True}, "max_attempts=True is not possible"),
        ({"max_crashes": 0}, "max_crashes=0 is not possible"),
        ({"backoff": -1}, "backoff=-1 is not possible"),
        ({"backoff": float("nan")}, "backoff=nan is not possible"),
        ({"max_atempts": 3}, "there is no option max_atempts; there are .*max_attempts"),
        ({"retry_on": "ConnectionError"}, "retry_on= takes exception classes"),
        ({"name": ""}, "a name is a printable str"),
        ({"name": "a > b"}, "a name does not contain ' > '"),
    ],
)
def test_impossible_options_are_refused_where_they_are_given(options: dict[str, Any], says: str) -> None:
    with pytest.raises(onward.UsageError, match=says):
        onward.step(**options)(generator.__call__)
    with pytest.raises(onward.UsageError, match=says):
        fetch.options(**options)
