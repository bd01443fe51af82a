"""Profile `audit-record/1`: one JSON value has exactly one encoding.

UTF-8 JSON object, keys sorted, no white space; keys match `[A-Za-z_][A-Za-z0-9_.-]{0,63}`; values are objects,
arrays, strings without lone surrogates, booleans, and integers with |n| < 2^53. No floats, no nulls, at most
eight levels deep, at most 65,535 bytes (a C2SP entry bundle counts length in 16 bits). On these documents the
output equals RFC 8785 (JCS).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

import orjson

from audit.errors import RecordInvalid

JSON: TypeAlias = "Mapping[str, JSON] | list[JSON] | tuple[JSON, ...] | str | int | bool"
Plain: TypeAlias = "dict[str, Plain] | list[Plain] | str | int | bool"

MAX_BYTES: Final = 65_535
MAX_DEPTH: Final = 8
MAX_INT: Final = 2**53 - 1
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", re.ASCII)


def encode(record: Mapping[str, JSON]) -> bytes:
    """Return the one encoding of `record`.

    Raises:
        RecordInvalid: the value is outside the profile; names the path.
    """
    return encode_plain(plain(record, "record", 1))


def encode_plain(record: Plain) -> bytes:
    """Encode what `plain` returned; checks only size and surrogates."""
    try:
        encoded = orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise RecordInvalid("record", f"cannot be encoded: {error}", "remove lone surrogates") from None
    if len(encoded) > MAX_BYTES:
        raise RecordInvalid("record", f"{len(encoded)} bytes exceed {MAX_BYTES}", "move content into the payload")
    return encoded


def decode(encoded: bytes) -> dict[str, Plain]:
    """Parse `encoded` and prove that it is the one encoding of what it says.

    Encoding again and comparing bytes catches duplicate keys, white space, unsorted keys and other spellings.

    Raises:
        RecordInvalid: not JSON, outside the profile, or another spelling.
    """
    value = parse(encoded)
    plain(value, "record", 1)
    require_canonical(value, encoded)
    return value


def parse(encoded: bytes) -> dict[str, Plain]:
    """Parse a JSON object, of which nothing is proven yet; raises RecordInvalid."""
    if len(encoded) > MAX_BYTES:
        raise RecordInvalid("record", f"{len(encoded)} bytes exceed {MAX_BYTES}")
    try:
        value = orjson.loads(encoded)
    except orjson.JSONDecodeError as error:
        raise RecordInvalid("record", f"is not JSON: {error}") from None
    if type(value) is not dict:
        raise RecordInvalid("record", "is not an object")
    return value


def require_canonical(value: Plain, encoded: bytes) -> None:
    """Check that `encoded` is the one encoding of `value`, which is inside the profile; raises RecordInvalid."""
    if encode_plain(value) != encoded:
        raise RecordInvalid("record", "is not in canonical form")


def is_key(key: object) -> bool:
    """Whether `key` can name a field."""
    return type(key) is str and _KEY.fullmatch(key) is not None


def plain(value: object, path: str, depth: int) -> Plain:
    """Copy `value` into dicts and lists, refusing everything outside the profile."""
    kind = type(value)
    if kind is str or kind is bool:
        return value  # type: ignore[return-value]
    if kind is int:
        if -MAX_INT <= value <= MAX_INT:  # type: ignore[operator]
            return value  # type: ignore[return-value]
        raise RecordInvalid(path, "integer outside ±(2^53-1)", "write it as a decimal string")
    if depth > MAX_DEPTH:
        raise RecordInvalid(path, f"deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {_key(k, path): plain(v, f"{path}.{k}", depth + 1) for k, v in value.items()}
    if kind is list or kind is tuple:
        return [plain(v, path, depth + 1) for v in value]  # type: ignore[attr-defined]
    remedy = "leave the field out" if value is None else "use text, whole numbers, booleans, arrays, objects"
    raise RecordInvalid(path, f"{kind.__name__} is outside the profile", remedy)


def _key(key: object, path: str) -> str:
    if type(key) is str and _KEY.fullmatch(key):
        return key
    raise RecordInvalid(path, f"key {key!r} is outside the profile", "use ASCII letters, digits, _ . -")
