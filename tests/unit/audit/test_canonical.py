"""The profile audit-record/1."""

import pytest

from audit import canonical
from audit.errors import RecordInvalid


def nested(depth: int) -> dict[str, object]:
    value: object = 1
    for _ in range(depth):
        value = {"a": value}
    return value  # type: ignore[return-value]


def test_keys_are_sorted_and_no_space_is_written() -> None:
    assert (
        canonical.encode({"b": [1, True], "a": {"d": "ü", "c": ()}}) == '{"a":{"c":[],"d":"ü"},"b":[1,true]}'.encode()
    )


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ({"a": 1.0}, "float"),
        ({"a": None}, "NoneType"),
        ({"a": 2**53}, "integer outside"),
        ({"a": -(2**53)}, "integer outside"),
        ({"ä": 1}, "key"),
        ({"": 1}, "key"),
        ({1: 1}, "key"),
        ({"a": b"x"}, "bytes"),
        ({"a": "\ud800"}, "surrogate"),
        ({"a": {"x"}}, "set"),
        (nested(9), "deeper"),
        ({"a": "x" * 65_530}, "65535"),
    ],
)
def test_what_is_outside_the_profile_is_refused(value: dict[str, object], word: str) -> None:
    with pytest.raises(RecordInvalid, match=word):
        canonical.encode(value)  # type: ignore[arg-type]


def test_the_limits_themselves_are_inside() -> None:
    canonical.encode(nested(8))  # type: ignore[arg-type]
    canonical.encode({"a": 2**53 - 1, "b": -(2**53 - 1)})
    assert len(canonical.encode({"a": "x" * (65_535 - 8)})) == 65_535


@pytest.mark.parametrize(
    "spelling",
    [
        b'{"a":1,"a":1}',
        b'{"a":1, "b":2}',
        b'{"b":1,"a":2}',
        b'{"a":1}\n',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":-0}',
        b'{"a":1e2}',
        b'{"a":1.0}',
        b'{"a":null}',
        b'{"a":"\\ud800"}',
        b'{"a":9007199254740992}',
        b'{"a":36893488147419103232}',
        b"[1]",
        b'"a"',
        b"",
        b'{"a":"\xff"}',
        b'{"a":NaN}',
        b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_another_spelling_of_a_record_is_refused(spelling: bytes) -> None:
    with pytest.raises(RecordInvalid):
        canonical.decode(spelling)
