"""Exact checks on candidates: checksums, ranges and grammars, each from its public definition."""

import binascii
import ipaddress
import math
import re
import zlib
from collections import Counter
from typing import Final

import orjson

LUHN_ODD: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B check digit."""
    total = 0
    for index, char in enumerate(reversed(digits)):
        value = ord(char) - 48
        total += LUHN_ODD[value] if index % 2 else value
    return total % 10 == 0


_IIN: Final = (
    # issuer range (lowest, highest prefix of equal length), lengths; from the schemes' published BIN tables
    ("34", "34", {15}), ("37", "37", {15}),  # American Express
    ("4", "4", {13, 16, 19}),  # Visa
    ("51", "55", {16}), ("2221", "2720", {16}),  # Mastercard, with the 2-series of 2017
    ("6011", "6011", set(range(16, 20))), ("644", "649", set(range(16, 20))), ("65", "65", set(range(16, 20))),  # Discover
    ("300", "305", set(range(14, 20))), ("3095", "3095", set(range(14, 20))), ("36", "36", set(range(14, 20))), ("38", "39", set(range(14, 20))),  # Diners
    ("3528", "3589", set(range(16, 20))), ("1800", "1800", {15}), ("2131", "2131", {15}),  # JCB
    ("62", "62", set(range(16, 20))), ("81", "81", set(range(16, 20))),  # UnionPay
    ("50", "50", set(range(12, 20))), ("56", "58", set(range(12, 20))), ("63", "63", set(range(12, 20))), ("67", "67", set(range(12, 20))), ("6304", "6304", set(range(12, 20))),  # Maestro
    ("2200", "2204", {16}),  # Mir
)  # fmt: skip


def card_issuer(digits: str) -> bool:
    """Whether prefix and length belong to a payment scheme."""
    return any(low <= digits[: len(low)] <= high and len(digits) in lengths for low, high, lengths in _IIN)


def card(digits: str) -> bool:
    """A payment card number: issuer range, length and Luhn; one digit repeated is no card."""
    return card_issuer(digits) and luhn(digits) and len(set(digits)) > 1


IBAN_LENGTHS: Final = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28,
    "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28,
    "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24,
    "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26,
    "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip
"""Length by country, SWIFT IBAN registry release 99."""


def iban(text: str) -> bool:
    """ISO 13616 with country length and ISO 7064 mod 97-10; ``text`` is upper-case without spaces."""
    if IBAN_LENGTHS.get(text[:2]) != len(text) or not text.isalnum():
        return False
    rotated = text[4:] + text[:4]
    return int("".join(str(int(char, 36)) for char in rotated)) % 97 == 1


def ssn(area: str, group: str, serial: str) -> bool:
    """A US social security number that can have been issued (or an ITIN, 9xx); SSA's rules since 2011."""
    return area not in {"000", "666"} and group != "00" and serial != "0000"


_LABEL = re.compile(r"(?!-)[A-Za-z0-9\u0080-\U0010ffff-]{1,63}(?<!-)")
_FILE_SUFFIXES = frozenset(
    [
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "ico",
        "css",
        "js",
        "ts",
        "jsx",
        "tsx",
        "java",
        "class",
        "py",
        "rb",
        "go",
        "rs",
        "php",
        "html",
        "xml",
        "json",
        "yaml",
        "yml",
        "txt",
        "log",
        "conf",
        "so",
        "dll",
        "exe",
        "jar",
        "tgz",
        "gz",
        "zip",
        "whl",
        "md",
    ]
)


def email_domain(domain: str) -> bool:
    """A host name of two or more labels whose last is alphabetic (or punycode) and no file suffix."""
    labels = domain.split(".")
    top = labels[-1]
    if len(labels) < 2 or len(domain) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return False
    alphabetic = top.isalpha() and len(top) >= 2
    return (alphabetic or top.lower().startswith("xn--")) and top.lower() not in _FILE_SUFFIXES


def public_ip(text: str) -> bool:
    """A globally routable unicast address: neither private nor documentation, loopback, link-local or multicast."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return False
    return parsed.is_global and not parsed.is_multicast


def jwt_header(segment: str) -> bool:
    """Whether a JWT's first segment decodes to a JSON object with ``alg``, ``enc`` or ``typ`` (RFC 7515)."""
    try:
        raw = binascii.a2b_base64(segment.replace("-", "+").replace("_", "/") + "=" * (-len(segment) % 4))
        header = orjson.loads(raw)
    except (binascii.Error, ValueError):
        return False
    return isinstance(header, dict) and bool({"alg", "enc", "typ"} & set(header))


def entropy(text: str) -> float:
    """Shannon entropy in bits a character."""
    size = len(text)
    return -sum(count / size * math.log2(count / size) for count in Counter(text).values()) if size else 0.0


_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def crc_suffix(token: str) -> bool:
    """GitHub's and npm's published check: the last 6 base-62 characters are the CRC-32 of the rest after the prefix."""
    body, suffix = token.partition("_")[2][:-6], token[-6:]
    number = 0
    for char in suffix:
        if char not in _BASE62:
            return False
        number = number * 62 + _BASE62.index(char)
    return number == zlib.crc32(body.encode())


def opaque(text: str, *, shortest: int = 16, bits: float = 3.0) -> bool:
    """Looks machine-made: long, mixed, high entropy; not a word, a path, an identifier of code or a placeholder."""
    if len(text) < shortest or text.isalpha() or entropy(text) < bits:
        return False
    return any(char.isdigit() for char in text) and any(char.isalpha() for char in text)
