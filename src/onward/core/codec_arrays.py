"""numpy and pandas in payloads: exact dtypes or a refusal, and only where the user has imported them.

Numbers, times and fixed-width text are written as their bytes; columns of objects and of pandas' own types as lists
whose elements are values like any other.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from typing import Any, Final

from onward.core.codec_types import (
    Body,
    Refused,
    Row,
    base64,
    exactly,
    expect,
    read_zone,
    take,
    type_name,
    unbase64,
    write_zone,
)
from onward.core.errors import PayloadError


def array_row(value: object) -> Row | None:
    """How a value of numpy or pandas is recorded; None when it is none."""
    module = type(value).__module__.partition(".")[0]
    if module == "numpy":
        return _numpy_row(value)
    return _pandas_row(value) if module == "pandas" else None


def _library(name: str) -> Any:
    library = sys.modules.get(name)
    if library is None:
        raise PayloadError(
            f"it holds a value of {name}, which is not imported; import {name} before it is read"
        )
    return library


# -- numpy ------------------------------------------------------------------------------------------

_DTYPE: Final = re.compile(r"[<>|][biufcSUmM]\d{1,9}(\[\d{0,9}[A-Za-zμ]{1,7}\])?", re.ASCII)
_NUMPY_CURE: Final = "return value.tolist(), or an array of a plain dtype (no objects, no fields)"


def _numpy_row(value: Any) -> Row | None:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if type(value) is numpy.ndarray:
        return ARRAY_ROWS["ndarray"]
    return ARRAY_ROWS["numpy"] if isinstance(value, numpy.generic) else None


def _dtype_text(dtype: Any, value: object) -> str:
    text = str(dtype.str)
    # Two C types of one width (long and long long) share a text, and would not come back as themselves.
    if (
        not _DTYPE.fullmatch(text)
        or dtype.metadata
        or sys.modules["numpy"].dtype(text).type is not dtype.type
    ):
        raise Refused(f"{type_name(value)} of {dtype}", _NUMPY_CURE)
    return text


def _read_dtype(text: object) -> Any:
    expect(_DTYPE.fullmatch(exactly(text, str)), "its dtype is not one that is recorded")
    dtype = _library("numpy").dtype(text)
    expect(dtype.str == text, "its dtype is not one that is recorded")
    return dtype


def _write_array(value: Any) -> Body:
    return {"d": _dtype_text(value.dtype, value), "s": list(value.shape), "v": base64(value.tobytes())}


def _read_array(body: Body) -> Any:
    data = unbase64(take(body, str, "d", "s"))
    dtype, shape = _read_dtype(body.get("d")), exactly(body.get("s"), list)
    expect(all(type(side) is int and side >= 0 for side in shape), "its shape is not a list of sizes")
    expect(math.prod(shape) * dtype.itemsize == len(data), "its shape and its bytes do not agree")
    numpy = _library("numpy")
    made = numpy.ndarray(tuple(shape), dtype, bytearray(data))
    if dtype.kind == "U" and made.size and dtype.itemsize:
        points = numpy.frombuffer(data, numpy.dtype(f"{dtype.str[0]}u4"))
        expect(points.max() <= 0x10FFFF, "it holds text beyond Unicode")
    return made.copy()


def _write_scalar(value: Any) -> Body:
    dtype = value.dtype
    if dtype.kind in "SU":
        # A numpy text or bytes scalar may end in NULs, which its dtype would cut off.
        return {
            "d": dtype.kind,
            "v": str.__str__(value) if dtype.kind == "U" else bytes.__getitem__(value, slice(None)),
        }
    text = _dtype_text(dtype, value)
    readable = dtype.kind in "biu" or (dtype.kind == "f" and dtype.itemsize <= 8)
    return {"d": text, "v": value.item() if readable else value.tobytes()}


def _read_scalar(body: Body) -> Any:
    expect(body.keys() == {"$t", "d", "v"}, f"its parts are {sorted(body)}")
    value, numpy = body["v"], _library("numpy")
    if body["d"] in ("S", "U"):
        return numpy.bytes_(exactly(value, bytes)) if body["d"] == "S" else numpy.str_(exactly(value, str))
    dtype = _read_dtype(body["d"])
    if type(value) is bytes:
        expect(len(value) == dtype.itemsize and dtype.kind not in "biuSU", "its bytes do not fit its dtype")
        return numpy.frombuffer(value, dtype)[0]
    expect(
        type(value) is {"b": bool, "i": int, "u": int, "f": float}.get(dtype.kind),
        "it does not fit its dtype",
    )
    made = dtype.type(value)
    expect(made.item() == value or value != value, "it does not fit its dtype")
    return made


# -- pandas -----------------------------------------------------------------------------------------

_MASKED: Final = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
_FREQ: Final = re.compile(r"-?\d{0,9}[A-Za-z]{1,8}(-[A-Z]{3})?", re.ASCII)
_PANDAS_CURE: Final = "write it to a Parquet file and return the file's name, or convert it to plain columns"


def _pandas_row(value: Any) -> Row | None:
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return None
    if value is pandas.NaT or value is pandas.NA:
        return ARRAY_ROWS["pandas.NaT" if value is pandas.NaT else "pandas.NA"]
    if isinstance(value, pandas.Index):
        return ARRAY_ROWS["pandas.Index"]
    name = type(value).__name__
    own = name in ("Timestamp", "Timedelta", "Series", "DataFrame") and getattr(pandas, name) is type(value)
    return ARRAY_ROWS[f"pandas.{name}"] if own else None


def _write_timestamp(value: Any) -> Body:
    return {"v": int(value.asm8.view("i8")), "u": value.unit, **write_zone(value.tzinfo)}


def _read_timestamp(body: Body) -> Any:
    pandas, moment = _library("pandas"), _moment(take(body, int, "u", "z", "n"), body, "M")
    made = pandas.Timestamp(moment)
    zone = read_zone(body)
    return made if zone is None else made.tz_localize("UTC").tz_convert(zone)


def _write_timedelta(value: Any) -> Body:
    return {"v": int(value.asm8.view("i8")), "u": value.unit}


def _read_timedelta(body: Body) -> Any:
    return _library("pandas").Timedelta(_moment(take(body, int, "u"), body, "m"))


def _moment(count: int, body: Body, kind: str) -> Any:
    unit = body.get("u")
    expect(unit in ("s", "ms", "us", "ns"), "its unit is unknown")
    expect(abs(count) < 2**63, "it is out of range")
    return _library("numpy").int64(count).view(f"{kind}8[{unit}]")


def _write_column(values: Any, owner: object) -> Body:
    """One column or index without its name: `d` says how `v` is to be read."""
    dtype = values.dtype
    name = str(dtype)
    if name == "object":
        return {"d": "object", "v": list(values)}
    if name in _MASKED or name == "boolean":
        blank, held = sys.modules["pandas"].NA, bool if name == "boolean" else int
        return {"d": name, "v": [None if item is blank else held(item) for item in values.astype(object)]}
    if type(dtype).__name__ == "StringDtype":
        missing = values.isna()
        texts = [None if gap else str(text) for text, gap in zip(values, missing, strict=True)]
        return {"d": "string", "o": [dtype.storage, repr(dtype.na_value)], "v": texts}
    if type(dtype).__name__ == "DatetimeTZDtype":
        moments = sys.modules["pandas"].DatetimeIndex(values).tz_convert(None).to_numpy()
        return {"d": "zoned", **write_zone(dtype.tz), "v": moments}
    if type(dtype).__module__.partition(".")[0] != "numpy":
        raise Refused(f"{type_name(owner)} of {dtype}", _PANDAS_CURE)
    return {"d": "numpy", "v": values.to_numpy()}


def _read_column(body: Body) -> Any:
    kind, items = exactly(body, dict).get("d"), body["v"]
    if kind in ("numpy", "zoned"):
        expect(type(items) is _library("numpy").ndarray and items.ndim == 1, "its column is not an array")
        return items if kind == "numpy" else _zoned(items, body)
    if kind == "object":
        column = _library("numpy").empty(len(exactly(items, list)), dtype=object)
        for at, item in enumerate(exactly(items, list)):
            column[at] = item
        return column
    if kind == "string":
        return _texts(exactly(items, list), body)
    expect(kind in _MASKED or kind == "boolean", "its dtype is not one that is recorded")
    held = bool if kind == "boolean" else int
    expect(
        all(item is None or type(item) is held for item in exactly(items, list)), "it does not fit its dtype"
    )
    return _library("pandas").array(items, dtype=kind)


def _zoned(moments: Any, body: Body) -> Any:
    expect(moments.dtype.kind == "M", "its column does not hold times")
    return _library("pandas").DatetimeIndex(moments).tz_localize("UTC").tz_convert(read_zone(body)).array


def _texts(items: list[Any], body: Body) -> Any:
    storage, missing = exactly(body.get("o"), list)
    expect(storage in ("python", "pyarrow") and missing in ("nan", "<NA>"), "its kind of text is unknown")
    expect(all(item is None or type(item) is str for item in items), "its column holds more than text")
    pandas = _library("pandas")
    blank = math.nan if missing == "nan" else pandas.NA
    # Text columns with NaN for missing values are pandas 3's default; pandas 2 knows NA only.
    options = {} if blank is pandas.NA else {"na_value": blank}
    return pandas.array(items, dtype=pandas.StringDtype(storage, **options))


def _write_index(value: Any) -> Body:
    pandas = sys.modules["pandas"]
    if type(value) is pandas.RangeIndex:
        return {"v": {"range": [value.start, value.stop, value.step], "name": value.name}}
    if type(value) not in (pandas.Index, pandas.DatetimeIndex):
        raise Refused(type_name(value), "call reset_index() first: this kind of index is not recorded")
    parts = {
        "column": _write_column(value, value),
        "freq": getattr(value, "freqstr", None),
        "name": value.name,
    }
    return _checked({"v": parts}, value, _read_index, lambda made: _same_index(made, value))


def _read_index(body: Body) -> Any:
    pandas, parts = _library("pandas"), take(body, dict)
    if "range" in parts:
        start, stop, step = (exactly(part, int) for part in exactly(parts["range"], list))
        return pandas.RangeIndex(start, stop, step, name=parts["name"])
    column, freq = _read_column(parts["column"]), parts["freq"]
    if freq is None:
        return pandas.Index(column, dtype=column.dtype, name=parts["name"])
    expect(_FREQ.fullmatch(exactly(freq, str)), "its frequency is not one that is recorded")
    return pandas.DatetimeIndex(column, freq=freq, name=parts["name"])


def _write_series(value: Any) -> Body:
    parts = {"column": _write_column(value, value), "index": value.index, "name": value.name}
    return _checked({"v": parts}, value, _read_series, lambda made: _same_series(made, value))


def _read_series(body: Body) -> Any:
    parts, pandas = take(body, dict), _library("pandas")
    column = _read_column(parts["column"])
    return pandas.Series(column, index=_index(parts["index"]), dtype=column.dtype, name=parts["name"])


def _write_frame(value: Any) -> Body:
    columns = [_write_column(value.iloc[:, at], value) for at in range(value.shape[1])]
    parts = {"columns": columns, "labels": value.columns, "index": value.index}
    return _checked({"v": parts}, value, _read_frame, lambda made: _same_frame(made, value))


def _read_frame(body: Body) -> Any:
    parts, pandas = take(body, dict), _library("pandas")
    index, labels = _index(parts["index"]), _index(parts["labels"])
    columns = [_read_column(column) for column in exactly(parts["columns"], list)]
    expect(len(columns) == len(labels), "it has other columns than labels")
    expect(all(len(column) == len(index) for column in columns), "its columns differ in length")
    series = {at: pandas.Series(column, index=index, dtype=column.dtype) for at, column in enumerate(columns)}
    made = pandas.DataFrame(series, index=index)
    made.columns = labels
    return made


def _index(value: Any) -> Any:
    expect(isinstance(value, _library("pandas").Index), "its index is not an index")
    return value


def _checked(body: Body, value: Any, read: Callable[[Body], Any], same: Callable[[Any], bool]) -> Body:
    """`body`, when reading it gives `value` exactly: pandas has more kinds of column than are known here."""
    try:
        if same(read(body)) and not getattr(value, "attrs", None):
            return body
    except (ArithmeticError, AttributeError, LookupError, PayloadError, TypeError, ValueError):
        pass
    raise Refused(type_name(value), _PANDAS_CURE)


def _same_index(made: Any, value: Any) -> bool:
    return type(made) is type(value) and bool(made.dtype == value.dtype and made.identical(value))


def _same_series(made: Any, value: Any) -> bool:
    return bool(made.dtype == value.dtype and made.equals(value) and _same_index(made.index, value.index))


def _same_frame(made: Any, value: Any) -> bool:
    same_axes = _same_index(made.index, value.index) and _same_index(made.columns, value.columns)
    return bool(same_axes and list(made.dtypes) == list(value.dtypes) and made.equals(value))


def _singleton(name: str) -> Row:
    def read(body: Body) -> Any:
        take(body, type(None))
        return getattr(_library("pandas"), name)

    return Row(f"pandas.{name}", lambda value: {"v": None}, read)


ARRAY_ROWS: Final[dict[str, Row]] = {
    row.tag: row
    for row in (
        Row("ndarray", _write_array, _read_array),
        Row("numpy", _write_scalar, _read_scalar),
        Row("pandas.Timestamp", _write_timestamp, _read_timestamp),
        Row("pandas.Timedelta", _write_timedelta, _read_timedelta),
        _singleton("NaT"),
        _singleton("NA"),
        Row("pandas.Index", _write_index, _read_index),
        Row("pandas.Series", _write_series, _read_series),
        Row("pandas.DataFrame", _write_frame, _read_frame),
    )
}
