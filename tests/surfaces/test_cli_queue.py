"""`onward queue`: what a person sees of queues, and does about them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import onward
from onward.api import connect
from onward.core.flow import Limits, Quota
from onward.core.model import Claimed
from onward.runtime import registry
from onward.runtime.worker import Worker
from surfaces.conftest import Cli

pytestmark = pytest.mark.important


@pytest.fixture(autouse=True)
def _forget_queues() -> Iterator[None]:
    before = dict(registry._queues)
    yield
    registry._queues.clear()
    registry._queues.update(before)


@onward.workflow(name="pay", queue="payments")
def pay(n: int) -> int:
    if n % 3 == 0:
        raise TimeoutError("the bank is slow \x1b]0;owned\x07")
    if n % 3 == 1:
        raise ValueError("no such card")
    return n


def executed(queue: str = "payments") -> None:
    """Be a worker until nothing is ready; the journal of this process is closed then."""
    worker = Worker(connect.engine(), names=["pay"], queues=[queue])
    worker.run(burst=True)
    assert worker.rest(5) == 0
    connect.disconnect()


def shown(cli: Cli, *words: str) -> Any:
    result = cli("queue", *words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def limits_of(name: str) -> Limits:
    found = next(one.limits for one in connect.engine().store.queues() if one.name == name)
    connect.disconnect()
    return found


def test_without_a_journal_and_without_queues_it_says_so(cli: Cli) -> None:
    assert cli("queue").exit_code == 5
    onward.connect()
    connect.engine().store.now()
    connect.disconnect()
    assert "nothing was ever queued" in cli("queue").stderr


def test_the_list_shows_how_much_is_where_and_what_limits_it(cli: Cli) -> None:
    onward.Queue("payments", concurrency=4, per_key=str, rate="60/min burst 10")
    pay.start_many([2, 5, 8])
    pay.options(delay=3_600).start(11)
    connect.disconnect()
    text = cli("queue").stdout
    assert "payments" in text
    assert "concurrency 4, per_key_concurrency 1, rate 10 in 10 s" in text
    [document] = shown(cli)["queues"]
    assert {k: document[k] for k in ("pending", "waiting", "running", "failed")} == {
        "pending": 3,
        "waiting": 1,
        "running": 0,
        "failed": 0,
    }
    assert document["oldest_s"] >= 0
    assert document["limits"]["rate"] == {"value": [10, 10.0], "set_by": "code"}


def test_a_queue_that_is_paused_gives_nothing_until_it_is_resumed(cli: Cli) -> None:
    pay.start(2)
    connect.disconnect()
    assert "queue payments is paused" in cli("queue", "pause", "payments").stderr
    assert shown(cli)["queues"][0]["paused"] is True
    executed()
    assert shown(cli, "show", "payments")["queue"]["pending"] == 1
    assert "goes on" in cli("queue", "resume", "payments").stderr
    executed()
    assert shown(cli, "show", "payments")["queue"]["pending"] == 0


def test_limits_of_a_person_go_before_those_of_the_code_until_they_are_handed_back(cli: Cli) -> None:
    onward.Queue("payments", concurrency=4, per_worker=2)
    pay.start(2)
    connect.disconnect()
    result = cli("queue", "set", "payments", "--concurrency", "9", "--rate", "5/s", "--per-worker", "none")
    assert "concurrency 9*, per_worker none*, rate 5 in 1 s*" in result.stderr
    assert limits_of("payments") == Limits("payments", concurrency=9, rate=Quota(5, 1.0))
    assert "(set by a person)" in cli("queue", "show", "payments").stdout
    assert shown(cli, "set", "payments", "--default")["queue"]["limits"] == {
        "concurrency": {"value": 4, "set_by": "code"},
        "per_worker": {"value": 2, "set_by": "code"},
    }
    assert limits_of("payments") == Limits("payments", concurrency=4, per_worker=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--concurrency", "0"], "concurrency=0 is not possible"),
        (["--concurrency", "-1"], "takes a whole number or none"),
        (["--concurrency", "many"], "takes a whole number or none"),
        (["--concurrency", "9" * 5_000], "takes a whole number or none"),
        (["--per-key-concurrency", "1.5"], "takes a whole number or none"),
        (["--rate", "often"], "is not a rate"),
        (["--rate", "\x1b[31m"], "is not a rate"),
        (["--default", "--rate", "5/s"], "say either limits or --default"),
        ([], "say a limit"),
    ],
)
def test_impossible_limits_change_nothing(cli: Cli, words: list[str], said: str) -> None:
    pay.start(2)
    connect.disconnect()
    result = cli("queue", "set", "payments", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "\x1b" not in result.stderr
    assert limits_of("payments") == Limits("payments")


@pytest.mark.parametrize("command", ["show", "pause", "resume", "failed", "retry", "clear"])
def test_an_unknown_queue_is_told_with_the_near_one(cli: Cli, command: str) -> None:
    pay.start(2)
    connect.disconnect()
    result = cli("queue", command, "paymets")
    assert result.exit_code == 5
    assert "there is no queue `paymets`" in result.stderr
    assert "Did you mean `payments`?" in result.stderr
    assert len(cli("queue", command, "x" * 100_000).stderr) < 1_000


def test_failed_runs_are_listed_and_retried_all_or_some(cli: Cli) -> None:
    pay.options(tags=["vip"]).start_many([0, 1])
    pay.start_many([3, 4, 6, 2])
    executed()
    listed = shown(cli, "failed", "payments")["failed"]
    assert [one["error"]["message"][:5] for one in listed] == ["the b", "no su", "the b", "no su", "the b"]
    text = cli("queue", "failed", "payments").stdout
    assert "TimeoutError: the bank is slow" in text
    assert "\x1b]0;owned" not in text
    assert len(shown(cli, "failed", "payments", "--error", "TIMEOUT")["failed"]) == 3
    assert len(shown(cli, "failed", "payments", "--tag", "vip")["failed"]) == 2
    assert len(shown(cli, "failed", "payments", "--error", "card", "--tag", "vip")["failed"]) == 1
    assert len(shown(cli, "failed", "payments", "--name", "other")["failed"]) == 0
    assert len(shown(cli, "failed", "payments", "--older", "1h")["failed"]) == 0
    done = shown(cli, "retry", "payments", "--error", "TimeoutError")
    assert (done["retried"], done["queue"]["failed"], done["queue"]["pending"]) == (3, 2, 3)
    assert "2 runs are ready again" in cli("queue", "retry", "payments").stderr
    assert shown(cli, "show", "payments")["queue"]["failed"] == 0


def test_very_many_failed_runs_are_retried_some_at_a_time(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onward.core.limits.RETRY_RUNS", 4)
    pay.start_many([1] * 11)
    executed()
    assert shown(cli, "retry", "payments")["retried"] == 11
    executed()
    assert shown(cli, "show", "payments")["queue"]["failed"] == 11


def test_clear_cancels_what_has_never_begun_and_asks_before(cli: Cli) -> None:
    pay.start_many([1, 2, 5])
    pay.options(delay=3_600).start(8)
    pay.options(queue="other").start(2)
    engine = connect.engine()
    claimed, _ = engine.claim_ready(["pay"], ["payments"], 1)
    assert isinstance(claimed, Claimed)
    engine.give_back([run for run, _ in claimed.runs])
    connect.disconnect()
    assert cli("queue", "clear", "payments").exit_code == 2
    assert "nothing was changed" in cli("queue", "clear", "payments", answer="n\n").stderr
    document = shown(cli, "clear", "payments", "--yes")
    assert (document["cancelled"], document["queue"]["pending"], document["queue"]["waiting"]) == (3, 1, 0)
    assert shown(cli, "show", "other")["queue"]["pending"] == 1


def test_json_goes_behind_the_command(cli: Cli) -> None:
    assert "--json goes behind the command" in cli("queue", "--json", "list").stderr
