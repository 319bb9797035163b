"""`onward replay` of loops and maps: what is recorded passes by, and nothing that is not recorded is executed."""

import json

import pytest

from surfaces.conftest import LOOP, MAP, Programs
from surfaces.replaying import replay

pytestmark = pytest.mark.faults

WORLD = """
def world(what):
    with open("world.txt", "a") as file:
        file.write(f"{what}\\n")
@onward.step
def fetch(n):
    world(f"fetch {n}")
    return 10 * n
"""
# It dies in item 2, between two steps, unless it is mended.
STEPS = (
    WORLD
    + """
@onward.step
def save(n):
    world(f"save {n}")
    return n
out = onward.jsonl("rows.jsonl")
total = 0
for item in onward.each(range(5)):
    page = fetch(item)
    out.write(page)
    if item == 2 and pathlib.Path("sick").exists(): os.kill(os.getpid(), 9)
    total += save(page)
world("after")
"""
)


@pytest.fixture
def killed(programs: Programs) -> Programs:
    """A loop that was killed in its third item, and has been mended since."""
    sick = programs.folder / "sick"
    sick.touch()
    assert programs.run(programs.write(STEPS)).returncode == -9
    sick.unlink()
    return programs


def document(programs: Programs, run: str, *words: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(replay(programs, run, "--json", *words).stdout)
    variables = found["variables"]
    assert isinstance(variables, dict)
    variables.pop("out", None)  # the sink, whose text has an address in it
    return found


# -- loops --------------------------------------------------------------------------------------------------


def test_a_killed_loop_is_followed_to_the_item_it_died_in(programs: Programs) -> None:
    assert programs.run(programs.write("DIE_AT = os.environ['DIE_AT'] = 'c'\n" + LOOP)).returncode == -9
    before = programs.lines("done.txt")
    done = replay(programs, "letters")
    assert done.returncode == 0
    assert "2 recorded outcomes were used" in done.stdout
    assert (
        "it comes to each/c, which has begun and is not done: that would be executed now (job.py, line 4)"
        in done.stdout
    )
    assert "the item = 'c'" in done.stdout
    assert "continue it for real: python job.py" in done.stdout
    assert programs.lines("done.txt") == before == ["a", "b"]


def test_no_body_is_run_and_no_row_is_written(killed: Programs) -> None:
    rows = (killed.folder / "rows.jsonl").read_text()
    (killed.folder / "rows.jsonl").write_text(
        rows[:-1]
    )  # as after a power failure: a real pass would complete it
    found = document(killed, "job.py")
    assert (found["ended"], found["key"], found["item"], found["used"]) == ("unrecorded", "each/2", "2", 2)
    assert found["variables"] == {"total": "0"}
    assert (killed.folder / "rows.jsonl").read_text() == rows[:-1]


def test_a_finished_loop_is_all_recorded(killed: Programs) -> None:
    assert killed.run("job.py").returncode == 0
    found = document(killed, "job.py")
    assert (found["ended"], found["fits"], found["used"], found["unused"]) == ("returned", True, 5, [])


def test_a_finished_loop_whose_list_has_grown_no_longer_fits(killed: Programs) -> None:
    assert killed.run("job.py").returncode == 0
    killed.write(STEPS.replace("range(5)", "[0, 1, 7, 2, 3, 4]"))
    done = replay(killed, "job.py")
    assert done.returncode == 1
    assert "it comes to each/7, which is not recorded" in done.stdout
    assert "although recorded is that it is done" in done.stdout


def test_what_the_list_no_longer_brings_is_told(killed: Programs) -> None:
    assert killed.run("job.py").returncode == 0
    killed.write(STEPS.replace("range(5)", "[0, 2, 4]"))
    assert "2 were not asked for, first each/1" in replay(killed, "job.py").stdout


def test_another_list_is_told_as_it_would_be(killed: Programs) -> None:
    killed.write(STEPS.replace("range(5)", "'xyz'"))
    done = replay(killed, "job.py")
    assert done.returncode == 1
    assert "this is another list" in done.stdout


def test_parked_items_pass_by(programs: Programs) -> None:
    text = LOOP.replace(
        'with open("done.txt"', "if item == 'b': raise OSError('bad b')\n    with open(\"done.txt\""
    )
    programs.write(text)
    assert [programs.run("job.py").returncode for _ in range(4)] == [1, 1, 1, 0]
    found = document(programs, "letters")
    assert (found["ended"], found["fits"], found["used"]) == ("raised", True, 6)
    assert found["error"] == "RunFailed: 1 item has failed, and all others are done"


def test_a_loop_that_was_cancelled_is_followed_too(killed: Programs) -> None:
    killed.onward("cancel", "job.py")
    found = document(killed, "job.py")
    assert (found["ended"], found["key"], found["fits"]) == ("unrecorded", "each/2", True)


# -- into a body --------------------------------------------------------------------------------------------


def test_the_body_it_died_in_is_entered_when_asked_and_ends_before_the_step_that_is_not_recorded(
    killed: Programs,
) -> None:
    found = document(killed, "job.py", "--enter")
    assert (found["ended"], found["key"], found["at"]) == ("unrecorded", "each/2 > save#1", "job.py, line 21")
    assert found["variables"] == {"total": "0", "item": "2", "page": "20"}


def test_a_step_of_a_done_item_can_be_looked_at(killed: Programs) -> None:
    found = document(killed, "job.py", "--to", "each/1 > save#1")
    assert (found["ended"], found["key"]) == ("reached", "each/1 > save#1")
    assert found["variables"] == {"total": "0", "item": "1", "page": "10"}


def test_a_body_that_contradicts_its_record_is_told(killed: Programs) -> None:
    killed.write(STEPS.replace("fetch(item)", "fetch(item + 1)"))
    done = replay(killed, "job.py", "--enter")
    assert done.returncode == 1
    assert "no longer matches its record at `each/2 > fetch#1`" in done.stdout


def test_a_body_without_steps_runs_to_its_end_and_no_further(programs: Programs) -> None:
    text = (
        "for n in onward.each([1, 2], name='n'):\n"
        "    if n == 2 and not pathlib.Path('ok').exists(): os.kill(os.getpid(), 9)\n    x = n\nprint('after')"
    )
    assert programs.run(programs.write(text)).returncode == -9
    (programs.folder / "ok").touch()
    done = replay(programs, "n", "--enter")
    assert "it comes to each/2, which has begun and is not done" in done.stdout
    assert "x = 2" in done.stdout
    assert "after" not in done.stdout


def test_an_error_of_the_body_is_told_with_its_line(killed: Programs) -> None:
    killed.write(STEPS.replace("    out.write(page)", "    out.write(page)\n    raise KeyError(item)"))
    done = replay(killed, "job.py", "--enter")
    assert "it raised KeyError: 2" in done.stdout
    assert "(job.py, line 20)" in done.stdout


@pytest.mark.parametrize(
    "body",
    [
        "    try: save(page)\n    except BaseException: pass\n    save(7)\n",
        "    break\nsave(7)\n",
        "    continue\nsave(7)\n",
    ],
    ids=["catches everything", "breaks", "continues"],
)
def test_whatever_the_body_does_no_step_is_executed(killed: Programs, body: str) -> None:
    killed.write(STEPS.replace("    total += save(page)\n", body))
    found = document(killed, "job.py", "--enter")
    assert found["ended"] == "unrecorded"


def test_a_batch_is_entered_as_one(programs: Programs) -> None:
    text = WORLD + (
        "for some in onward.each(range(6), name='some', batch=2):\n"
        "    pages = [fetch(n) for n in some]\n"
        "    if 2 in some and pathlib.Path('sick').exists(): os.kill(os.getpid(), 9)\n"
        "    fetch(99)\n"
    )
    (programs.folder / "sick").touch()
    assert programs.run(programs.write(text)).returncode == -9
    (programs.folder / "sick").unlink()
    assert document(programs, "some")["key"] == "each/2"
    found = document(programs, "some", "--enter")
    assert found["ended"] == "unrecorded"
    assert str(found["key"]).endswith(" > fetch#3")
    variables = found["variables"]
    assert isinstance(variables, dict)
    assert (variables["some"], variables["pages"]) == ("[2, 3]", "[20, 30]")


def test_async_loops_are_followed_and_entered(programs: Programs) -> None:
    text = """
import asyncio
def world(what):
    with open("world.txt", "a") as file:
        file.write(f"{what}\\n")
@onward.step
async def fetch(n):
    world(f"fetch {n}")
    return 10 * n
async def numbers():
    for n in range(5): yield n
async def main():
    async for n in onward.each(numbers(), name="numbers"):
        page = await fetch(n)
        if n == 2 and pathlib.Path("sick").exists(): os.kill(os.getpid(), 9)
        await fetch(page)
asyncio.run(main())
"""
    (programs.folder / "sick").touch()
    assert programs.run(programs.write(text)).returncode == -9
    (programs.folder / "sick").unlink()
    found = document(programs, "numbers")
    assert (found["key"], found["at"], found["item"]) == ("each/2", "job.py, line 14", "2")
    found = document(programs, "numbers", "--enter")
    assert (found["key"], found["variables"]) == ("each/2 > fetch#2", {"n": "2", "page": "20"})


# -- maps ---------------------------------------------------------------------------------------------------


def test_a_map_gives_its_recorded_results_and_failures(programs: Programs) -> None:
    programs.run(programs.write(MAP))
    done = replay(programs, "halves")
    assert done.returncode == 0
    assert "4 recorded outcomes were used" in done.stdout
    assert "1 item has failed, and all others are done, as recorded" in done.stdout


def test_a_killed_map_gives_what_is_recorded_and_ends_before_the_rest(programs: Programs) -> None:
    text = (
        "def half(n):\n    if n == 3: os.kill(os.getpid(), 9)\n    return n / 2\n"
        "got = []\nfor one in onward.map(half, [1, 2, 3, 4], name='halves', concurrency=1):\n    got.append(one)\n"
        "print('after')"
    )
    assert programs.run(programs.write(text)).returncode == -9
    found = document(programs, "halves")
    assert (found["ended"], found["key"], found["item"]) == ("unrecorded", "map/3", "3")
    assert found["variables"] == {"got": "[0.5, 1.0]", "one": "1.0"}
    text = text.replace("got = []", "import asyncio\nasync def main(got=[]):\n  got = []").replace(
        "for one", "  async for one"
    )
    text = text.replace("    got.append", "      got.append").replace("print('after')", "asyncio.run(main())")
    programs.write(text)
    assert document(programs, "halves")["variables"] == {"got": "[0.5, 1.0]", "one": "1.0"}


def test_a_map_that_raised_is_told_where(programs: Programs) -> None:
    text = (
        "def half(n):\n    if n == 3: raise ValueError('three is odd')\n    return n / 2\n"
        "for one in onward.map(half, [1, 2, 3, 4], name='halves', concurrency=1): print(one)\n"
    )
    assert programs.run(programs.write(text)).returncode == 1
    done = replay(programs, "halves")
    assert done.returncode == 0
    assert "it raised ValueError: three is odd at map/3 (job.py, line 5)" in done.stdout


# -- finding the loop ---------------------------------------------------------------------------------------


def test_other_work_before_it_is_not_done_again(programs: Programs) -> None:
    text = WORLD + (
        "@onward.workflow\ndef plan(n): return [fetch(k) for k in range(n)]\n"
        "for _ in onward.each('ab', name='first'): world('first')\n"
        "pages = list(onward.map(fetch, [1, 2], name='pages'))\n"
        "for n in onward.each(plan(4), name='second'):\n"
        "    if n == 20: os.kill(os.getpid(), 9)\n"
        "    world(n)\n"
    )
    assert programs.run(programs.write(text)).returncode == -9
    found = document(programs, "second")
    assert (found["key"], found["used"]) == ("each/20", 2)
    variables = found["variables"]
    assert isinstance(variables, dict)
    assert variables["pages"] == "[10, 20]"


@pytest.mark.parametrize("last", ["c", "a"])
def test_a_pass_of_several_at_one_place_is_found_by_its_number_or_its_list(
    programs: Programs, last: str
) -> None:
    """In the second case the script begins with the list that it was killed in, as one that looks for new work does."""
    text = (
        "for city in sys.argv[1]:\n    for n in onward.each([f'{city}{k}' for k in range(4)]):\n"
        "        if n == 'c2' and len(sys.argv) == 2: os.kill(os.getpid(), 9)\n"
    )
    assert programs.run(programs.write(text), "abc").returncode == -9
    cities = "abc" if last == "c" else "cab"
    programs.write(text.replace("sys.argv[1]", repr(cities)))
    found = document(programs, "job.py")
    assert (found["key"], found["used"]) == ("each/c2", 2)


def test_a_renamed_script_is_named(killed: Programs) -> None:
    (killed.folder / "job.py").rename(killed.folder / "renamed.py")
    done = replay(killed, "job.py")
    assert done.returncode == 2
    assert done.stderr.startswith("onward: there is no script job.py"), done.stderr
    assert document(killed, "job.py", "--script", "renamed.py")["key"] == "each/2"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("print('nothing here')", "ended without coming to the loop `job.py`"),
        (
            "raise KeyError('no config')",
            "ended with an error before the loop `job.py` (KeyError: 'no config')",
        ),
        ("for _ in onward.map(len, ['a'], name='new'): pass", "comes to `new` before the loop `job.py`"),
    ],
)
def test_a_program_that_does_not_come_to_it_is_told(killed: Programs, text: str, why: str) -> None:
    killed.write(text, "other.py")
    done = replay(killed, "job.py", "--script", "other.py")
    assert done.returncode == 2
    assert why in done.stderr


def test_a_module_that_is_only_imported_does_not_come_to_a_loop(killed: Programs) -> None:
    done = replay(killed, "job.py", "--app", "job")
    assert done.returncode == 2
    assert "Name it: --script FILE" in done.stderr


def test_a_source_behind_a_cursor_stands_where_it_stands(programs: Programs) -> None:
    text = (
        "cursor = onward.cursor('since', start=0)\n"
        "def pages():\n    at = cursor.value\n    while at < 9: at += 1; yield at\n"
        "for n in onward.each(pages(), name='pages'):\n"
        "    if n == 4 and pathlib.Path('sick').exists(): os.kill(os.getpid(), 9)\n"
        "    cursor.advance(n)\n"
    )
    (programs.folder / "sick").touch()
    assert programs.run(programs.write(text)).returncode == -9
    found = document(programs, "pages")
    assert (found["key"], found["item"]) == ("each/4", "4")


# -- in the debugger ----------------------------------------------------------------------------------------


def test_the_debugger_opens_in_front_of_the_item_and_goes_on_into_its_body(killed: Programs) -> None:
    typed = "p ('at', total)\nn\nn\np ('page', page)\nq\n"
    done = replay(killed, "job.py", "--enter", "--to", "each/2", "--pdb", typed=typed)
    assert "at each/2" in done.stderr
    assert "('at', 0)" in done.stdout
    assert "('page', 20)" in done.stdout
    assert done.returncode == 0


def test_behind_a_progress_bar_the_line_of_the_loop_is_shown(programs: Programs) -> None:
    text = (
        "from rich.progress import track\n"
        "for n in track(onward.each([1, 2], name='n'), total=2):\n    if n == 2: os.kill(os.getpid(), 9)\n"
    )
    assert programs.run(programs.write(text)).returncode == -9
    assert document(programs, "n")["at"] == "job.py, line 3"
