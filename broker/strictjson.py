"""Bytes to I-JSON (RFC 7493), or a refusal that names what is wrong.

orjson does the parsing; around it stand the checks that parsers leave out: duplicate keys, integers beyond 2^53,
lone surrogates, byte-order marks, depth and size. What passes here has one meaning, so the bytes hashed, decided,
executed and recorded cannot disagree.
"""

import re
import unicodedata

import orjson

from broker.errors import BadRequest, TooLarge
from broker.model import Json

INTEGER_MAX = 2**53
DEPTH_MAX = 32
BYTES_MAX = 1_048_576

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_LONG_INTEGER = re.compile(rb"(?<![0-9.eE+])-?([0-9]{16,})(?![0-9]*[.eE])")
_FLOAT = re.compile(rb"[0-9][.eE]")


def read(data: bytes, *, bytes_max: int = BYTES_MAX, depth_max: int = DEPTH_MAX, floats: bool = False) -> Json:
    """Parse one JSON text.

    ``floats`` lets numbers with a fraction or exponent through (model messages); elsewhere exact decimals are text.
    Raises ``TooLarge`` over ``bytes_max``, ``BadRequest`` (code ``json.*``) for anything outside I-JSON.
    """
    if len(data) > bytes_max:
        raise TooLarge(f"the body is larger than {bytes_max} bytes", code="request.too_large")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest(
            f"the body is not valid JSON at character {error.pos}",
            code="json.malformed",
            remedy="send UTF-8 JSON (RFC 8259) without a byte-order mark",
        ) from None
    bare = _STRING.sub(b"", data)
    _check_numbers(bare, floats=floats)
    if _count_keys(value, depth_max) != bare.count(b":"):
        raise BadRequest("an object has the same key twice", code="json.duplicate_key", remedy="send each key once")
    return value


def read_object(data: bytes, *, bytes_max: int = BYTES_MAX, floats: bool = False) -> dict[str, Json]:
    """As ``read``, for bodies that must be one JSON object."""
    value = read(data, bytes_max=bytes_max, floats=floats)
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object", code="json.not_an_object", remedy="send {…}")
    return value


def _check_numbers(bare: bytes, *, floats: bool) -> None:
    """Refuse numbers that readers disagree on; ``bare`` is the text without its strings."""
    for match in _LONG_INTEGER.finditer(bare):
        if int(match.group(1)) > INTEGER_MAX:
            raise BadRequest(
                "an integer is beyond 2^53", code="json.integer_range", remedy="send large numbers as strings"
            )
    if not floats and _FLOAT.search(bare):
        raise BadRequest(
            "a number has a fraction or an exponent",
            code="json.float",
            remedy='send exact decimals as strings, such as "0.25"',
        )


def _count_keys(value: Json, depth_max: int) -> int:
    """Number of keys in the whole value; refuses excess depth and keys that are not in NFC."""
    keys = 0
    level: list[Json] = [value]
    depth = 0
    while level:
        depth += 1
        below: list[Json] = []
        for item in level:
            if isinstance(item, dict):
                keys += len(item)
                for key in item:
                    if not key.isascii() and not unicodedata.is_normalized("NFC", key):
                        raise BadRequest(
                            "a key is not in Unicode form NFC", code="json.key_form", remedy="normalise keys to NFC"
                        )
                below.extend(child for child in item.values() if isinstance(child, (dict, list)))
            elif isinstance(item, list):
                below.extend(child for child in item if isinstance(child, (dict, list)))
        if depth > depth_max and level:
            raise BadRequest(
                f"the body is nested deeper than {depth_max}", code="json.depth", remedy="send a flatter body"
            )
        level = below
    return keys
