"""The names at the top level: found when they are used, the same for Python and for type checkers."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import onward

SOURCE = Path(onward.__file__)


def imported_for_checkers() -> dict[str, str]:
    """Name -> home, as the block for type checkers says it."""
    found: dict[str, str] = {}
    for node in ast.parse(SOURCE.read_text()).body:
        if isinstance(node, ast.If):
            for line in node.body:
                assert isinstance(line, ast.ImportFrom)
                assert line.module is not None
                for name in line.names:
                    found[name.asname or name.name] = line.module.removeprefix("onward.")
    return found


def test_type_checkers_and_python_find_each_name_in_the_same_place() -> None:
    homes = {**onward._HOME, "aio": "onward", "current": "api.wait"}
    assert imported_for_checkers() == homes
    assert sorted(homes) == onward.__all__


@pytest.mark.parametrize("name", onward.__all__)
def test_each_name_is_there(name: str) -> None:
    assert getattr(onward, name) is not None
    assert name in dir(onward)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="`onward` has no attribute 'eech'"):
        onward.eech  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_loads_nothing_that_is_not_used() -> None:
    code = "import sys, onward; print([m for m in sys.modules if m.startswith('onward.') or m == 'apsw'])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
