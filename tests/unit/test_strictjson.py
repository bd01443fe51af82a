"""The strict reader: what passes has one meaning, everything else is refused by name."""

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

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
