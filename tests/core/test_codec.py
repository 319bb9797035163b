"""What is recorded comes back exactly, or is refused with its path and a cure."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import math
import pathlib
import subprocess
import sys
import typing
import uuid
import zoneinfo

import attrs
import msgspec
import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onward.core import codec, codec_prints
from onward.core.codec import (
    MAX_DEPTH,
    checksum,
    decode,
    decode_error,
    encode,
    encode_error,
    error_is_faithful,
    fingerprint,
    item_key,
)
from onward.core.codec_text import canonical
from onward.core.codec_tree import tree
from onward.core.errors import NotRecordable, PayloadError, RunNotFound, StepFailed

# -- classes of a user ------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "r"
    CRIMSON = "r"  # noqa: PIE796 - an alias, on purpose
    BLUE = ("tuple", 1)


class Size(enum.IntEnum):
    S = 1


class Word(enum.StrEnum):
    HI = "hi"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Bits(enum.IntFlag):
    LOW = 1


class Point(typing.NamedTuple):
    x: object
    y: object = 0


class Pixel(Point):
    """A subclass of a named tuple, as people write it to add methods."""


@dataclasses.dataclass
class Order:
    id: object
    lines: object = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        Order.made += 1

    made: typing.ClassVar[int] = 0

    class Line(typing.NamedTuple):
        sku: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Coin:
    value: object
    total: int = dataclasses.field(init=False, default=7)


@dataclasses.dataclass
class Late:
    given: int
    computed: object = dataclasses.field(init=False)

    @functools.cached_property
    def twice(self) -> int:
        return self.given * 2


@dataclasses.dataclass
class Moody:
    a: int

    def __getattribute__(self, name: str) -> typing.Any:
        if name == "a":
            raise RuntimeError("not today")
        return super().__getattribute__(name)


class Rush(Order):
    """A subclass without a decorator of its own."""


@attrs.define
class Slotted:
    a: object
    _hidden: object = 3


@attrs.frozen(slots=False)
class Frozen:
    a: object


class Struct(msgspec.Struct, frozen=True, kw_only=True):
    a: object
    b: object = None


class Guarded(msgspec.Struct):
    a: int

    def __post_init__(self) -> None:
        Guarded.ran.append(self.a)

    ran: typing.ClassVar[list[int]] = []


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    id: typing.Any
    note: str | None = None
    _secret: int = pydantic.PrivateAttr(default=4)

    @pydantic.field_validator("note")
    @classmethod
    def never_on_decode(cls, note: str | None) -> str | None:
        assert note != "unvalidated"
        return note


class Open(pydantic.BaseModel, extra="allow"):
    id: int


class Gone(Exception):
    """An exception whose constructor asks for more than its args hold."""

    def __init__(self, code: int, *, retry_after: float) -> None:
        self.code, self.retry_after = code, retry_after
        super().__init__(f"gone with {code}")


class WithClient(Exception):
    """An exception that drags a live object along, as HTTP libraries' do."""


class MyDict(dict[str, int]):
    pass


class Angry:
    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise RuntimeError("do not look at me")


# -- helpers ----------------------------------------------------------------------------------------


def again(value: object) -> typing.Any:
    return decode(encode(value))


def same(left: object, right: object) -> bool:
    """Equal in type and value at every level, where NaN is NaN and -0.0 is not 0.0."""
    return shape(left) == shape(right)


def shape(value: typing.Any) -> object:
    """The value taken apart into types and texts, so that only the order of sets does not show."""
    kind = type(value)
    if isinstance(value, (set, frozenset)):
        return kind, sorted(repr(shape(item)) for item in value)
    if isinstance(value, dict):
        return kind, [(shape(key), shape(item)) for key, item in value.items()]
    if isinstance(value, collections.deque):
        return kind, value.maxlen, [shape(item) for item in value]
    if isinstance(value, (list, tuple)):
        return kind, [shape(item) for item in value]
    if isinstance(value, (Order, Coin, Slotted, Frozen, Struct, Model)):
        names = [
            name
            for name in ("id", "lines", "value", "total", "a", "_hidden", "b", "note")
            if hasattr(value, name)
        ]
        return kind, [(name, shape(getattr(value, name))) for name in names]
    if isinstance(value, fractions.Fraction):
        return kind, value.numerator, value.denominator
    return (kind, hex(value)) if kind is int else (kind, repr(value))


def assert_exact(value: object) -> None:
    back = again(value)
    assert same(back, value), (back, value)


# -- round trips ------------------------------------------------------------------------------------

ZONES = ("Europe/Berlin", "America/New_York", "UTC")
offsets = st.builds(
    dt.timezone, st.timedeltas(min_value=dt.timedelta(hours=-23), max_value=dt.timedelta(hours=23))
)
zones = st.none() | st.sampled_from(ZONES).map(zoneinfo.ZoneInfo) | offsets | st.just(dt.UTC)
texts = st.text(st.characters(), max_size=8) | st.sampled_from(
    ["$t", "", "\ud83d\ude00", "\ud800", "v", "\0"]
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**62, max_value=2**70),
    st.floats(),
    st.complex_numbers(),
    texts,
    st.binary(max_size=20),
    st.decimals(allow_nan=True),
    st.sampled_from([decimal.Decimal(text) for text in ("sNaN12", "-NaN", "1E+400", "-0E-7", "Infinity")]),
    st.fractions(),
    st.uuids(),
    st.builds(
        dt.datetime.replace, st.datetimes(timezones=st.none()), tzinfo=zones, fold=st.sampled_from([0, 1])
    ),
    st.dates(),
    st.builds(dt.time.replace, st.times(), tzinfo=zones, fold=st.sampled_from([0, 1])),
    st.timedeltas(),
    texts.map(lambda text: pathlib.PurePosixPath(text.replace("\0", ""))),
    texts.map(lambda text: pathlib.PureWindowsPath(text.replace("\0", ""))),
    texts.map(lambda text: pathlib.Path(text.replace("\0", ""))),
    st.sampled_from([*Colour, *Size, *Word, Right.READ | Right.WRITE, Right(0), Bits(9)]),
)
keys = st.one_of(
    texts,
    st.integers(),
    st.booleans(),
    st.none(),
    st.uuids(),
    st.sampled_from(Colour),
    st.tuples(texts, st.integers()),
    st.frozensets(texts, max_size=2),
)


def deeper(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(texts, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=3).map(collections.OrderedDict),
        st.lists(inner, max_size=3).map(lambda items: collections.deque(items, maxlen=5)),
        st.sets(keys, max_size=4),
        st.frozensets(keys, max_size=4),
        st.builds(Point, inner, inner),
        st.builds(Pixel, inner, inner),
        st.builds(Order, inner, inner),
        st.builds(Coin, value=inner),
        st.builds(Slotted, inner, inner),
        st.builds(Frozen, inner),
        st.builds(Struct, a=inner, b=inner),
        st.builds(Model, id=inner, note=texts),
    )


values = st.recursive(scalars, deeper, max_leaves=12)


@given(values)
@settings(max_examples=400)
def test_every_value_of_the_closed_set_comes_back_with_its_type_and_content(value: object) -> None:
    assert_exact(value)


@given(values)
@settings(max_examples=100)
def test_the_text_is_storable_and_reading_it_back_writes_the_same_text(value: object) -> None:
    text = encode(value)
    text.encode()  # raises for lone surrogates
    assert "\0" not in text
    assert encode(decode(text)) == text or "set" in text


@pytest.mark.parametrize(
    "value",
    [
        -0.0,
        math.nan,
        -math.inf,
        complex(-0.0, math.nan),
        2**63 - 1,
        2**63,
        -(2**63) - 1,
        7**20_000,
        "\ud83d\ude00",
        "\U0001f600",
        {"\ud800": "\udfff"},
        {"$t": "decimal", "v": "1"},
        {"a": {"$t": 1}},
        {1: "int", "1": "str", True and 2: None, (1,): 2.0},
        bytearray(b"\0\xff"),
        collections.Counter("abca"),
        collections.OrderedDict([(2, "b"), (1, "a")]),
        collections.deque([1], maxlen=3),
        collections.deque(),
        dt.datetime(2026, 11, 1, 1, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("America/New_York")),
        dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=5, microseconds=3), "odd")),
        dt.datetime.max.replace(tzinfo=dt.UTC),
        dt.time(1, tzinfo=dt.UTC),
        dt.timedelta.min,
        uuid.UUID(int=5),
        fractions.Fraction(7**6_000, 3),
        Colour.CRIMSON,
        Order.Line("nested class"),
        Rush(1),
        pathlib.Path("/tmp/bad\udcff"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_corners_of_each_type_come_back_exactly(value: object) -> None:
    back = again(value)
    assert same(back, value)


def test_plain_json_is_recorded_as_plain_json() -> None:
    assert (
        encode({"id": 1, "name": "Zoë", "ok": [True, None, 1.5]})
        == '{"id":1,"name":"Zoë","ok":[true,null,1.5]}'
    )
    assert encode(decimal.Decimal("1.10")) == '{"$t":"decimal","v":"1.10"}'


def test_two_nans_in_a_set_are_two_nans_afterwards() -> None:
    assert len(again({float("nan"), float("nan")})) == 2


def test_no_constructor_runs_when_a_dataclass_is_read() -> None:
    text = encode(Order(1))
    before = Order.made
    assert decode(text).id == 1
    assert Order.made == before


def test_a_cached_property_is_not_part_of_a_value() -> None:
    late = Late(2)
    late.computed = [late.twice]
    back = again(late)
    assert back == late
    assert "twice" not in vars(back)
    assert back.twice == 4


def test_a_pydantic_model_keeps_what_was_set_its_extras_and_its_private_attributes() -> None:
    model = Model.model_construct(id=(1, 2), note="unvalidated")
    model._secret = 9
    back = again(model)
    assert back == model
    assert (back._secret, back.model_fields_set, back.note) == (9, {"id", "note"}, "unvalidated")
    loose = Open.model_validate({"id": 1, "$t": "x", "more": 2})
    assert again(loose) == loose
    assert again(loose).model_fields_set == loose.model_fields_set


def test_a_value_that_appears_twice_comes_back_as_two_equal_values() -> None:
    shared = [1]
    assert again([shared, shared]) == [[1], [1]]


def test_a_decimal_does_not_depend_on_the_context_of_the_reader() -> None:
    text = encode(decimal.Decimal("1E+30"))
    with decimal.localcontext(decimal.Context(prec=1, capitals=0, traps=[])):
        assert str(decode(text)).upper() == "1E+30"
        with pytest.raises(PayloadError):
            decode('{"$t":"decimal","v":"1E9999999999999999999"}')


# -- numpy and pandas -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", ["?", "i1", "<u8", ">i4", "f2", "<f8", "c16", "S3", "U2", "M8[ns]", "m8[15s]", "f16"]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0), (2, 3)])
def test_numpy_arrays_keep_dtype_shape_and_bytes(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, dtype)
    if array.size:
        array.flat[0] = 1 if array.dtype.kind not in "SU" else "é" if array.dtype.kind == "U" else b"x"
    back = again(array)
    assert (type(back), back.dtype.str, back.shape) == (np.ndarray, array.dtype.str, shape)
    assert back.tobytes() == array.tobytes()
    assert back.flags.writeable


@pytest.mark.parametrize(
    "scalar",
    [
        np.float64(-0.0), np.float64("nan"), np.float32(0.1), np.float16(2), np.int8(-3), np.uint64(2**64 - 1),
        np.bool_(True), np.complex128(1j), np.datetime64("2026-01-02T03:04", "s"), np.timedelta64(3, "D"),
        np.str_("a\0"), np.bytes_(b"b\0"), np.longdouble(1) / 3, np.datetime64("NaT", "ns"),
    ],
    ids=lambda scalar: type(scalar).__name__,
)  # fmt: skip
def test_numpy_scalars_stay_numpy_scalars(scalar: np.generic) -> None:
    back = again(scalar)
    assert type(back) is type(scalar)
    assert back.dtype == scalar.dtype
    assert repr(back) == repr(scalar)


@pytest.mark.parametrize(
    "array",
    [np.array([object()]), np.ma.masked_array([1]), np.zeros(2, "i4,f8"), np.longlong(3)],
    ids=["objects", "masked", "fields", "longlong"],
)
def test_numpy_values_that_would_change_are_refused(array: object) -> None:
    with pytest.raises(NotRecordable):
        encode(array)


def frames() -> dict[str, pd.DataFrame]:
    return {
        "numbers": pd.DataFrame({"a": [1, 2], "b": [0.5, math.nan]}),
        "objects": pd.DataFrame({"a": pd.Series([None, (1, 2)], dtype=object)}),
        "text": pd.DataFrame({"a": pd.array(["x", None], dtype="string"), "b": ["p", "q"]}),
        "masked": pd.DataFrame(
            {"a": pd.array([1, None], dtype="Int64"), "b": pd.array([True, None], dtype="boolean")}
        ),
        "times": pd.DataFrame({"t": pd.date_range("2026-03-28", periods=3, tz="Europe/Berlin")}),
        "dated index": pd.DataFrame(
            {"a": [1.0, 2.0]}, index=pd.date_range("2026-01-01", periods=2, freq="h", name="at")
        ),
        "odd labels": pd.DataFrame(
            [[1, 2]], columns=pd.Index([("a", 1), None], dtype=object, tupleize_cols=False)
        ),
        "twice": pd.DataFrame([[1, 2]], columns=["a", "a"], index=["row"]),
        "no rows": pd.DataFrame({"a": pd.Series([], dtype="float32")}),
        "empty": pd.DataFrame(),
    }


@pytest.mark.parametrize("name", sorted(frames()))
def test_pandas_frames_keep_dtypes_labels_and_content(name: str) -> None:
    frame = frames()[name]
    back = again(frame)
    pd.testing.assert_frame_equal(back, frame, check_exact=True, check_freq=True)
    for at in range(frame.shape[1]):
        pd.testing.assert_series_equal(again(frame.iloc[:, at]), frame.iloc[:, at], check_exact=True)


@pytest.mark.parametrize(
    "value",
    [pd.Timestamp("2026-01-02T03:04:05.6789", tz="Europe/Berlin"), pd.Timestamp(5, unit="s"), pd.Timedelta("3h"),
     pd.Timestamp("2026-01-01", tz="UTC"), pd.NaT, pd.NA, pd.RangeIndex(3, name="n"), pd.Index([1, 2])],
    ids=repr,
)  # fmt: skip
def test_pandas_scalars_and_indexes_come_back_exactly(value: object) -> None:
    back = again(value)
    assert repr(back) == repr(value)
    assert type(back) is type(value)
    assert getattr(back, "unit", None) == getattr(value, "unit", None)


@pytest.mark.parametrize(
    "value",
    [
        pd.Series(["a"], dtype="category"),
        pd.Series([1], index=pd.MultiIndex.from_tuples([(1, 2)])),
        pd.Period("2026-01"),
        pd.DataFrame({"a": [object()]}),
    ],
    ids=["category", "multi-index", "period", "objects"],
)
def test_pandas_values_that_would_change_are_refused(value: object) -> None:
    with pytest.raises(NotRecordable):
        encode(value)


def test_values_of_a_library_that_is_not_imported_are_refused_by_name() -> None:
    text = encode(np.float64(1.5))
    code = (
        f"from onward.core.codec import decode\ntry: decode({text!r})\nexcept Exception as e: print(repr(e))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("PayloadError")
    assert "import numpy" in said


# -- refusals ---------------------------------------------------------------------------------------


class Client:
    def __repr__(self) -> str:
        return "Client()"  # no address: the names of tests must be the same in every process

    pass


def refusal(value: object) -> NotRecordable:
    with pytest.raises(NotRecordable) as caught:
        encode(value, where="step result")
    return caught.value


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Client(), "$"),
        ({"items": [0, 1, 2, {"conn": Client()}]}, "$.items[3].conn"),
        ({"odd key": {5: Client()}}, "$['odd key'][5]"),
        ({(1, 2): Client()}, "$[<tuple>]"),
        ({"$t": Client()}, "$['$t']"),
        ((1, Order(2, lines=[Client()])), "$[1].lines[0]"),
        (Point(1, Client()), "$.y"),
        (Slotted(Client()), "$.a"),
        (Struct(a=[Client()]), "$.a[0]"),
        (Model(id={"x": Client()}), "$.id.x"),
        (collections.deque([Client()]), "$[0]"),
        ({"a": 1, Client(): 2}, "${key 1}"),
        (np.array([Client()]), "$"),
    ],
    ids=str,
)
def test_a_refusal_names_the_path_to_the_culprit(value: object, path: str) -> None:
    refused = refusal(value)
    assert refused.path == path
    assert refused.where == "step result"
    assert f"`{path}`" in str(refused)


@pytest.mark.parametrize(
    ("value", "cure"),
    [
        (MyDict(a=1), "dict(value)"),
        (collections.defaultdict(list), "dict(value)"),
        ((n for n in "ab"), "list"),
        (range(3), "list(value)"),
        (len, "name"),
        (int, "name"),
        (ValueError("x"), "str(error)"),
        (memoryview(b"x"), "bytes(value)"),
        (type("Text", (str,), {})("x"), "plain"),
        (type("Whole", (int,), {})(1), "plain"),
        (Guarded.__new__, "name"),
        (dt.datetime(2026, 1, 1, tzinfo=type("Zone", (dt.tzinfo,), {})()), "zoneinfo"),
    ],
    ids=lambda part: part if isinstance(part, str) else type(part).__name__,
)
def test_a_refusal_names_the_cure(value: object, cure: str) -> None:
    assert cure in refusal(value).cure


def test_a_class_defined_inside_a_function_is_refused_when_it_is_recorded() -> None:
    @dataclasses.dataclass
    class Local:
        a: int

    refused = refusal({"x": Local(1)})
    assert refused.path == "$.x"
    assert "module level" in refused.cure


def test_a_class_that_hides_behind_another_ones_name_is_refused() -> None:
    twin = dataclasses.make_dataclass("Order", ["id"], namespace={"__module__": __name__})
    assert "something else" in refusal(twin(1)).cure


def test_an_attribute_that_is_no_field_is_refused_rather_than_lost() -> None:
    order = Order(1)
    order.note = "extra"  # type: ignore[attr-defined]
    assert "`note`" in refusal(order).cure


def test_a_field_without_a_value_is_refused() -> None:
    assert "`computed`" in refusal(Late(1)).cure


def test_a_struct_that_would_run_code_when_it_is_read_is_refused() -> None:
    guarded = Guarded(1)
    assert "__post_init__" in refusal(guarded).cure
    assert len(Guarded.ran) == 1


def test_a_value_that_contains_itself_is_refused_as_such() -> None:
    loop: list[object] = [1]
    loop.append({"inner": loop})
    for value, path in ((loop, "$"), ({"a": [loop]}, "$.a[0]")):
        refused = refusal(value)
        assert refused.path == path
        assert "contains itself" in refused.cure


def test_nesting_is_bounded_in_writing_by_a_sentence() -> None:
    value: object = 1
    for _ in range(MAX_DEPTH):
        value = (value,)
    assert_exact(value)
    assert f"{MAX_DEPTH} levels" in refusal((value,)).cure


@given(st.sampled_from(["tuple", "dict", "point", "model", "set"]))
@settings(max_examples=5)
def test_whatever_is_written_at_the_depth_limit_can_be_read(kind: str) -> None:
    wrap: dict[str, typing.Callable[[object], object]] = {
        "tuple": lambda inner: (inner,),
        "dict": lambda inner: {1: inner},
        "point": lambda inner: Point(inner, 1),
        "model": lambda inner: Model(id=inner),
        "set": lambda inner: frozenset([inner]),
    }
    value: object = 1
    for _ in range(MAX_DEPTH):
        value = wrap[kind](value)
    text = encode(value)
    decode(text)


def test_a_call_stack_that_is_almost_used_up_is_a_refusal_too() -> None:
    value: object = 1
    for _ in range(MAX_DEPTH):
        value = {1: value}
    text = encode(value)

    def deeper_by(levels: int, act: typing.Callable[[], object]) -> object:
        return act() if levels == 0 else deeper_by(levels - 1, act)

    with pytest.raises(NotRecordable, match="recursion limit"):
        deeper_by(sys.getrecursionlimit() - 200, lambda: encode(value))
    with pytest.raises(PayloadError, match="recursion limit"):
        deeper_by(sys.getrecursionlimit() - 200, lambda: decode(text))


def test_a_class_that_raises_while_it_is_read_is_a_refusal_with_its_path() -> None:
    refused = refusal({"a": [Moody(1)]})
    assert refused.path == "$.a[0]"
    assert "RuntimeError (not today)" in refused.cure


# -- checksum, fingerprint, item key ----------------------------------------------------------------


def test_the_checksum_is_the_crc_of_the_utf8_text() -> None:
    assert checksum("123456789") == 0xCBF43926
    assert checksum("é") != checksum("e")


def test_a_fingerprint_does_not_depend_on_the_order_of_dicts_and_sets() -> None:
    assert fingerprint({"a": 1, "b": {2: 3, 4: 5}}) == fingerprint({"b": {4: 5, 2: 3}, "a": 1})
    assert fingerprint({3, 1, "x"}) == fingerprint({"x", 1, 3})
    assert fingerprint({frozenset({1, 2}), frozenset({3})}) == fingerprint(
        {frozenset({3}), frozenset({2, 1})}
    )
    assert len(fingerprint(None)) == 8


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    """Hash randomisation orders sets differently in each process; a stored fingerprint must not notice."""
    value = "({'c', 'b', 'a', 'd'}, {'k': {'x', 'y', 'z'}, 1: 2.5})"
    code = f"from onward.core.codec import fingerprint; print(fingerprint({value}).hex())"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert seen == {fingerprint(eval(value)).hex()}


def test_recorded_fingerprints_and_keys_keep_their_meaning_in_later_releases() -> None:
    """They lie in journals: another hash for the same value would make every unfinished run diverge."""
    assert fingerprint(((1, "a"), {"b": decimal.Decimal("1.10")})).hex() == "ba60f1ef2196be6a"
    assert item_key((1, "a")) == "#hge5z5ghp7y7wndoa5wryoixdi"


@pytest.mark.parametrize(
    ("left", "right"),
    [(1, True), (1, 1.0), ("1", 1), ((1,), [1]), ([1], {1}), ({1}, frozenset({1})), (b"a", "a"), (0.0, -0.0),
     ({}, []), ({1: 2}, {"1": 2}), (Colour.RED, Word.HI), (Point(1, 2), (1, 2)), (Order(1), Rush(1))],
    ids=str,
)  # fmt: skip
def test_values_that_differ_in_type_or_content_have_other_fingerprints_and_keys(
    left: object, right: object
) -> None:
    assert fingerprint(left) != fingerprint(right)
    assert item_key(left) != item_key(right)


def test_clients_and_connections_count_by_type_only() -> None:
    assert fingerprint((Client(), 5)) == fingerprint((Client(), 5))
    assert fingerprint((Client(), 5)) != fingerprint((Client(), 6))
    assert fingerprint((Client(), 5)) != fingerprint((object(), 5))
    assert fingerprint(Order(Client(), [1])) != fingerprint(Order(Client(), [2]))


@given(st.lists(st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.floats())).map(tuple))
def test_the_short_way_to_a_fingerprint_leads_to_the_same(values: tuple[object, ...]) -> None:
    plain = codec_prints._plain_tuple(values)
    assert plain is None or plain == canonical(tree(values, 0))


@pytest.mark.parametrize("number", [0, 1, -1, 9_999_999, -999_999])
def test_one_small_number_is_its_own_fingerprint_and_still_known_by_its_hash(number: int) -> None:
    """Journals from before it was so hold the hash."""
    taken = fingerprint((number,))
    assert taken == str(number).encode()
    assert codec.hashed(taken) == codec_prints._hashed(canonical(tree((number,), 0)))


@pytest.mark.parametrize(
    "values", [(10_000_000,), (-1_000_000,), (True,), (1.0,), ("1",), (1, 1), [1], 1], ids=str
)
def test_whatever_else_a_step_is_called_with_is_hashed(values: object) -> None:
    taken = fingerprint(values)
    assert len(taken) == 8
    assert codec.hashed(taken) is None


def test_a_fingerprint_never_raises() -> None:
    loop: list[object] = []
    loop += [loop, loop]
    deep: list[object] = []
    for _ in range(5_000):
        deep = [deep]
    for value in (loop, deep, Angry(), [Angry()], {Client(): 1}, lambda: 0, Late(1), "\ud800"):
        assert len(fingerprint(value)) == 8


@given(values, values)
@settings(max_examples=150)
def test_item_keys_differ_exactly_where_type_or_content_differ(left: object, right: object) -> None:
    assert item_key(left) == item_key(again(left))
    if same(left, right):
        assert item_key(left) == item_key(right)
    if item_key(left) == item_key(right):
        # Only the order of dicts and sets may differ, which leaves the letters of the text the same.
        assert sorted(encode(left)) == sorted(encode(right))


@pytest.mark.parametrize(
    ("item", "key"),
    [("venue-17", "venue-17"), ("Zoë & co", "Zoë & co"), (17, "17"), (-3, "-3"), ("x" * 120, "x" * 120)],
)
def test_short_plain_items_are_their_own_keys(item: object, key: str) -> None:
    assert item_key(item) == key


@pytest.mark.parametrize(
    "item",
    [
        "",
        "17",
        "-3",
        "+3",
        "#a",
        '"a',
        "'a",
        "a~2",
        "a > b",
        "a\n",
        "a\0",
        "\ud800",
        "x" * 121,
        10**200,
        True,
        None,
        1.0,
        {},
    ],
    ids=ascii,
)
def test_other_items_have_a_hash_as_their_key(item: object) -> None:
    key = item_key(item)
    assert len(key) == 27
    assert key[0] == "#"
    assert key[1:].isalnum()


def test_an_item_without_recordable_content_asks_for_a_key() -> None:
    with pytest.raises(NotRecordable, match="give key=") as caught:
        item_key({"a": Client()})
    assert caught.value.path == "$.a"


# -- exceptions -------------------------------------------------------------------------------------


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad", 3), KeyError("k"), FileNotFoundError(2, "none", "a.txt"),
        OSError(18, "cross", "a", None, "b"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), TimeoutError(),
        ConnectionResetError(104, "reset"), decimal.InvalidOperation("x"), Gone(410, retry_after=2.5),
        RunNotFound("r1", "journal.db"), StopIteration(3),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_an_exception_comes_back_as_itself_without_its_constructor(error: Exception) -> None:
    error.add_note("seen at night")
    assert error_is_faithful(error)
    back = decode_error(encode_error(raised(error)))
    assert type(back) is type(error)
    assert (str(back), back.args) == (str(error), error.args)
    assert back.__notes__ == ["seen at night"]
    for name in (
        "errno",
        "strerror",
        "filename",
        "filename2",
        "code",
        "retry_after",
        "run_id",
        "reason",
        "start",
    ):
        assert getattr(back, name, None) == getattr(error, name, None)


def test_an_exception_record_is_readable_and_bounded() -> None:
    record = decode(encode_error(raised(Gone(410, retry_after=2.5))))
    assert record["class"].endswith(":Gone")
    assert record["message"] == "gone with 410"
    assert record["retry_after"] == 2.5
    assert "in raised" in record["traceback"]
    assert record["lost"] == []
    long = decode(encode_error(ValueError("x" * 1_000_000)))
    assert len(long["message"]) <= 16_000
    assert len(long["traceback"]) <= 16_000


def test_an_exception_keeps_its_class_and_loses_what_cannot_be_recorded_by_name() -> None:
    error = WithClient("failed", Client())
    error.response = Client()  # type: ignore[attr-defined]
    error.status = 503  # type: ignore[attr-defined]
    text = encode_error(error)
    back = decode_error(text)
    assert type(back) is WithClient
    assert back.status == 503  # type: ignore[attr-defined]
    assert not hasattr(back, "response")
    assert decode(text)["lost"] == ["args", "response"]
    assert back.args == (str(error),)


@pytest.mark.parametrize(
    "error",
    [type("Local", (Exception,), {})("x"), KeyboardInterrupt(), SystemExit(1), ExceptionGroup("g", [ValueError()])],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_what_cannot_come_back_as_itself_is_a_step_failure(error: BaseException) -> None:
    assert not error_is_faithful(error)
    back = decode_error(encode_error(error))
    assert type(back) is StepFailed
    assert back.class_name.endswith(type(error).__qualname__)
    assert back.message == str(error)


@given(values)
@settings(max_examples=50)
def test_an_exception_keeps_any_arguments_that_are_values(value: object) -> None:
    back = decode_error(encode_error(ValueError(value)))
    assert same(back.args, (value,))


def test_recording_an_exception_never_raises() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

        @property
        def retry_after(self) -> float:
            raise RuntimeError("never")

    for error in (Mute(), ValueError(Angry()), ValueError("\ud800\0"), Gone(1, retry_after=math.nan)):
        decode_error(encode_error(error))
