"""Bytes to I-JSON (RFC 7493), or a refusal that names what is wrong.

orjson does the parsing; around it stand the checks that parsers leave out: duplicate keys, integers beyond 2^53,
lone surrogates, byte-order marks, depth, size and the number of values. What passes here has one meaning, so the bytes
hashed, decided, executed and recorded cannot disagree. Time and memory are linear in the size whatever the bytes are,
and nothing is built of a text with too many values: its structure is counted first.
"""

import re
import unicodedata
from collections.abc import Iterable

import orjson

from broker.errors import BadRequest, TooLarge
from broker.model import Json

INTEGER_MAX = 2**53
DEPTH_MAX = 32
BYTES_MAX = 1_048_576
NODES_MAX = 200_000
"""Commas, colons and opening brackets of one text: at least its keys and values but one."""

# Possessive: what was taken is never tried again another way.
_LONG_NUMBER = re.compile(rb"[-+.0-9eE]{16,}+")
_FLOAT = re.compile(rb"[0-9][.eE]")
_SPACES = b" \t\r\n"


def read(
    data: bytes,
    *,
    bytes_max: int = BYTES_MAX,
    depth_max: int = DEPTH_MAX,
    nodes_max: int = NODES_MAX,
    floats: bool = False,
) -> Json:
    """Parse one JSON text.

    ``floats`` lets numbers with a fraction or exponent through (model messages); elsewhere exact decimals are text.
    Raises ``TooLarge`` over ``bytes_max`` or ``nodes_max``, ``BadRequest`` (code ``json.*``) for anything outside
    I-JSON.
    """
    if len(data) > bytes_max:
        raise TooLarge(f"the body is larger than {bytes_max} bytes", code="request.too_large")
    bare = _structure(data, nodes_max)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest(
            f"the body is not valid JSON at character {error.pos}",
            code="json.malformed",
            remedy="send UTF-8 JSON (RFC 8259) without a byte-order mark",
        ) from None
    _check_numbers(bare, floats=floats)
    plain_keys = data.isascii() and b"\\u" not in data
    if _count_keys(value, depth_max, plain_keys=plain_keys) != bare.count(b":"):
        raise BadRequest("an object has the same key twice", code="json.duplicate_key", remedy="send each key once")
    return value


def read_object(
    data: bytes, *, bytes_max: int = BYTES_MAX, nodes_max: int = NODES_MAX, floats: bool = False
) -> dict[str, Json]:
    """As ``read``, for bodies that must be one JSON object."""
    value = read(data, bytes_max=bytes_max, nodes_max=nodes_max, floats=floats)
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object", code="json.not_an_object", remedy="send {…}")
    return value


def _structure(data: bytes, nodes_max: int) -> bytes:
    """``data`` without its strings and white space; refuses one of too many values before anything is built of it.

    Only a valid text is read rightly here; where it is not valid, the parser stops at the same place.
    """
    text = data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data
    # Every string is a key or a value, so the pieces that are made here are bounded too.
    if text.count(b'"') > 2 * (nodes_max + 1):
        raise _too_many(nodes_max)
    bare = b"".join(text.split(b'"')[::2]).translate(None, _SPACES)
    if sum(bare.count(mark) for mark in (b",", b":", b"[", b"{")) > nodes_max:
        raise _too_many(nodes_max)
    return bare


def _too_many(nodes_max: int) -> TooLarge:
    return TooLarge(
        f"the body holds more than {nodes_max} keys and values",
        code="json.too_many_values",
        remedy="send less at once, or the bulk of it as text",
    )


def _check_numbers(bare: bytes, *, floats: bool) -> None:
    """Refuse numbers that readers disagree on; ``bare`` is the text without its strings."""
    for match in _LONG_NUMBER.finditer(bare):
        digits = match.group().lstrip(b"-")
        if digits.isdigit() and (len(digits) > 16 or int(digits) > INTEGER_MAX):
            raise BadRequest(
                "an integer is beyond 2^53", code="json.integer_range", remedy="send large numbers as strings"
            )
    if not floats and _FLOAT.search(bare):
        raise BadRequest(
            "a number has a fraction or an exponent",
            code="json.float",
            remedy='send exact decimals as strings, such as "0.25"',
        )


def _count_keys(value: Json, depth_max: int, *, plain_keys: bool) -> int:
    """Number of keys in the whole value, level by level; refuses excess depth and keys that are not in NFC."""
    keys = 0
    level = [value] if isinstance(value, (dict, list)) else []
    depth = 0
    while level:
        depth += 1
        if depth > depth_max:
            raise BadRequest(
                f"the body is nested deeper than {depth_max}", code="json.depth", remedy="send a flatter body"
            )
        below: list[Json] = []
        for item in level:
            children: Iterable[Json] = item
            if isinstance(item, dict):
                keys += len(item)
                if not plain_keys:
                    _check_keys(item)
                children = item.values()
            below += [child for child in children if isinstance(child, (dict, list))]
        level = below
    return keys


def _check_keys(item: dict[str, Json]) -> None:
    """Two spellings of one name must not be two keys."""
    for key in item:
        if not key.isascii() and not unicodedata.is_normalized("NFC", key):
            raise BadRequest("a key is not in Unicode form NFC", code="json.key_form", remedy="normalise keys to NFC")
