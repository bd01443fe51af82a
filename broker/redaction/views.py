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
from collections.abc import Iterator
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


_RUN = re.compile(r"[A-Za-z0-9+/_\-]{16,}={0,2}")
_HEX = re.compile(r"(?:[0-9a-f]{2}){8,}|(?:[0-9A-F]{2}){8,}")
_FOLDABLE = re.compile(
    r"""\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\["\\/bfnrt]|&#[0-9]{1,7};|&#[xX][0-9a-fA-F]{1,6};|&(?:amp|lt|gt|quot|apos|commat|period);"""
    r"""|(?:%[0-9A-Fa-f]{2})+|[^\x00-\x7f]+"""
)
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'", "commat": "@", "period": "."}
_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LATIN: Final = "ABE3KMHOPCTYXaeopcyxijsdhlqwABEZHIKMNOPTYXavoptuc"
_ALIKE: Final = (
    "\u0410\u0412\u0415\u0417\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u04bb\u04cf\u051b\u051d"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03b1\u03bd\u03bf\u03c1\u03c4\u03c5\u03f2"
)
_CONFUSABLE: Final = str.maketrans(
    _ALIKE + "\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\u3002\u2024\u066b\u00b7", _LATIN + "-" * 7 + "." * 4
)
"""Latin look-alikes of Cyrillic and Greek, and the dashes and dots of typesetting (subset of UTS #39)."""
_INVISIBLE: Final = frozenset("\u034f\u115f\u1160\u3164\uffa0") | {chr(code) for code in range(0xFE00, 0xFE10)}


def folded(text: str) -> Folded | None:
    """JSON, C, HTML and percent escapes resolved, NFKC, invisible characters dropped, look-alikes folded.

    None for a text that this leaves alone.
    """
    parts: list[str] = []
    origin: list[int] = []
    at = 0
    for match in _FOLDABLE.finditer(text):
        start = match.start()
        parts.append(text[at:start])
        origin.extend(range(at, start))
        for char, offset in _resolved(match.group()):
            parts.append(char)
            origin.append(start + offset)
        at = match.end()
    if not at:
        return None
    parts.append(text[at:])
    origin.extend(range(at, len(text) + 1))
    result = Folded("".join(parts), origin)
    return result if result.text != text else None


def foldable_runs(text: str) -> Iterator[tuple[int, int]]:
    """The blank-free runs of ``text`` that hold something to fold."""
    for run in re.finditer(r"\S+", text):
        if (inner := folded(run.group())) is not None and inner.text != run.group():
            yield run.span()


def _resolved(found: str) -> list[tuple[str, int]]:
    first = found[0]
    if first == "%":
        return _percent(found)
    if first == "&":
        body = found[1:-1]
        if body[0] != "#":
            return [(_NAMED[body], 0)]
        number = int(body[1:].lower().removeprefix("x"), 16 if body[1] in "xX" else 10)
        return [(chr(number) if 0 < number < 0x110000 else "\ufffd", 0)]
    if first == "\\":
        return [(chr(int("0x" + found[2:], 0)), 0)] if found[1] in "ux" else [(_SHORT.get(found[1], found[1]), 0)]
    return _plain(found)


def _percent(found: str) -> list[tuple[str, int]]:
    """As UTF-8, or Latin-1 where it is none."""
    raw = bytes.fromhex(found.replace("%", ""))
    try:
        decoded = raw.decode()
    except UnicodeDecodeError:
        return [(char, 3 * index) for index, char in enumerate(raw.decode("latin-1"))]
    result, at = [], 0
    for char in decoded:
        result.append((char, 3 * at))
        at += len(char.encode())
    return result


def _plain(found: str) -> list[tuple[str, int]]:
    result: list[tuple[str, int]] = []
    for index, char in enumerate(found):
        if char in _INVISIBLE or unicodedata.category(char) == "Cf":
            continue
        digit = unicodedata.digit(char, None)
        plain = str(digit) if digit is not None else unicodedata.normalize("NFKC", char).translate(_CONFUSABLE)
        result += [(part, index) for part in plain]
    return result


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
        run = match.group()
        if run.islower() and not _HEX.search(run):
            continue  # base 64 of any 12 bytes of text has capitals; paths and identifiers have not
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
