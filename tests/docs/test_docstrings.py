"""Every public name says what it does, shows a call that compiles, and says what it raises."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from types import ModuleType

import pytest

import onward
import onward.aio

MODULES: tuple[ModuleType, ...] = (onward, onward.aio)
NAMES = [
    f"{module.__name__}.{name}"
    for module in MODULES
    for name in module.__all__
    if not inspect.ismodule(getattr(module, name))
]


def thing(name: str) -> object:
    module, _, last = name.rpartition(".")
    return getattr(onward.aio if module == "onward.aio" else onward, last)


def is_error(found: object) -> bool:
    return inspect.isclass(found) and issubclass(found, BaseException)


CALLS = [name for name in NAMES if not inspect.isclass(thing(name))]
CLASSES = [name for name in NAMES if inspect.isclass(thing(name)) and not is_error(thing(name))]
ERRORS = [name for name in NAMES if is_error(thing(name))]


def text_of(name: str) -> str:
    text = inspect.getdoc(thing(name))
    assert text, f"{name} has no docstring"
    return text


def examples(text: str) -> list[str]:
    """The indented blocks of a docstring."""
    blocks = re.findall(r"(?:^    .*\n?|^\n(?=    ))+", text, re.MULTILINE)
    return [textwrap.dedent(block).strip("\n") for block in blocks if block.strip()]


@pytest.mark.parametrize("name", CALLS)
def test_a_function_shows_a_call_and_says_what_it_raises(name: str) -> None:
    text = text_of(name)
    called = (
        name
        if thing(name) is not getattr(onward, name.rpartition(".")[2], None)
        else f"onward.{name.rpartition('.')[2]}"
    )
    shown = [example for example in examples(text) if called in example]
    assert shown, f"the docstring of {name} shows no call of it"
    # "is raised", "raises", "gets AlreadyRunning", "is refused with RunConflict": in the words that read best.
    assert re.search(r"\b[Rr]ais|\brefuse|Error\b", text), (
        f"the docstring of {name} does not say what it raises"
    )


@pytest.mark.parametrize("name", CALLS + CLASSES)
def test_an_example_compiles_and_uses_names_that_exist(name: str) -> None:
    for example in examples(text_of(name)):
        tree = ast.parse(f"async def main():\n{textwrap.indent(example, '    ')}")
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "onward"
            ):
                assert hasattr(onward, node.attr), f"{name} shows onward.{node.attr}, which does not exist"


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_shows_its_use_or_names_the_function_that_does(name: str) -> None:
    text = text_of(name)
    named = re.findall(r"`(?:onward\.)?(\w+)(?:=)?`", text)
    makers = [f"onward.{one}" for one in named if f"onward.{one}" in CALLS]
    assert examples(text) or makers or "map" in text, (
        f"{name} neither shows its use nor names what returns it"
    )


# What is promised, in the words that read best.
PROMISE = re.compile(
    r"durabl|on disk|record|whole or not|once|never|the same|replay|surviv|kept|restart|crash|kill|death|continue|again"
)


@pytest.mark.parametrize("name", CALLS)
def test_a_function_says_what_it_promises_when_work_is_interrupted(name: str) -> None:
    assert PROMISE.search(text_of(name)), (
        f"the docstring of {name} does not say what survives or happens once"
    )


def methods(name: str) -> list[tuple[str, Callable[..., object]]]:
    """The public methods and properties of a class, as functions."""
    found = [
        (member, value) for member, value in inspect.getmembers(thing(name)) if not member.startswith("_")
    ]
    plain = [(member, value.fget if isinstance(value, property) else value) for member, value in found]
    return [(member, value) for member, value in plain if inspect.isfunction(value)]


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_method_has_a_docstring_and_types(name: str) -> None:
    for member, method in methods(name):
        assert inspect.getdoc(method), f"{name}.{member} has no docstring"
        signature = inspect.signature(method)
        given = [
            parameter for parameter in signature.parameters.values() if parameter.name not in ("self", "cls")
        ]
        untyped = [parameter.name for parameter in given if parameter.annotation is parameter.empty]
        assert not untyped, f"{name}.{member} does not say what {untyped[0]} is"
        assert signature.return_annotation is not signature.empty, (
            f"{name}.{member} does not say what it returns"
        )


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_method_that_raises_says_so_or_its_class_does(name: str) -> None:
    told = re.compile(r"\b[Rr]ais|\brefuse|Error\b")
    for member, method in methods(name):
        tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
        raises = any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(tree))
        text = f"{inspect.getdoc(method)} {text_of(name)}"
        assert not raises or told.search(text), f"{name}.{member} raises, and nothing says so"


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_says_when_it_is_raised(name: str) -> None:
    text = text_of(name)
    assert len(text) > 20
    assert text.rstrip().endswith((".", "`")), f"the docstring of {name} is no sentence"


@pytest.mark.parametrize("name", CALLS)
def test_a_function_has_types_for_all_that_it_takes_and_returns(name: str) -> None:
    found = thing(name)
    if not inspect.isfunction(found):
        return
    signature = inspect.signature(found)
    assert signature.return_annotation is not signature.empty, f"{name} does not say what it returns"
    for parameter in signature.parameters.values():
        assert parameter.annotation is not parameter.empty, f"{name} does not say what {parameter.name} is"


def test_the_rules_find_what_they_are_for() -> None:
    assert examples("Does it.\n\n    onward.each(1)\n\n    x = 2\n\nMore.") == ["onward.each(1)\n\nx = 2"]
    assert examples("Does it.\n\nMore.") == []
    assert {"onward.each", "onward.aio.sleep", "onward.schedule"} <= {*CALLS}
    assert {"onward.Queue", "onward.Handle", "onward.Workflow"} <= {*CLASSES}
    assert {"start", "start_many", "options"} <= {member for member, _ in methods("onward.Workflow")}
    assert {"result", "pause", "cancel"} <= {member for member, _ in methods("onward.Handle")}
    assert len(CALLS) + len(CLASSES) + len(ERRORS) == len(NAMES)
