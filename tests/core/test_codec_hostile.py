"""Whoever can write rows can forge values, but runs no code and sees no other error than PayloadError."""

import base64
import dataclasses
import enum
import json
import pathlib
import re
import subprocess
import sys
import textwrap
import typing

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from onward.core.codec import decode, decode_error, encode, encode_error
from onward.core.errors import PayloadError, StepFailed

pytestmark = pytest.mark.important


class Colour(enum.Enum):
    RED = "r"


class Right(enum.Flag, boundary=enum.STRICT):
    READ = 1


class Point(typing.NamedTuple):
    x: int


@dataclasses.dataclass
class Order:
    id: int
    total: int


class Bomb:
    """Neither a dataclass nor anything else that is recorded."""

    def __init__(self) -> None:
        raise AssertionError("constructed")

    __new__ = __init__  # type: ignore[assignment]

    def __reduce__(self) -> str:
        raise AssertionError("reduced")


class Broken(Exception):
    def __init__(self, *_: object) -> None:
        raise AssertionError("constructed")


HERE = __name__
LONG = base64.b64encode(bytes(200_000)).decode()


def tagged(tag: object, v: object = None, **parts: object) -> str:
    return json.dumps({"$t": tag, "v": v, **parts})


TAGS = [
    "int", "float", "complex", "decimal", "fraction", "bytes", "bytearray", "str", "tuple", "set",
    "frozenset", "dict", "ordereddict", "counter", "deque", "datetime", "date", "time", "timedelta",
    "uuid", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath", "enum", "flag", "namedtuple",
    "dataclass", "attrs", "struct", "model", "ndarray", "numpy", "pandas.Timestamp", "pandas.Timedelta",
    "pandas.NaT", "pandas.NA", "pandas.Index", "pandas.Series", "pandas.DataFrame",
]  # fmt: skip

MALFORMED = {
    "nothing": "",
    "half": '{"a":',
    "two": "1 2",
    "a pickle": base64.b64decode("gASVHQAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAJpZJSFlFKULg==").decode("latin-1"),
    "a pickle of protocol 0": "cos\nsystem\n(S'id'\ntR.",
    "yaml": "!!python/object/apply:os.system ['id']",
    "nan": "NaN",
    "infinity": "[-Infinity]",
    "the same key twice": '{"a":1,"a":2}',
    "the tag twice": '{"$t":"int","$t":"decimal","v":"1"}',
    "a huge number": "9" * 100_000,
    "a deep list": "[" * 100_000 + "]" * 100_000,
    "a deep object": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "a deep tag": '{"$t":"tuple","v":[' * 100_000 + "]}" * 100_000,
    "an unknown tag": tagged("os.system", "id"),
    "no tag": tagged(None),
    "a number for a tag": tagged(1),
    "a list for a tag": tagged(["tuple"]),
    "a tag inside a tag": '{"$t":{"$t":"str","v":"dHVwbGU="},"v":[]}',
    "an object for a tag": '{"$t":{"a":1}}',
    "an escaped tag key": '{"\\u0024t":"os:system","v":1}',
    "no v": '{"$t":"tuple"}',
    "too many parts": tagged("decimal", "1", c="os:system"),
    "a nested unknown": json.dumps([{"a": {"$t": "dict", "v": [[1, {"$t": "evil"}]]}}]),
    # Each tag with the wrong shape.
    **{
        f"{tag} of {shape!r}"[:60]: tagged(tag, shape)
        for tag in TAGS
        for shape in (1.5, True, "\x00no", [None, 3], {"a": {}}, [[[]]])
        if (tag, shape) not in (
            ("tuple", [None, 3]), ("tuple", [[[]]]), ("set", [None, 3]), ("frozenset", [None, 3]), ("deque", [None, 3]),
            ("deque", [[[]]]), ("counter", {"a": {}}), ("PosixPath", "\x00no"), ("PurePosixPath", "\x00no"),
            ("PureWindowsPath", "\x00no"),
        )
    },
    "an int without hex": tagged("int", "5"),
    "an int that needs no tag": tagged("int", "0x5"),
    "an int with underscores": tagged("int", "0x" + "f_f" * 20),
    "a float as text": tagged("float", "1.5"),
    "a decimal with spaces": tagged("decimal", " 1"),
    "a fraction over nothing": tagged("fraction", [1, 0]),
    "a fraction not in lowest terms": tagged("fraction", [2, 4]),
    "bytes that are not base64": tagged("bytes", "!!!!"),
    "bytes with rubbish between": tagged("bytes", "YQ=\n="),
    "a set with twins": tagged("set", [1, 1]),
    "a set with a list": tagged("set", [[]]),
    "a dict with twins": tagged("dict", [[1, 1], [1, 2]]),
    "a dict with three": tagged("dict", [[1, 1, 1]]),
    "a dict with an unhashable key": tagged("dict", [[[], 1]]),
    "a deque beyond its end": tagged("deque", [1, 2], m=1),
    "a deque without sense": tagged("deque", [], m=-1),
    "a day that is none": tagged("date", "2026-02-30"),
    "a week date": tagged("date", "2026-W01-1"),
    "a zone that climbs": tagged("datetime", "2026-01-01T00:00:00", z="../../etc/passwd"),
    "a zone with an absolute path": tagged("datetime", "2026-01-01T00:00:00", z="/etc/passwd"),
    "a zone nobody knows": tagged("datetime", "2026-01-01T00:00:00", z="Mars/Base"),
    "a zone that is a package": tagged("time", "00:00:00", z="__init__.py"),
    "an offset beyond a day": tagged("datetime", "2026-01-01T00:00:00", z=[2, 0, 0]),
    "a fold of two": tagged("time", "00:00:00", f=2),
    "a duration beyond all": tagged("timedelta", [10**12, 0, 0]),
    "a uuid in braces": tagged("uuid", "{" + "0" * 32 + "}"),
    "a path that is not normal": tagged("PurePosixPath", "a//b"),
    "an enum without that member": tagged("enum", "GREEN", c=f"{HERE}:Colour"),
    "an enum's dunder": tagged("enum", "__class__", c=f"{HERE}:Colour"),
    "a flag beyond": tagged("flag", 8, c=f"{HERE}:Right"),
    "a named tuple with other fields": tagged("namedtuple", {"y": 1}, c=f"{HERE}:Point"),
    "an array larger than its bytes": tagged("ndarray", "", d="<f8", s=[10**12]),
    "an array with a negative side": tagged("ndarray", "", d="<f8", s=[-1]),
    "an array of objects": tagged("ndarray", base64.b64encode(bytes(8)).decode(), d="|O", s=[1]),
    "an array of fields": tagged("ndarray", "", d="i4,f8", s=[0]),
    "a huge array of the wrong dtype": tagged("ndarray", LONG, d="<U999999999", s=[1]),
    "text beyond unicode": tagged("ndarray", base64.b64encode(b"\xff\xff\xff\x7f").decode(), d="<U1", s=[1]),
    "a numpy int that is too large": tagged("numpy", 300, d="|i1"),
    "a numpy float that is an int": tagged("numpy", 3, d="<f8"),
}  # fmt: skip

NAMES = [
    "os:system", "builtins:eval", "builtins:exec", "subprocess:Popen", "os.system", "os:path.join", "builtins:object",
    "builtins:dict", "sys:modules", "", ":", "::", "a:b:c", "os", f"{HERE}:", f"{HERE}:Bomb", f"{HERE}:Nobody",
    f"{HERE}:Order.__init__", f"{HERE}:Order.__class__", f"{HERE}:pytest.Item", f"{HERE}:Ord\u0435r", f"{HERE}:ORDER",
    f" {HERE}:Order", f"{HERE}:Order\0", f"{HERE}.Order", "not.imported:Order", "antigravity:fly",
    "__main__:__builtins__", f"{HERE}:dataclasses.Field", "x" * 100_000, f"{HERE}:{'a.' * 50_000}a", "\ud800:\udfff",
]  # fmt: skip


def refused(text: str) -> str:
    with pytest.raises(PayloadError) as caught:
        decode(text)
    return str(caught.value)


@pytest.mark.parametrize("text", MALFORMED.values(), ids=[ascii(name) for name in MALFORMED])
def test_malformed_text_is_a_payload_error_with_a_short_sentence(text: str) -> None:
    said = refused(text)
    assert said.startswith("a recorded value cannot be read: ")
    assert len(said) < 2_000


@pytest.mark.parametrize("tag", ["dataclass", "attrs", "struct", "model", "enum", "flag", "namedtuple"])
@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:40])
def test_names_resolve_only_to_imported_classes_of_the_recorded_kind(tag: str, name: str) -> None:
    for value in ({"id": 1, "total": 2}, "RED", 1, {"x": 1}, {}):
        said = refused(tagged(tag, value, c=name, s=[]))
        assert len(said) < 2_000
        assert said.isprintable()


@pytest.mark.parametrize("tag", ["attrs", "struct", "model", "enum", "flag", "namedtuple"])
def test_a_class_does_not_stand_for_another_kind(tag: str) -> None:
    for value in ({"id": 1, "total": 2}, "RED", 1):
        refused(tagged(tag, value, c=f"{HERE}:Order", s=[]))


def test_a_class_with_other_fields_than_recorded_is_named_with_both() -> None:
    said = refused(tagged("dataclass", {"id": 1, "sum": 2}, c=f"{HERE}:Order"))
    assert "(id, sum)" in said
    assert "(id, total)" in said
    assert f"{HERE}:Order" in said


def test_a_class_whose_module_is_not_imported_is_refused_with_the_cure() -> None:
    assert "antigravity" not in sys.modules
    assert "import its module" in refused(tagged("dataclass", {}, c="antigravity:fly"))
    assert "antigravity" not in sys.modules


def test_a_module_that_imports_on_access_is_not_asked() -> None:
    """A lazy module's __getattr__ runs code of its own; looking a class up must not reach it."""
    import types

    class Trap(types.ModuleType):
        def __getattribute__(self, name: str) -> object:
            raise AssertionError(f"asked for {name}")

    sys.modules["trap_of_the_codec_tests"] = Trap("trap")
    try:
        refused(tagged("dataclass", {}, c="trap_of_the_codec_tests:Order"))
    finally:
        del sys.modules["trap_of_the_codec_tests"]


def test_data_that_looks_like_other_formats_calls_is_plain_data() -> None:
    for data in (
        {"lc": 2, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "id"}},
        {"py/object": "os.system"},
        {"__reduce__": ["os.system", ["id"]]},
        {"__class__": "os.system", "$type": "x", "@type": "y"},
    ):
        assert decode(json.dumps(data)) == data


def test_what_is_not_text_is_refused() -> None:
    for other in (b"1", None, 1, bytearray(b"{}")):
        with pytest.raises(PayloadError):
            decode(other)  # type: ignore[arg-type]


def test_a_huge_but_sound_value_is_read() -> None:
    assert decode(tagged("bytes", LONG)) == bytes(200_000)


@pytest.mark.parametrize("text", MALFORMED.values(), ids=[ascii(name) for name in MALFORMED])
def test_a_malformed_exception_is_a_payload_error_too(text: str) -> None:
    with pytest.raises(PayloadError):
        decode_error(text)


@pytest.mark.parametrize(
    "change",
    [
        {"args": [1]}, {"args": "x"}, {"class": 1}, {"message": None}, {"state": []}, {"state": {"__class__": 1}},
        {"state": {"__dict__": {}}}, {"notes": [1]}, {"notes": "x"}, {"more": 1},
        {"state": {"$t": "dict", "v": [[1, 2]]}},
    ],
    ids=ascii,
)  # fmt: skip
def test_an_exception_with_a_wrong_part_is_a_payload_error(change: dict[str, object]) -> None:
    record = json.loads(encode_error(ValueError("x")))
    with pytest.raises(PayloadError):
        decode_error(json.dumps(record | change))


@pytest.mark.parametrize(
    "name", [*NAMES, "builtins:KeyboardInterrupt", "builtins:SystemExit", "builtins:int", f"{HERE}:Order"]
)
def test_a_forged_class_of_exception_is_a_step_failure(name: str) -> None:
    record = json.loads(encode_error(ValueError("x"))) | {"class": name}
    back = decode_error(json.dumps(record))
    assert type(back) is StepFailed
    assert back.message == "x"


def test_an_exceptions_constructor_never_runs() -> None:
    record = json.loads(encode_error(ValueError("x"))) | {"class": f"{HERE}:Broken"}
    assert type(decode_error(json.dumps(record))) is Broken


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["$t", "v", "c", "d", "s", "z", "n", "x", "p", "m", "u", "a"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)
NAMED = st.sampled_from(
    [f"{HERE}:{name}" for name in ("Order", "Colour", "Right", "Point", "Bomb", "Broken")]
)


@given(
    st.sampled_from(TAGS),
    json_values,
    st.dictionaries(st.sampled_from("cdszxpmunf"), json_values | NAMED, max_size=3),
)
@settings(max_examples=500)
def test_any_json_under_any_tag_is_a_value_or_a_payload_error(
    tag: str, v: object, parts: dict[str, object]
) -> None:
    for text in (tagged(tag, v, **parts), json.dumps([{"a": {"$t": tag, **parts}}])):
        try:
            value = decode(text)
        except PayloadError:
            continue
        repr(value)


@given(st.text(max_size=40) | st.from_regex(r'\{"\$t":"[a-z]+","v":.{0,20}\}', fullmatch=True))
@example("\ud800")
@settings(max_examples=200)
def test_any_text_is_a_value_or_a_payload_error(text: str) -> None:
    try:
        decode(text)
    except PayloadError:
        pass


@given(st.data())
@settings(max_examples=200)
def test_a_flipped_letter_in_a_payload_is_a_value_or_a_payload_error(data: st.DataObject) -> None:
    text = encode({"a": (1, {2.5}, b"abc"), "b": Order(1, 2), "c": [Colour.RED, Point(3)], "d": {1: None}})
    at = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(max_codepoint=127))
    try:
        decode(text[:at] + letter + text[at + 1 :])
    except PayloadError:
        pass


def test_reading_imports_opens_and_starts_nothing(tmp_path: pathlib.Path) -> None:
    """The whole hostile corpus under an audit hook, in a process that has imported no third-party library."""
    corpus = tmp_path / "corpus.json"
    texts = [*MALFORMED.values()]
    texts += [tagged(tag, v, c=name) for tag in TAGS for name in NAMES for v in ({"a": 1}, "RED")]
    corpus.write_text(json.dumps(texts))
    script = textwrap.dedent(
        """
        import json, sys, zoneinfo
        from onward.core.codec import decode, decode_error
        from onward.core.errors import PayloadError
        with open(sys.argv[1]) as file:
            texts = json.load(file)
        seen = []
        try:
            zoneinfo.ZoneInfo("Mars/Base")  # the first time round, zoneinfo finds out where its files are
        except zoneinfo.ZoneInfoNotFoundError:
            pass
        zones = tuple(zoneinfo.TZPATH)
        def watch(event, args):
            if watching and event.split(".")[0] in WATCHED:
                if event == "open" and str(args[0]).startswith(zones):
                    return
                seen.append((event, str(args)[:200]))
        WATCHED = {"import", "exec", "compile", "open", "os", "subprocess", "socket", "ctypes", "pickle", "marshal",
                   "code", "shutil", "urllib", "builtins"}
        watching = False
        sys.addaudithook(watch)
        open(sys.argv[1]).close()
        watching = True
        open(sys.argv[1]).close()
        assert len(seen) == 1, "the hook does not see"
        seen.clear()
        refusals = 0
        for text in texts:
            for read in (decode, decode_error):
                try:
                    read(text)
                except PayloadError:
                    refusals += 1
        watching = False
        print(json.dumps([refusals, sorted(set(seen))]))
        """
    )
    said = subprocess.run(
        [sys.executable, "-c", script, str(corpus)], capture_output=True, text=True, check=False, timeout=100
    )
    assert said.returncode == 0, said.stderr
    refusals, seen = json.loads(said.stdout)
    assert refusals == 2 * len(texts)
    # A zone is looked for where time zones lie, and in the package `tzdata`; nowhere else.
    assert [event for event in seen if "tzdata" not in event[1]] == []


FORBIDDEN = re.compile(
    r"\b(c?pickle|marshal|shelve|dill|cloudpickle|jsonpickle)\b|(?<![\w.])(eval|exec)\(|yaml\.load"
)


def test_nothing_in_the_package_executes_data() -> None:
    source = pathlib.Path(__file__).parents[2] / "src" / "onward"
    files = sorted(source.rglob("*.py"))
    assert any(file.name == "codec.py" for file in files)
    found = [
        f"{file.relative_to(source)}:{number}: {line.strip()}"
        for file in files
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if FORBIDDEN.search(line.split("#")[0])
    ]
    assert found == []


@pytest.mark.parametrize(
    "line", ["import pickle", "x = eval(text)", "exec(code)", "yaml.load(f)", "from marshal import loads"]
)
def test_the_gate_sees_what_it_is_there_for(line: str) -> None:
    assert FORBIDDEN.search(line)
