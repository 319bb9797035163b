"""`onward run`: starts again what dies, stops when it is told to, and gives up when nothing gets on."""

import json
import os
import pty
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from onward.cli.run import Supervisor, command_words
from onward.core.errors import UsageError
from surfaces.conftest import LOOP, MAP, Cli, Programs

# Dies three times, each time further on.
DIES = """
for item in onward.each(range(8), name="mortal"):
    if item in (2, 4, 6) and not pathlib.Path(f"died{item}").exists():
        pathlib.Path(f"died{item}").touch()
        os.kill(os.getpid(), 9)
    with open("done.txt", "a") as file:
        file.write(f"{item}\\n")
"""


def test_a_script_that_is_killed_is_started_again_until_it_has_finished(programs: Programs) -> None:
    done = programs.onward("run", "--delay", "0", "--max-restarts", "0", programs.write(DIES))
    assert done.returncode == 0, done.stderr
    assert programs.lines("done.txt") == [str(n) for n in range(8)]
    assert done.stderr.count("was killed by SIGKILL; starting it again") == 3


def test_without_anything_new_in_the_journal_it_gives_up(programs: Programs) -> None:
    name = programs.write("pathlib.Path('tries').open('a').write('x'); sys.exit(7)")
    done = programs.onward("run", "--delay", "0", "--max-restarts", "2", name, "--deep", "1")
    assert done.returncode == 1
    assert (programs.folder / "tries").read_text() == "xxx"
    assert (
        "ended with exit code 7; given up after 2 restarts without anything new in the journal" in done.stderr
    )
    assert "continue with: python job.py --deep 1" in done.stderr


def test_a_loop_in_which_everything_fails_is_not_started_again(cli: Cli, programs: Programs) -> None:
    """Each item was parked after three starts, and the next one had its turn."""
    text = """
for item in onward.each(range(100), name="down"):
    with open("tried.txt", "a") as file:
        file.write(f"{item}\\n")
    if not pathlib.Path("up").exists():
        raise ConnectionError("no route to host")
"""
    name = programs.write(text)
    done = programs.onward("run", "--delay", "0", "--max-restarts", "1000", name)
    assert done.returncode == 1
    assert programs.lines("tried.txt") == ["0", "0", "0", "1", "1", "1", "2"]
    assert "`down` stopped early: the last 3 items in a row" in done.stderr
    assert "because everything failed in down; it is not started again. Mend the cause" in done.stderr
    assert done.stderr.rstrip().endswith("continue with: python job.py")
    [one] = json.loads(cli("runs", "--json").stdout)["runs"]
    assert (one["state"], one["done"], one["failed"]) == ("failed", 0, 0)
    (programs.folder / "up").touch()
    assert programs.onward("run", name).returncode == 0
    assert programs.lines("tried.txt")[7:] == [str(n) for n in range(100)]


def test_a_map_in_which_everything_fails_is_not_started_again(programs: Programs) -> None:
    """It was started again for ever: each start retried what had failed, and called that getting on."""
    text = """
def fetch(number):
    with open("tried.txt", "a") as file:
        file.write(f"{number}\\n")
    raise ConnectionError("no route to host")

list(onward.map(fetch, range(100), name="down", concurrency=1, on_error="continue"))
"""
    done = programs.onward("run", "--delay", "0", programs.write(text))
    assert done.returncode == 1
    assert "because everything failed in down; it is not started again" in done.stderr
    assert len(programs.lines("tried.txt")) < 25


def test_an_error_that_the_script_has_handled_is_no_reason_to_leave_it_dead(programs: Programs) -> None:
    text = """
def fail(number):
    raise ConnectionError

try:
    list(onward.map(fail, range(100), name="optional", on_error="continue"))
except onward.TooManyFailures:
    pass
"""
    done = programs.onward("run", "--delay", "0", "--max-restarts", "0", programs.write(text + DIES))
    assert programs.lines("done.txt") == [str(n) for n in range(8)]
    assert done.stderr.count("was killed by SIGKILL; starting it again") == 3


def test_bad_items_one_after_the_other_are_given_up_one_by_one(programs: Programs) -> None:
    """Two of them took six starts in vain, and after five it gave up on the script."""
    text = """
for item in onward.each(range(6), name="poison"):
    if item in (2, 3):
        os.kill(os.getpid(), 9)
    with open("done.txt", "a") as file:
        file.write(f"{item}\\n")
"""
    done = programs.onward("run", "--delay", "0", "--max-restarts", "3", programs.write(text))
    assert done.returncode == 3, done.stderr
    assert programs.lines("done.txt") == ["0", "1", "4", "5"]


def test_an_item_that_fails_again_and_again_is_no_progress(programs: Programs) -> None:
    text = """
def fail(number):
    with open("tried.txt", "a") as file:
        file.write("x\\n")
    raise ConnectionError

list(onward.map(fail, [1], name="m"))
"""
    done = programs.onward("run", "--delay", "0", "--max-restarts", "3", programs.write(text))
    assert done.returncode == 1
    assert "given up after 3 restarts without anything new in the journal" in done.stderr
    assert len(programs.lines("tried.txt")) == 5


def test_restarts_that_get_on_are_not_counted_against_it(programs: Programs) -> None:
    text = DIES.replace("(2, 4, 6)", "range(1, 8)")
    done = programs.onward("run", "--delay", "0", "--max-restarts", "1", programs.write(text))
    assert done.returncode == 0, done.stderr


def test_a_run_that_was_begun_with_other_arguments_counts_too(programs: Programs) -> None:
    name = programs.write(DIES)
    assert programs.run(name, "--slowly").returncode == -9
    done = programs.onward("run", "--delay", "0", "--max-restarts", "0", name)
    assert done.returncode == 0, done.stderr


def test_arguments_and_output_are_the_scripts_own(programs: Programs) -> None:
    done = programs.onward("run", programs.write("print(sys.argv[1:])"), "--json", "-x", "--", "y")
    assert (done.returncode, done.stdout) == (0, "['--json', '-x', '--', 'y']\n")


def test_a_pass_with_failed_items_has_an_exit_code_of_its_own(programs: Programs) -> None:
    assert programs.onward("run", programs.write(MAP)).returncode == 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_passed_on_and_nothing_is_started_again(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    monkeypatch.setenv("HOLD_AT", "c")
    keeper = programs.start("-m", "onward.cli", "run", "--delay", "0", programs.write(LOOP))
    programs.wait_for("held")
    keeper.send_signal(number)
    _, err = keeper.communicate(timeout=100)
    assert keeper.returncode == code, err
    assert "stopped; continue with: python job.py" in err
    assert programs.lines("done.txt") == ["a", "b"]
    [one] = json.loads(cli("runs", "--json").stdout)["runs"]
    assert (one["state"], one["done"]) == ("pending", 2)


def test_ctrl_c_in_a_terminal_reaches_the_script_once(programs: Programs) -> None:
    """The terminal sends it to the script itself; a second one, passed on, would mean "at once"."""
    text = """
import signal
import socket
got = []
signal.signal(signal.SIGINT, lambda *_: got.append(1))
pathlib.Path("ready").touch()
while not got:
    time.sleep(0.01)
time.sleep(0.5)
pathlib.Path("got").write_text(str(len(got)))
sys.exit(130)
"""
    name = programs.write(text)
    keeper, terminal = pty.fork()
    if keeper == 0:
        os.chdir(programs.folder)
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        os.execv(sys.executable, [sys.executable, "-m", "onward.cli", "run", name])
    programs.wait_for("ready")
    os.write(terminal, b"\x03")
    programs.wait_for("got")
    with suppress(OSError):  # read to the end, so that nothing waits for us; the end is an error here
        while os.read(terminal, 1_000):
            pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1]) == 130
    assert (programs.folder / "got").read_text() == "1"


def test_a_signal_ends_the_wait_before_a_restart(programs: Programs) -> None:
    keeper = programs.start("-m", "onward.cli", "run", "--delay", "60", programs.write("sys.exit(1)"))
    assert keeper.stderr is not None
    while "starting it again" not in keeper.stderr.readline():
        assert keeper.poll() is None
    keeper.send_signal(signal.SIGTERM)
    assert keeper.wait(100) == 143


def test_fresh_sets_the_old_run_aside_but_not_the_one_it_has_begun(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = programs.write(LOOP)
    monkeypatch.setenv("DIE_AT", "c")
    programs.run(name)
    (programs.folder / "died").unlink()
    (programs.folder / "done.txt").unlink()
    monkeypatch.setenv("DIE_AT", "e")
    done = programs.onward("run", "--delay", "0", "--fresh", name)
    assert done.returncode == 0, done.stderr
    assert programs.lines("done.txt") == list("abcdef")
    assert [one["state"] for one in json.loads(cli("runs", "--json").stdout)["runs"]] == ["done", "cancelled"]


def test_a_function_is_called_with_the_arguments_as_strings(programs: Programs) -> None:
    programs.write("def main(*args):\n    print(args)\nasync def later(n):\n    print('later', n)", "jobs.py")
    assert programs.onward("run", "jobs:main", "1", "-v").stdout == "('1', '-v')\n"
    assert programs.onward("run", "jobs:later", "2").stdout == "later 2\n"


@pytest.mark.parametrize("target", ["jobs:nothing", "no_such_module:main"])
def test_a_function_that_is_not_there_is_said_once_and_not_tried_again(
    programs: Programs, target: str
) -> None:
    programs.write("", "jobs.py")
    done = programs.onward("run", "--delay", "0", target)
    assert done.returncode == 2
    assert done.stderr.count("nothing was started") == 1


@pytest.mark.parametrize("target", ["missing.py", "a b", ":main", "jobs:", "jobs:1x", "../x:y\x1b[2J"])
def test_what_is_neither_a_file_nor_a_function_is_wrong_usage(cli: Cli, target: str) -> None:
    result = cli("run", target)
    assert result.exit_code == 2
    assert "nothing was started" in result.stderr
    assert "\x1b" not in result.stderr
    with pytest.raises(UsageError):
        command_words(target, [])


def test_pauses_double_up_to_a_minute(programs: Programs, capfd: pytest.CaptureFixture[str]) -> None:
    pauses: list[float] = []

    def note(stop: threading.Event, seconds: float) -> bool:
        pauses.append(seconds)
        return False

    name = programs.write("sys.exit(1)")
    os.chdir(programs.folder)
    supervisor = Supervisor([name], max_restarts=8, delay_s=1, fresh=False, wait=note)
    assert supervisor.run() == 1
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert "given up after 8 restarts" in capfd.readouterr().err


def test_a_crash_loop_without_an_end_is_no_matter_of_arithmetic(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 1,024 restarts the doubled pause was more than a float holds, and the supervisor ended with a traceback."""
    monkeypatch.setattr(Supervisor, "_once", lambda self: 1)
    name = programs.write("")
    os.chdir(programs.folder)
    assert Supervisor([name], max_restarts=1_100, delay_s=0, fresh=False).run() == 1


def test_handlers_are_given_back(programs: Programs, journal: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    name = programs.write("pass")
    assert Supervisor([name], max_restarts=0, delay_s=0, fresh=False).run() == 0
    assert signal.getsignal(signal.SIGTERM) is before


# -- what a person has stopped, and what somebody else has -----------------------------------------------

# Notes each start and each item; waits at the item c for whoever acts meanwhile.
HELD = 'with open("starts.txt", "a") as file:\n    file.write("x\\n")\n' + LOOP
# The script may get over the error, and say with its exit code that not all is well.
HANDLES = """
try:
{}
except onward.OnwardError:
    sys.exit(1)
"""


def handling(text: str) -> str:
    return HANDLES.format("\n".join(f"    {line}" for line in text.splitlines()))


@pytest.mark.parametrize("manner", ["uncaught", "handled"])
@pytest.mark.parametrize(
    ("words", "code", "state", "said"),
    [
        (["pause"], 4, "paused", "was paused, so the script is not started again"),
        (["cancel"], 1, "cancelled", "was cancelled, so the script is not started again"),
        (["reset", "--yes"], 1, "cancelled", "was cancelled, so the script is not started again"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_what_a_person_has_stopped_is_not_started_again(
    cli: Cli,
    programs: Programs,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    state: str,
    said: str,
    manner: str,
) -> None:
    """It was taken for a crash: a pause lasted a second, and what was cancelled was done again from its beginning."""
    monkeypatch.setenv("HOLD_AT", "c")
    name = programs.write(HELD if manner == "uncaught" else handling(HELD))
    keeper = programs.start("-m", "onward.cli", "run", "--delay", "0", name)
    programs.wait_for("held")
    assert cli(*words, "letters").exit_code == 0
    (programs.folder / "go").touch()
    _, err = keeper.communicate(timeout=100)
    assert keeper.returncode == code, err
    assert said in err
    assert "starting it again" not in err
    assert programs.lines("starts.txt") == ["x"]
    assert programs.lines("done.txt") == ["a", "b", "c"]
    [one] = json.loads(cli("runs", "--json").stdout)["runs"]
    assert one["state"] == state
    if state == "paused":
        assert f"onward resume {one['id']}, then: python job.py" in err
        assert cli("resume", one["id"]).exit_code == 0
    assert programs.onward("run", name).returncode == 0
    begun_afresh = [] if state == "paused" else ["a", "b", "c"]
    assert programs.lines("done.txt")[3:] == [*begun_afresh, "d", "e", "f"]


@pytest.mark.parametrize(("word", "code"), [("pause", 4), ("cancel", 1)])
def test_what_a_person_stops_before_a_restart_is_not_started_again(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch, word: str, code: int
) -> None:
    monkeypatch.setenv("DIE_AT", "c")
    name = programs.write(LOOP)
    os.chdir(programs.folder)

    def act(stop: threading.Event, seconds: float) -> bool:
        assert cli(word, "letters").exit_code == 0
        return False

    assert Supervisor([name], max_restarts=5, delay_s=1, fresh=False, wait=act).run() == code
    assert programs.lines("done.txt") == ["a", "b"]


def test_a_script_that_has_got_over_a_stop_and_dies_of_something_else_is_started_again(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLD_AT", "c")
    text = f"""
if not pathlib.Path("went").exists():
    try:
{"".join(f"        {line}{chr(10)}" for line in LOOP.splitlines())}
    except onward.RunCancelled:
        pathlib.Path("went").touch()
    raise ValueError("of another kind")
"""
    keeper = programs.start("-m", "onward.cli", "run", "--delay", "0", programs.write(text))
    programs.wait_for("held")
    assert cli("cancel", "letters").exit_code == 0
    (programs.folder / "go").touch()
    _, err = keeper.communicate(timeout=100)
    assert keeper.returncode == 0, err
    assert err.count("starting it again") == 1


@pytest.mark.parametrize("manner", ["uncaught", "handled", "function"])
def test_what_another_process_executes_is_not_waited_for_and_done_again(
    programs: Programs, monkeypatch: pytest.MonkeyPatch, manner: str
) -> None:
    """Once the other had ended, a second pass did everything again."""
    monkeypatch.setenv("HOLD_AT", "c")
    body = "\n".join(f"    {line}" for line in LOOP.splitlines())
    text = {
        "uncaught": HELD,
        "handled": handling(HELD),
        "function": f"def main():\n{body}\nif __name__ == '__main__':\n    main()",
    }[manner]
    name = programs.write(text)
    first = (
        programs.start(name) if manner != "function" else programs.start("-m", "onward.cli.call", "job:main")
    )
    programs.wait_for("held")
    target = name if manner != "function" else "job:main"
    done = programs.onward("run", "--delay", "0", target)
    assert done.returncode == 75, done.stderr
    assert "so the script is not started again" in done.stderr
    assert "starting it again" not in done.stderr
    (programs.folder / "go").touch()
    assert first.wait(100) == 0
    assert programs.lines("done.txt") == list("abcdef")


def test_what_was_executed_elsewhere_is_forgotten_once_a_run_of_its_own_has_begun(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLD_AT", "c")
    first = programs.start(programs.write(LOOP))
    programs.wait_for("held")
    text = f"""
try:
    for item in onward.each("ab", name="letters"):
        pass
except onward.AlreadyRunning:
    pass
{DIES}
"""
    monkeypatch.delenv("HOLD_AT")
    done = programs.onward(
        "run", "--delay", "0", programs.write(text.replace("done.txt", "mine.txt"), "two.py")
    )
    assert done.returncode == 0, done.stderr
    assert programs.lines("mine.txt") == [str(n) for n in range(8)]
    first.kill()


@pytest.mark.parametrize("target", ["job.py", "job:main"])
def test_a_journal_that_is_none_ends_it_at_once(programs: Programs, journal: Path, target: str) -> None:
    """It was started again five times, as if the file could become a journal by itself."""
    journal.write_text("garbage" * 1_000)
    programs.write("def main():\n    for _ in onward.each([1]): pass\nif __name__ == '__main__':\n    main()")
    done = programs.onward("run", "--delay", "0", target)
    assert done.returncode == 2
    assert done.stderr.count("is not a journal") == 1
    assert "starting it again" not in done.stderr
    if target == "job.py":
        assert "job.py, line 3: for _ in onward.each([1]): pass" in done.stderr
        assert "a new start would not change" in done.stderr
        assert "contextlib" not in done.stderr


@pytest.mark.parametrize("target", ["job.py", "job:main"])
def test_a_call_that_is_a_mistake_ends_it(programs: Programs, target: str) -> None:
    programs.write(
        "def main():\n    list(onward.map(print, [1, 2], concurrency=0))\nif __name__ == '__main__':\n    main()"
    )
    done = programs.onward("run", "--delay", "0", target)
    assert done.returncode == 2
    if target == "job.py":
        assert done.stderr.count("concurrency=0 is not possible") == 2
        assert "ended twice because the same call cannot be carried out" in done.stderr
        assert "continue with: python job.py" in done.stderr


ASKS = """
@onward.step
def ask(number):
    if number == 3 and (ALWAYS or not os.path.exists("asked")):
        pathlib.Path("asked").touch()
        return object()
    return number

@onward.workflow
def work():
    return [ask(number) for number in range(6)]

print(work())
"""


def test_so_does_a_result_that_can_never_be_recorded(programs: Programs) -> None:
    done = programs.onward("run", "--delay", "0", programs.write(f"ALWAYS = True\n{ASKS}"))
    assert done.returncode == 2
    assert 1 <= done.stderr.count("starting it again") <= 2  # the first start has got on
    assert "what is recorded is kept" in done.stderr


def test_a_result_that_could_not_be_recorded_once_is_asked_for_again(programs: Programs) -> None:
    """An odd answer of a service in the night is no mistake in a call."""
    done = programs.onward("run", "--delay", "0", programs.write(f"ALWAYS = False\n{ASKS}"))
    assert (done.returncode, done.stdout) == (0, "[0, 1, 2, 3, 4, 5]\n"), done.stderr
    assert done.stderr.count("starting it again") == 1


def test_a_server_that_is_away_is_waited_for(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound, but nobody listens there
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://ada@127.0.0.1:{taken.getsockname()[1]}/app"
        monkeypatch.setenv("ONWARD_URL", url)
        done = programs.onward("run", "--delay", "0", "--max-restarts", "1", programs.write(LOOP))
    assert done.stderr.count("starting it again") == 1
