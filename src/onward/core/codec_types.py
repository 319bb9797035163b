"""The closed set of plain types that payloads know by a tag: one row a type, written and read back exactly.

A row turns a value into a body, `{"v": ...}`, and a body back into the value; the codec adds the tag and walks what
lies inside. Classes of the user are in codec_classes, numpy and pandas in codec_arrays.
"""

from __future__ import annotations

import binascii
import datetime as dt
import decimal
import fractions
import math
import pathlib
import re
import uuid
import zoneinfo
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple, TypeVar, cast

from onward.core.errors import PayloadError

TAG: Final = "$t"
Body = dict[str, Any]
_C = TypeVar("_C", bound=Collection[Any])


class Row(NamedTuple):
    """One tagged type. `write` gives a fresh body; `read` checks a body's shape and may raise anything."""

    tag: str
    write: Callable[[Any], Body]
    read: Callable[[Body], Any]


class Pairs(list[tuple[object, object]]):
    """Keys and values to be written as a list of pairs: for mappings whose keys or order an object cannot keep."""


class Refused(Exception):
    """A value outside the closed set; the codec adds the path while it unwinds."""

    def __init__(self, type_name: str, cure: str, value: object = None) -> None:
        self.type_name, self.cure, self.value = type_name, cure, value
        self.parts: list[str] = []
        super().__init__(type_name)


def take(body: Body, shape: type, *others: str) -> Any:
    """The body's `v`, when it is exactly of `shape` and no other parts than `others` are there."""
    expect("v" in body, "it has no `v`")
    expect(body.keys() <= {TAG, "v", *others}, f"its parts are {sorted(body)}")
    return exactly(body["v"], shape)


def exactly(part: object, shape: type) -> Any:
    """`part`, when it is exactly of `shape`."""
    expect(type(part) is shape, f"a {shape.__name__} was expected where a {type(part).__name__} stands")
    return part


def expect(holds: object, problem: str) -> None:
    """Raise PayloadError about a malformed body unless `holds`."""
    if not holds:
        raise PayloadError(problem)


# -- numbers and bytes ------------------------------------------------------------------------------

# Plain JSON up to 64 bits, which SQLite and PostgreSQL read too. Beyond, hexadecimal: it is linear in length, and
# Python's limit on decimal digits does not apply to it.
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
_HEX = re.compile(r"-?0x[1-9a-f][0-9a-f]*")
_FLOATS: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
# Decimal("rubbish") is NaN instead of an error where the user's context does not trap InvalidOperation.
_DECIMAL = re.compile(r"-?(\d+(\.\d+)?([eE][+-]?\d+)?|Infinity|s?NaN\d*)", re.ASCII)


def _read_int(body: Body) -> int:
    text = take(body, str)
    expect(_HEX.fullmatch(text), "it is not a hexadecimal number")
    number = int(text, 16)
    expect(not INT_MIN <= number <= INT_MAX, "it is small enough to stand without a tag")
    return number


def _read_float(body: Body) -> float:
    # A new object each time: a set keeps two NaNs only as long as they are two objects.
    text = take(body, str)
    expect(text in _FLOATS, "it is neither nan, inf nor -inf")
    return float(text)


def _read_decimal(body: Body) -> decimal.Decimal:
    text = take(body, str)
    expect(_DECIMAL.fullmatch(text), "it is not a decimal number")
    number = decimal.Decimal(text)
    expect(number.is_nan() == ("NaN" in text), "its exponent is out of range")
    expect(number.is_infinite() == ("Inf" in text), "its exponent is out of range")
    return number


def _read_fraction(body: Body) -> fractions.Fraction:
    upper, lower = (exactly(part, int) for part in take(body, list))
    expect(lower > 0 and math.gcd(upper, lower) == 1, "it is not in lowest terms")
    return fractions.Fraction(upper, lower)


def _read_complex(body: Body) -> complex:
    real, imaginary = (exactly(part, float) for part in take(body, list))
    return complex(real, imaginary)


def base64(data: bytes | bytearray) -> str:
    """`data` as base64 text."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def unbase64(text: str) -> bytes:
    """The bytes that `base64` wrote; anything else, however lenient the standard, raises."""
    return binascii.a2b_base64(text, strict_mode=True)


def escaped(text: str) -> Body:
    """The body of text with lone surrogates, which neither UTF-8 nor a database can hold."""
    return {TAG: "str", "v": base64(text.encode("utf-8", "surrogatepass"))}


def has_surrogates(text: str) -> bool:
    """Whether UTF-8 cannot hold `text`."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _read_str(body: Body) -> str:
    text = unbase64(take(body, str)).decode("utf-8", "surrogatepass")
    expect(has_surrogates(text), "it can stand without a tag")
    return text


# -- collections ------------------------------------------------------------------------------------


def unpaired(pairs: object) -> list[tuple[Any, Any]]:
    """The pairs of a written mapping, each checked to be one."""
    return [(key, value) for key, value in (exactly(pair, list) for pair in exactly(pairs, list))]


def _read_dict(body: Body) -> dict[Any, Any]:
    pairs = unpaired(take(body, list))
    return _complete(dict(pairs), pairs)


def _read_ordered(body: Body) -> OrderedDict[Any, Any]:
    pairs = unpaired(take(body, list))
    return _complete(OrderedDict(pairs), pairs)


def _read_counter(body: Body) -> Counter[Any]:
    return Counter(take(body, dict))


def _read_set(body: Body) -> set[Any]:
    items = take(body, list)
    return _complete(set(items), items)


def _complete(made: _C, parts: Collection[Any]) -> _C:
    expect(len(made) == len(parts), "it holds the same element twice")
    return made


def _write_deque(value: deque[Any]) -> Body:
    return {"v": list(value)} if value.maxlen is None else {"v": list(value), "m": value.maxlen}


def _read_deque(body: Body) -> deque[Any]:
    items = take(body, list, "m")
    longest = exactly(body["m"], int) if "m" in body else None
    expect(longest is None or longest >= len(items), "it is longer than its maxlen")
    return deque(items, longest)


# -- time -------------------------------------------------------------------------------------------

_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,40}(/[A-Za-z0-9_+-]{1,40}){0,3}", re.ASCII)
ZONE_CURE: Final = "use zoneinfo.ZoneInfo(...) or value.astimezone(datetime.timezone.utc)"


def write_zone(zone: dt.tzinfo | None) -> Body:
    """How a time's zone is recorded: nothing for naive times, `z` for a zone's name or offset, `n` for its label."""
    if zone is None:
        return {}
    if type(zone) is zoneinfo.ZoneInfo and _ZONE.fullmatch(zone.key or ""):
        return {"z": zone.key}
    if type(zone) is dt.timezone:
        # (offset,) or (offset, name): what its constructor was given.
        offset, *label = cast("tuple[Any, ...]", zone.__getinitargs__())  # type: ignore[attr-defined]
        return {"z": _write_delta(offset)["v"], **({"n": label[0]} if label else {})}
    raise Refused(type_name(zone), ZONE_CURE)


def read_zone(body: Body) -> dt.tzinfo | None:
    """The zone that `write_zone` recorded. A named one may be read from the system's time zone files."""
    zone = body.get("z")
    if zone is None:
        expect("n" not in body and "z" not in body, "it names a zone without an offset")
        return None
    if type(zone) is not str:
        offset = _read_delta({"v": zone})
        return dt.timezone(offset, exactly(body["n"], str)) if "n" in body else dt.timezone(offset)
    expect("n" not in body and _ZONE.fullmatch(zone), "it does not name a time zone")
    try:
        return zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError) as error:
        raise PayloadError(f"this machine does not know the time zone {zone}; install `tzdata`") from error


def _write_moment(value: dt.datetime | dt.time) -> Body:
    bare = value.replace(tzinfo=None, fold=0)
    return {"v": bare.isoformat(), **write_zone(value.tzinfo), **({"f": 1} if value.fold else {})}


def _read_datetime(body: Body) -> dt.datetime:
    return cast("dt.datetime", _read_moment(body, dt.datetime))


def _read_time(body: Body) -> dt.time:
    return cast("dt.time", _read_moment(body, dt.time))


def _read_moment(body: Body, kind: type[dt.datetime] | type[dt.time]) -> dt.datetime | dt.time:
    text = take(body, str, "z", "n", "f")
    bare = kind.fromisoformat(text)
    expect(bare.isoformat() == text and bare.tzinfo is None, "it is not written in the ISO form of Python")
    expect(body.get("f", 1) == 1, "its fold is not 1")
    return bare.replace(tzinfo=read_zone(body), fold=int("f" in body))


def _read_date(body: Body) -> dt.date:
    text = take(body, str)
    day = dt.date.fromisoformat(text)
    expect(day.isoformat() == text, "it is not written as YYYY-MM-DD")
    return day


def _write_delta(value: dt.timedelta) -> Body:
    return {"v": [value.days, value.seconds, value.microseconds]}


def _read_delta(body: Body) -> dt.timedelta:
    days, seconds, micros = (exactly(part, int) for part in exactly(body["v"], list))
    expect(body.keys() <= {TAG, "v"}, f"its parts are {sorted(body)}")
    expect(0 <= seconds < 86_400 and 0 <= micros < 1_000_000, "its seconds are out of range")
    return dt.timedelta(days, seconds, micros)


# -- names ------------------------------------------------------------------------------------------


def _read_uuid(body: Body) -> uuid.UUID:
    text = take(body, str)
    made = uuid.UUID(text)
    expect(str(made) == text, "it is not written in the usual form")
    return made


def _path(kind: type[pathlib.PurePath]) -> tuple[type, Row]:
    def read(body: Body) -> pathlib.PurePath:
        text = take(body, str)
        made = kind(text)
        expect(str(made) == text, "it is not a normal path")
        return made

    return kind, Row(kind.__name__, _text, read)


def _text(value: object) -> Body:
    return {"v": str(value)}


def _items(value: Collection[object]) -> Body:
    return {"v": list(value)}


def type_name(value: object) -> str:
    """`module.Class` of a value, and just `Class` for builtins: for messages."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


ROWS: Final[dict[type, Row]] = {
    int: Row("int", lambda value: {"v": hex(value)}, _read_int),
    float: Row("float", lambda value: {"v": repr(value)}, _read_float),
    complex: Row("complex", lambda value: {"v": [value.real, value.imag]}, _read_complex),
    decimal.Decimal: Row("decimal", _text, _read_decimal),
    fractions.Fraction: Row(
        "fraction", lambda value: {"v": [value.numerator, value.denominator]}, _read_fraction
    ),
    bytes: Row("bytes", lambda value: {"v": base64(value)}, lambda body: unbase64(take(body, str))),
    bytearray: Row(
        "bytearray", lambda value: {"v": base64(value)}, lambda body: bytearray(unbase64(take(body, str)))
    ),
    str: Row("str", escaped, _read_str),
    tuple: Row("tuple", _items, lambda body: tuple(take(body, list))),
    set: Row("set", _items, _read_set),
    frozenset: Row("frozenset", _items, lambda body: frozenset(_read_set(body))),
    dict: Row("dict", lambda value: {"v": Pairs(value.items())}, _read_dict),
    OrderedDict: Row("ordereddict", lambda value: {"v": Pairs(value.items())}, _read_ordered),
    Counter: Row("counter", lambda value: {"v": dict(value)}, _read_counter),
    deque: Row("deque", _write_deque, _read_deque),
    dt.datetime: Row("datetime", _write_moment, _read_datetime),
    dt.date: Row("date", lambda value: {"v": value.isoformat()}, _read_date),
    dt.time: Row("time", _write_moment, _read_time),
    dt.timedelta: Row("timedelta", _write_delta, _read_delta),
    uuid.UUID: Row("uuid", _text, _read_uuid),
    **dict(
        _path(kind)
        for kind in (
            pathlib.PosixPath,
            pathlib.PurePosixPath,
            pathlib.WindowsPath,
            pathlib.PureWindowsPath,
        )
    ),
}
