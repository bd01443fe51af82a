"""On the profile, our encoding is RFC 8785's, and reading it back gives what was written."""

import json
from typing import Any

import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import canonical

KEYS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,12}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
LEAVES = TEXT | st.booleans() | st.integers(-canonical.MAX_INT, canonical.MAX_INT)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)
RECORDS = st.dictionaries(KEYS, VALUES, max_size=6)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@settings(max_examples=300, deadline=None)
@given(RECORDS.filter(lambda record: depth(record) <= canonical.MAX_DEPTH))
def test_the_encoding_is_that_of_rfc_8785_and_of_the_standard_library(record: dict[str, Any]) -> None:
    encoded = canonical.encode(record)
    assert encoded == rfc8785.dumps(record)
    assert encoded == json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    assert canonical.decode(encoded) == record


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | TEXT.map(str.encode))
def test_reading_bytes_either_refuses_or_proves_them_canonical(encoded: bytes) -> None:
    try:
        record = canonical.decode(encoded)
    except canonical.RecordInvalid:
        return
    assert canonical.encode(record) == encoded
