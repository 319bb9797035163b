"""`onward failed`: what failed, with what it was; and `retry` and `skip` of single items."""

import csv
import io
import json
from pathlib import Path

import pytest

from onward.api.journal import Journal
from onward.core.errors import PayloadError
from surfaces.conftest import Cli, Programs

# Items of every kind: two fail, one of them as a dict; one kills its process until it is parked.
PROGRAM = """
ITEMS = [{"url": "a"}, {"url": "b"}, {"url": "c"}]

def fetch(item):
    if pathlib.Path("mended").exists():
        return item["url"]
    if item["url"] == "a":
        raise ValueError("=HYPERLINK(bad) \\x1b]0;owned\\x07")
    if item["url"] == "b":
        os.kill(os.getpid(), 9)
    raise ConnectionError("no route")

for _ in onward.map(fetch, ITEMS, name="fetches", key=lambda item: item["url"], concurrency=1, on_error="continue",
                    max_attempts=2, backoff=0, max_crashes=1):
    pass
"""
ONE = """
def work(item):
    raise ValueError("bad")

class Odd:
    pass

for _ in onward.map(work, [Odd()], name="odd", key=lambda item: "x", on_error="continue"):
    pass
for _ in onward.map(work, ["x" * 100_000], name="large", on_error="continue"):
    pass
"""


@pytest.fixture
def failing(programs: Programs) -> Programs:
    name = programs.write(PROGRAM)
    while programs.run(name).returncode == -9:
        pass
    return programs


def test_failed_and_parked_items_are_listed_with_what_they_were(cli: Cli, failing: Programs) -> None:
    result = cli("failed", "fetches")
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert sorted(lines) == ["a", "b", "c"]
    assert '{"url":"a"}' in lines["a"].replace(" ", "")
    assert "2 attempts" in lines["a"]
    assert "ValueError: =HYPERLINK(bad)" in lines["a"]
    assert "parked" in lines["b"]
    assert "\x1b" not in result.stdout
    assert "onward retry fetches-" in result.stderr


def test_programs_get_all_of_it(cli: Cli, failing: Programs) -> None:
    document = json.loads(cli("failed", "fetches", "--json").stdout)
    by_key = {one["key"]: one for one in document["failed"]}
    assert json.loads(by_key["a"]["item"]) == {"url": "a"}
    assert by_key["a"]["error"]["class"].endswith("ValueError")
    assert (by_key["a"]["state"], by_key["b"]["state"], by_key["a"]["attempts"]) == ("failed", "parked", 2)
    with Journal.existing() as journal:
        assert [one.item() for one in journal.failed("fetches")] == [{"url": k} for k in "abc"]


def test_a_table_holds_all_of_it_and_nothing_that_a_spreadsheet_would_calculate(
    cli: Cli, failing: Programs
) -> None:
    assert cli("failed", "fetches", "--csv", "failed.csv").exit_code == 0
    with open(failing.folder / "failed.csv", newline="") as file:
        rows = {row["key"]: row for row in csv.DictReader(file)}
    assert json.loads(rows["c"]["item"]) == {"url": "c"}
    assert rows["c"]["error"] == "ConnectionError"
    assert rows["a"]["message"].startswith("'=HYPERLINK")
    on_stdout = cli("failed", "fetches", "--csv", "-").stdout
    assert len(list(csv.reader(io.StringIO(on_stdout)))) == 4


def test_a_table_that_cannot_be_written_is_a_sentence(cli: Cli, failing: Programs) -> None:
    result = cli("failed", "fetches", "--csv", "no/such/folder.csv")
    assert result.exit_code == 2
    assert "cannot be written (No such file or directory)" in result.stderr
    assert cli("failed", "fetches", "--csv", "-", "--json").exit_code == 2


def test_a_run_without_failures_says_so(cli: Cli, programs: Programs) -> None:
    programs.run(programs.write("for _ in onward.each([1], name='fine'): pass"))
    assert "no item of fine-" in cli("failed", "fine").stderr
    assert json.loads(cli("failed", "fine", "--json").stdout)["failed"] == []


def test_an_item_that_cannot_be_kept_or_is_large_fails_all_the_same(cli: Cli, programs: Programs) -> None:
    programs.run(programs.write(ONE))
    for name in ("odd", "large"):
        [one] = json.loads(cli("failed", name, "--json").stdout)["failed"]
        assert one["item"] is None
        with (
            Journal.existing() as journal,
            pytest.raises(PayloadError, match="was not kept with its failure"),
        ):
            journal.failed(name)[0].item()


def test_a_parked_item_of_a_loop_is_kept_too(cli: Cli, programs: Programs) -> None:
    name = programs.write("""
for item in onward.each([["deep", {"n": 1}]], name="loop", max_crashes=1):
    os.kill(os.getpid(), 9)
""")
    programs.run(name)
    programs.run(name)
    [one] = json.loads(cli("failed", "loop", "--json").stdout)["failed"]
    assert one["state"] == "parked"
    assert json.loads(one["item"]) == ["deep", {"n": 1}]


# -- single items -----------------------------------------------------------------------------------


def test_only_the_named_items_are_tried_again(cli: Cli, failing: Programs) -> None:
    result = cli("retry", "fetches", "a", "b")
    assert "2 failed units will be tried again" in result.stderr
    (failing.folder / "mended").touch()
    failing.run("job.py")
    left = json.loads(cli("failed", "fetches", "--json").stdout)
    assert [one["key"] for one in left["failed"]] == ["c"]
    assert left["run"]["done"] == 2
    assert cli("retry", "fetches").exit_code == 0
    failing.run("job.py")
    assert json.loads(cli("show", "fetches", "--json").stdout)["run"]["state"] == "done"


def test_a_key_that_has_not_failed_changes_nothing(cli: Cli, failing: Programs) -> None:
    result = cli("retry", "fetches", "a", "nobody")
    assert result.exit_code == 2
    assert "no failed item `nobody`" in result.stderr
    assert len(json.loads(cli("failed", "fetches", "--json").stdout)["failed"]) == 3
    assert cli("retry", "fetches", "nobody").exit_code == 2


def test_a_skipped_item_is_no_longer_listed(cli: Cli, failing: Programs) -> None:
    assert cli("skip", "fetches", "b").exit_code == 0
    assert sorted(one["key"] for one in json.loads(cli("failed", "fetches", "--json").stdout)["failed"]) == [
        "a",
        "c",
    ]


def test_a_key_as_the_journal_has_it_is_understood_too(journal: Path, cli: Cli, failing: Programs) -> None:
    with Journal.existing() as there:
        assert there.retry("fetches", "map/a", "a").units == 1
