"""Isolated steps of scripts: their file is imported by another process, or that is refused."""

# A test waits by looking.
from __future__ import annotations

from pathlib import Path

from api.lives import python, told, write_script

# -- scripts ------------------------------------------------------------------------------------------


def test_a_script_is_imported_under_another_name_and_its_classes_are_recorded_as_its_own(
    tmp_path: Path,
) -> None:
    script = write_script(
        tmp_path,
        """
        import dataclasses, sys
        import onward

        print("top", __name__, flush=True)

        @dataclasses.dataclass
        class Order:
            number: int

        @onward.step(isolate=True)
        def double(order):
            return Order(order.number * 2)

        @onward.workflow
        def job():
            order = double(Order(2))
            if not sys.argv[1:]:
                raise ValueError("later")
            return order

        if __name__ == "__main__":
            print(job())
        """,
    )
    first = python(script, cwd=tmp_path)
    assert "ValueError: later" in first.stderr
    assert first.stdout.splitlines() == ["top __main__", "top __onward_main__"]
    second = python(script, "again", cwd=tmp_path)
    assert second.stdout.splitlines() == ["top __main__", "Order(number=4)"], second.stderr


def test_a_script_that_would_work_when_it_is_imported_is_refused(tmp_path: Path) -> None:
    script = write_script(
        tmp_path,
        """
        import onward

        @onward.step(isolate=True)
        def one():
            return 1

        @onward.workflow
        def job():
            return one()

        job()
        """,
    )
    message = told(python(script, cwd=tmp_path))
    assert 'Put what starts the work below `if __name__ == "__main__":`' in message


def test_a_module_begun_by_name_and_a_prompt(tmp_path: Path) -> None:
    text = (
        "import onward\n@onward.step(isolate=True)\ndef one():\n    return 1\n"
        "@onward.workflow\ndef job():\n    return one()\n"
        'if __name__ == "__main__":\n    print(job())\n'
    )
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").touch()
    (tmp_path / "pkg" / "jobs.py").write_text(text)
    assert python("-m", "pkg.jobs", cwd=tmp_path).stdout == "1\n"
    assert "Put the definition into a module" in told(python("-c", text, cwd=tmp_path))


def test_an_error_while_the_function_is_imported_is_the_steps_error(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "steps.py").write_text(
        "import os, onward\n"
        "if os.getpid() != int(os.environ.setdefault('FIRST', str(os.getpid()))): raise ImportError('no luck')\n"
        "@onward.step(isolate=True)\ndef one():\n    return 1\n"
    )
    script = write_script(
        tmp_path,
        """
        import onward, steps

        @onward.workflow
        def job():
            try:
                return steps.one()
            except ImportError as error:
                return str(error)

        if __name__ == "__main__":
            print(job())
        """,
    )
    assert python(script, cwd=tmp_path).stdout == "no luck\n"
