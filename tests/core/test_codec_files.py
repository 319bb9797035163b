"""A File in a payload: comes back as it is, and counts by its path alone."""

import os

import pytest

from onward.core import codec
from onward.core.codec_files import MARK, File, files_in
from onward.core.errors import PayloadError

A = File("out/a.json", 3, "0" * 32)
REMADE = File("out/a.json", 4, "1" * 32)


def test_a_file_comes_back_as_it_was_at_any_depth() -> None:
    value = {"files": [A, (REMADE,)], "n": 1}
    text = codec.encode(value)
    assert codec.decode(text) == value
    assert files_in(text) == [A, REMADE]
    assert MARK in text


def test_text_that_looks_like_a_file_is_none() -> None:
    text = codec.encode({"a": f"{{{MARK}}}", "b": {"$t": "file", "v": "x"}})
    assert files_in(text) == []


def test_a_file_whose_name_is_not_utf8_comes_back() -> None:
    odd = File(os.fsdecode(b"a\xff"), 3, "0" * 32)
    text = codec.encode([odd])
    assert codec.decode(text) == [odd]
    assert files_in(text) == [odd]


def test_as_an_argument_and_as_an_item_a_file_counts_by_its_path() -> None:
    assert codec.fingerprint((A, 1)) == codec.fingerprint((REMADE, 1))
    assert codec.fingerprint(A) != codec.fingerprint(File("out/b.json", 3, "0" * 32))
    assert codec.fingerprint(A) != codec.fingerprint("out/a.json")
    assert codec.item_key([A]) == codec.item_key([REMADE])


def test_a_file_is_opened_and_printed_by_its_path() -> None:
    assert os.fspath(A) == str(A) == "out/a.json"


@pytest.mark.parametrize(
    "body",
    [
        '"v":"a","s":3',
        '"v":"a","s":-1,"h":"00000000000000000000000000000000"',
        '"v":"","s":3,"h":"00000000000000000000000000000000"',
        '"v":"a\\u0000","s":3,"h":"00000000000000000000000000000000"',
        '"v":"a","s":3.0,"h":"00000000000000000000000000000000"',
        '"v":"a","s":3,"h":"0"',
        '"v":"a","s":3,"h":7',
        '"v":["a"],"s":3,"h":"00000000000000000000000000000000"',
        '"v":"a","s":3,"h":"00000000000000000000000000000000","x":1',
    ],
)
def test_a_malformed_file_is_refused(body: str) -> None:
    with pytest.raises(PayloadError):
        codec.decode(f'{{"$t":"file",{body}}}')
