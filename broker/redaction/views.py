r"""Other readings of one text: escapes resolved, look-alikes folded, encoded segments decoded.

A *folded* view (JSON, HTML and percent escapes; NFKC, invisible and confusable characters) knows for each of its
characters where it stands in the text, so a finding maps back to exactly its original characters. An *encoded* view
(hex, base64, base64url, gzip, zlib) stands for its whole segment: a hit anywhere inside redacts the segment.
"""

import base64
import binascii
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from broker.redaction.entities import Span, Tier

MAX_DEPTH: Final = 3
MAX_OUTPUT: Final = 1 << 20
MAX_RATIO: Final = 20
"""A compressed segment may grow by this factor; beyond it is withheld, as is what lies deeper than MAX_DEPTH."""


@dataclass(frozen=True, slots=True)
class Folded:
    """``origin[i]`` is where character i of ``text`` starts in the original; one more entry marks the end."""

    text: str
    origin: list[int]

    def back(self, start: int, end: int) -> tuple[int, int]:
        """The original range of ``text[start:end]``."""
        return self.origin[start], max(self.origin[end - 1] + 1, self.origin[end])


@dataclass(frozen=True, slots=True)
class Encoded:
    """``text`` is what ``original[start:end]`` decodes to."""

    text: str
    start: int
    end: int


_ESCAPE = re.compile(r"""\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\["\\/bfnrt]|&#[0-9]{1,7};|&#[xX][0-9a-fA-F]{1,6};|&(?:amp|lt|gt|quot|apos|commat|period);""")
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_RUN = re.compile(r"[A-Za-z0-9+/_\-]{16,}={0,2}")
_HEX = re.compile(r"(?:[0-9a-f]{2}){8,}|(?:[0-9A-F]{2}){8,}")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'", "commat": "@", "period": "."}
_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def unescaped(text: str) -> Folded | None:
    """JSON, C and HTML escapes resolved, or None where there are none."""
    return _substituted(text, _ESCAPE, _resolve_escape)


def _resolve_escape(found: str) -> list[tuple[str, int]]:
    if found[0] == "&":
        body = found[1:-1]
        if body[0] != "#":
            return [(_NAMED[body], 0)]
        number = int(body[2:], 16) if body[1] in "xX" else int(body[1:])
        return [(chr(number) if 0 < number < 0x110000 else "\ufffd", 0)]
    if found[1] in "ux":
        return [(chr(int(found[2:], 16)), 0)]
    return [(_SHORT.get(found[1], found[1]), 0)]


def unquoted(text: str) -> Folded | None:
    """Percent escapes resolved as UTF-8 (Latin-1 where they are none), or None where there are none."""
    return _substituted(text, _PERCENT, _resolve_percent)


def _resolve_percent(found: str) -> list[tuple[str, int]]:
    raw = bytes.fromhex(found.replace("%", ""))
    try:
        decoded = raw.decode()
    except UnicodeDecodeError:
        decoded = raw.decode("latin-1")
        return [(char, 3 * index) for index, char in enumerate(decoded)]
    result, at = [], 0
    for char in decoded:
        result.append((char, 3 * at))
        at += len(char.encode())
    return result


_STRANGE = re.compile(r"[^\x00-\x7f]+")
_CONFUSABLE: Final = str.maketrans(
    "АВЕЗКМНОРСТУХаеорсухіјѕԁһӏԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧανορτυϲ‐‑‒–—−﹣。․٫·",
    "ABE3KMHOPCTYXaeopcyxijsdhlqwABEZHIKMNOPTYXavoptuc-------....",
)
"""Latin look-alikes of Cyrillic and Greek, and the dashes and dots of typesetting (subset of UTS #39)."""


def normalised(text: str) -> Folded | None:
    """NFKC, invisible characters dropped, look-alikes folded; None for text that this leaves alone."""
    if text.isascii():
        return None
    folded = _substituted(text, _STRANGE, _fold)
    return folded if folded and folded.text != text else None


def _fold(found: str) -> list[tuple[str, int]]:
    result: list[tuple[str, int]] = []
    for index, char in enumerate(found):
        if unicodedata.category(char) == "Cf" or char in "\u034f\u115f\u1160\u3164\uffa0" or "\ufe00" <= char <= "\ufe0f":
            continue
        digit = unicodedata.digit(char, None)
        plain = str(digit) if digit is not None else unicodedata.normalize("NFKC", char).translate(_CONFUSABLE)
        result += [(part, index) for part in plain]
    return result


def _substituted(text: str, pattern: re.Pattern[str], resolve: Callable[[str], list[tuple[str, int]]]) -> Folded | None:
    parts: list[str] = []
    origin: list[int] = []
    at = 0
    for match in pattern.finditer(text):
        parts.append(text[at : match.start()])
        origin.extend(range(at, match.start()))
        for char, offset in resolve(match.group()):
            parts.append(char)
            origin.append(match.start() + offset)
        at = match.end()
    if not at:
        return None
    parts.append(text[at:])
    origin.extend(range(at, len(text) + 1))
    return Folded("".join(parts), origin)


class Budget:
    """Decoded characters that one call may still produce."""

    def __init__(self, limit: int = MAX_OUTPUT) -> None:
        self.left = limit

    def spend(self, size: int) -> bool:
        """Take ``size`` characters; False once the budget is gone."""
        self.left -= size
        return self.left >= 0


class Bomb(ValueError):
    """A compressed segment grows beyond ratio or budget; the argument is the reason for the marker."""


def encoded(text: str, budget: Budget) -> Iterator[Encoded | Span]:
    """Segments of ``text`` that decode to text, or an UNSCANNED span for one that grows beyond its bounds."""
    for match in _RUN.finditer(text):
        for start, end in _pieces(match):
            try:
                decoded = _decode(text[start:end], budget)
            except Bomb as bomb:
                yield withheld(start, end, str(bomb))
                break
            if decoded is not None:
                yield Encoded(decoded, start, end)
                break


def withheld(start: int, end: int, reason: str) -> Span:
    """A span that nothing may look through."""
    return Span("UNSCANNED", start, end, f"unscanned.{reason}", Tier.KEY, 1.0, kind=reason)


def _pieces(match: re.Match[str]) -> Iterator[tuple[int, int]]:
    """The whole run, then, for a run cut by ``/``, its longest part (a segment inside a path)."""
    yield match.span()
    run = match.group()
    if "/" in run:
        at = match.start()
        sizes = []
        for part in run.split("/"):
            sizes.append((len(part), at))
            at += len(part) + 1
        size, start = max(sizes)
        if size >= 16:
            yield start, start + size


def _decode(segment: str, budget: Budget) -> str | None:
    for raw in _bytes_of(segment):
        if raw[:2] == b"\x1f\x8b" or (raw[:1] == b"\x78" and raw[1:2] in {b"\x01", b"\x5e", b"\x9c", b"\xda"}):
            raw = _inflated(raw, budget)  # noqa: PLW2901 - the same bytes, one layer less
        text = _readable(raw)
        if text is not None:
            if not budget.spend(len(text)):
                raise Bomb("budget")
            return text
    return None


def _bytes_of(segment: str) -> Iterator[bytes]:
    if _HEX.fullmatch(segment):
        yield bytes.fromhex(segment)
        return
    if segment == segment.lower():
        return  # base 64 of any 12 bytes of text has capitals; paths and identifiers have not
    body = segment.rstrip("=")
    if len(body) % 4 == 1:
        body = body[:-1]
    try:
        yield base64.b64decode(body.translate(_URLSAFE) + "=" * (-len(body) % 4))
    except binascii.Error:
        return


_URLSAFE = str.maketrans("-_", "+/")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def _readable(raw: bytes) -> str | None:
    """UTF-8 (or UTF-16 little-endian, as PowerShell encodes) without control characters, else None."""
    if raw[1:2] == b"\0" and len(raw) % 2 == 0 and not any(raw[1::2]):
        raw = raw[::2]
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text) else text


def _inflated(raw: bytes, budget: Budget) -> bytes:
    limit = min(MAX_RATIO * len(raw) + 1024, max(budget.left, 0) + 1)
    inflater = zlib.decompressobj(wbits=47)
    try:
        plain = inflater.decompress(raw, limit)
    except zlib.error:
        return raw
    if inflater.unconsumed_tail or len(plain) >= limit:
        raise Bomb("ratio")
    return plain
