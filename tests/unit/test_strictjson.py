"""The strict reader: what passes has one meaning, everything else is refused by name."""

import json
import os
import tracemalloc
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import strictjson
from broker.errors import BadRequest, BrokerError, TooLarge
from tests.parts import ROOT, corpus

DECIDED = ROOT / "tests" / "vectors" / "strictjson" / "decided.txt"


def said(data: bytes, **options: Any) -> str:
    try:
        strictjson.read(data, **options)
    except BrokerError as error:
        return error.error_code
    return "accepted"


def cases(kind: str) -> list[Path]:
    return sorted((corpus("jsontestsuite") / "test_parsing").glob(f"{kind}_*.json"))


def test_every_text_that_is_no_json_is_refused_as_malformed() -> None:
    found = cases("n")
    assert len(found) == 188
    assert {path.name: said(path.read_bytes()) for path in found} == {path.name: "json.malformed" for path in found}


def test_every_text_that_readers_disagree_on_is_decided_as_reviewed() -> None:
    lines = [f"{path.name:<55}{said(path.read_bytes())}\n" for path in (*cases("y"), *cases("i"))]
    if os.environ.get("WICKETGATE_UPDATE"):
        DECIDED.write_text("".join(lines))
    assert "".join(lines) == DECIDED.read_text()


def test_accepted_texts_mean_what_the_standard_library_reads() -> None:
    for path in cases("y"):
        data = path.read_bytes()
        if said(data, floats=True) == "accepted":
            assert strictjson.read(data, floats=True) == json.loads(data), path.name


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"a":1,"a":1}', "json.duplicate_key"),
        (b'{"a":{"b":1,"\\u0062":2}}', "json.duplicate_key"),
        (b'[{"a":":"},{"a":1,"b":"\\":","a":2}]', "json.duplicate_key"),
        (b'{"a":NaN}', "json.malformed"),
        (b'{"a":-Infinity}', "json.malformed"),
        (b'{"a":1e400}', "json.malformed"),
        (b'{"a":9007199254740993}', "json.integer_range"),
        (b'{"a":-9007199254740993}', "json.integer_range"),
        (b'{"a":' + b"9" * 300 + b"}", "json.integer_range"),
        (b'{"a":' + b"9" * 5000 + b"}", "json.malformed"),
        (b'{"a":1.5}', "json.float"),
        (b'{"a":1e2}', "json.float"),
        (b'{"a":1E+2}', "json.float"),
        (b"[1,-9007199254740993]", "json.integer_range"),
        (b"[12345678901234567890 ,1]", "json.integer_range"),
        (b'{"a":0.12345678901234567890}', "json.float"),
        (b'"\\ud800"', "json.malformed"),
        (b'"\\udc00\\ud800"', "json.malformed"),
        (b'"\xed\xa0\x80"', "json.malformed"),
        (b'\xef\xbb\xbf{"a":1}', "json.malformed"),
        ('{"a":1}'.encode("utf-16"), "json.malformed"),
        ('{"a":1}'.encode("utf-16-le"), "json.malformed"),
        ('{"a":1}'.encode("utf-32"), "json.malformed"),
        (b"[" * 33 + b"]" * 33, "json.depth"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "json.depth"),
        (b"[" * 100_000 + b"]" * 100_000, "json.malformed"),
        ('{"' + "e" + chr(0x301) + '":1}', "json.key_form"),
        (b"", "json.malformed"),
        (b"\x00", "json.malformed"),
    ],
)
def test_what_lies_outside_i_json_is_refused_by_name(data: bytes | str, code: str) -> None:
    assert said(data.encode() if isinstance(data, str) else data) == code


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 32 + b"]" * 32,
        b'{"a":9007199254740992}',
        b'{"a":-9007199254740992}',
        b'{"a":"1.5e3:"}',
        b'{"a:b":{"a:b":1}}',
        '"\U0001f600 \\ud83d\\ude00"'.encode(),
    ],
)
def test_what_lies_at_the_border_is_read(data: bytes) -> None:
    assert strictjson.read(data) == json.loads(data)


def test_a_body_over_its_bound_is_too_large_and_not_even_parsed() -> None:
    with pytest.raises(TooLarge):
        strictjson.read(b"x" * 1_048_577)
    assert strictjson.read(b" " * 1_048_575 + b"1") == 1
    with pytest.raises(TooLarge):
        strictjson.read(b'{"a":1}', bytes_max=6)


def long_list(values: int, value: bytes = b"1") -> bytes:
    return b"[" + b",".join([value] * values) + b"]"


@pytest.mark.parametrize("value", [b"1", b'""', b"[]", b"{}", b'{"a":1}', b'"\\\\\\""', b" 1 ", b'"\xc3\xa9,[{:"'])
def test_the_number_of_values_is_bounded_whatever_they_are(value: bytes) -> None:
    weight = 1 + value.count(b"[]") + value.count(b"{}") + 2 * value.count(b'{"a":1}')
    at_bound = long_list(1000 // weight, value)
    assert strictjson.read(at_bound, nodes_max=1000) == json.loads(at_bound)
    assert said(long_list(1000 // weight + 2, value), nodes_max=1000) == "json.too_many_values"


def test_a_text_of_a_few_long_strings_is_no_text_of_many_values() -> None:
    text = b'["' + b",:[{\\\\" * 5000 + b'","' + b'\\"' * 5000 + b'"]'
    assert strictjson.read(text, nodes_max=3) == json.loads(text)


def peak(call: Callable[[], Any]) -> int:
    """Bytes that a call takes at its height."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


LONG = {
    "one string": (b'["' + b"a" * 4_000_000 + b'"]', "accepted", 3),
    "one string of escapes": (b'["' + b"\\n" * 2_000_000 + b'"]', "accepted", 4),
    "one string of escaped quotes": (b'["' + b'\\"' * 2_000_000 + b'"]', "accepted", 4),
    "white space": (b"[" + b" " * 4_000_000 + b"]", "accepted", 3),
    "empty strings": (long_list(1_333_333, b'""'), "json.too_many_values", 2),
    "empty arrays": (long_list(1_333_333, b"[]"), "json.too_many_values", 3),
    "small integers": (long_list(2_000_000), "json.too_many_values", 3),
    "one open array after another": (b"[" * 4_000_000, "json.too_many_values", 3),
    "one open string after another": (b'["' * 2_000_000, "json.too_many_values", 3),
}


@pytest.mark.parametrize("name", LONG)
def test_memory_is_a_small_multiple_of_the_text_whatever_it_holds(name: str) -> None:
    data, code, most = LONG[name]
    codes: list[str] = []
    taken = peak(lambda: codes.append(said(data, bytes_max=len(data), floats=True)))
    # The parser sets aside twelve times the text, which the system hands out only as it is used.
    parser = peak(lambda: orjson.loads(data)) if code == "accepted" else 0
    assert (codes, taken < parser + most * len(data)) == ([code], True), (taken - parser) / len(data)


def test_a_body_must_be_an_object_where_one_is_asked_for() -> None:
    for data in (b"[]", b"1", b'"a"', b"null", b"true"):
        with pytest.raises(BadRequest) as caught:
            strictjson.read_object(data)
        assert caught.value.error_code == "json.not_an_object"


NFC = st.text(max_size=12).map(lambda text: unicodedata.normalize("NFC", text))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(NFC, below, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_every_value_survives_in_every_spelling(value: Any, ascii_only: bool, spaced: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=1 if spaced else None)
    assert strictjson.read(text.encode()) == value


@given(st.lists(st.tuples(NFC, VALUES), min_size=1, max_size=4), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_a_key_given_twice_is_refused_wherever_it_stands(items: list[tuple[str, Any]], depth: int) -> None:
    twice = [*items, items[0]]
    text = "{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in twice) + "}"
    for _ in range(depth):
        text = '[{"in":' + text + "}]"
    assert said(text.encode()) == "json.duplicate_key"


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    assert said(data) == "accepted" or said(data).startswith("json.")
