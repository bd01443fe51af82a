"""Exact numbers, units and instants: what the selector language computes with.

Numbers are decimals. A JSON float is read in the shortest text that stands for it, which is the text it was written
as; sums and differences are exact, quotients are rounded to 28 digits (half to even). Instants are unix seconds.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, DecimalException
from typing import Any

DIGITS_MAX = 40
EXPONENT_MAX = 30
EXACT = Context(prec=220, rounding=ROUND_HALF_EVEN)
"""Wide enough for sums and products of numbers within the range."""
QUOTIENT = Context(prec=28, rounding=ROUND_HALF_EVEN)

_DECIMAL = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_GROUPED = re.compile(r"-?[0-9]{1,3}(?:[,_][0-9]{3})+(?:\.[0-9]{1,40})?", re.ASCII)
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9})\d{0,6})?)? ?(Z|UTC|[+-]\d\d:?\d\d)", re.ASCII
)
_SPOKEN = re.compile(
    r"(?:[A-Z][a-z]{2}, )?(\d{1,2}) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) (UTC|GMT|[+-]\d\d:?\d\d)", re.ASCII
)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_PIECE = re.compile(r"\s*(-?[0-9][0-9,_]*(?:\.[0-9]+)?)\s*([A-Za-z\u00b5%]+)", re.ASCII)

_BINARY, _METRIC = (Decimal(1024), Decimal(1000))
UNITS: dict[str, tuple[str, Decimal]] = {
    "ns": ("time", Decimal("1e-9")),
    "us": ("time", Decimal("1e-6")),
    "\u00b5s": ("time", Decimal("1e-6")),
    "ms": ("time", Decimal("1e-3")),
    "s": ("time", Decimal(1)),
    "sec": ("time", Decimal(1)),
    "m": ("time", Decimal(60)),
    "min": ("time", Decimal(60)),
    "h": ("time", Decimal(3600)),
    "d": ("time", Decimal(86400)),
    "%": ("share", Decimal("0.01")),
    "share": ("share", Decimal(1)),
    "mcpu": ("cpu", Decimal("0.001")),
    "cpu": ("cpu", Decimal(1)),
    "B": ("size", Decimal(1)),
    **{f"{letter}B": ("size", _METRIC**power) for power, letter in enumerate("kMGT", 1)},
    **{f"{letter}iB": ("size", _BINARY**power) for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}i": ("size", _BINARY**power) for power, letter in enumerate("KMGT", 1)},
    **{letter: ("size", _METRIC**power) for power, letter in enumerate("KMGT", 1)},
}
"""Unit -> (dimension, factor)."""
_EPOCH_MIN, _EPOCH_MAX = Decimal(10**8), Decimal(10**11)


class Unverifiable(Exception):
    """A claim that cannot be judged; ``code`` says why and is part of the answer."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True, order=True)
class Instant:
    """A moment, in unix seconds."""

    seconds: Decimal

    def __str__(self) -> str:
        """ISO 8601 in UTC, with the fraction that it has."""
        whole = int(self.seconds)
        fraction = EXACT.subtract(self.seconds, Decimal(whole))
        try:
            text = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=whole)).strftime("%Y-%m-%dT%H:%M:%S")
        except OverflowError:
            return plain(self.seconds)
        return text + (plain(fraction)[1:] if fraction else "") + "Z"


def bounded(number: Decimal) -> Decimal:
    """``number`` within the range in which arithmetic is exact; else ``number.range``."""
    if not number.is_finite():
        raise Unverifiable("selector.not_number")
    _, digits, exponent = number.as_tuple()
    if number and (len(digits) > 2 * DIGITS_MAX or not -EXPONENT_MAX <= number.adjusted() <= EXPONENT_MAX):
        raise Unverifiable("number.range")
    assert isinstance(exponent, int)
    if exponent < -2 * DIGITS_MAX:
        raise Unverifiable("number.range")
    return number


def number_of(node: Any) -> Decimal | None:
    """The number that ``node`` is or spells plainly; None for anything else (booleans are no numbers)."""
    if isinstance(node, bool):
        return None
    if isinstance(node, Decimal):
        return node
    if isinstance(node, int):
        return bounded(Decimal(node))
    if isinstance(node, float):
        return bounded(Decimal(repr(node)))
    if isinstance(node, str) and len(node) <= 90 and _DECIMAL.fullmatch(node):
        return bounded(Decimal(node))
    return None


def spelled_number(text: str) -> Decimal | None:
    """The number that ``text`` spells, with separators between thousands allowed."""
    bare = text.strip()
    if len(bare) <= 90 and _GROUPED.fullmatch(bare):
        bare = bare.replace(",", "").replace("_", "")
    return number_of(bare)


def divide(left: Decimal, right: Decimal) -> Decimal:
    """``left / right``, rounded to 28 digits; ``number.zero`` for a divisor of zero."""
    if not right:
        raise Unverifiable("number.zero")
    try:
        return bounded(QUOTIENT.divide(left, right))
    except DecimalException:
        raise Unverifiable("number.range") from None


def plain(number: Decimal) -> str:
    """``number`` as decimal text without an exponent and without idle zeros."""
    text = format(EXACT.plus(number), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def measure(node: Any, unit: str, bare: str = "") -> Decimal:
    """``node`` in ``unit``: a text with its own units (``1m30s``, ``512Mi``, ``17 %``), or a bare number in ``bare``.

    Raises ``unit.unknown``, ``unit.none`` (a bare number, and nobody said in what), ``unit.dimension`` and ``unit.text``.
    """
    if unit not in UNITS or (bare and bare not in UNITS):
        raise Unverifiable("unit.unknown")
    dimension, factor = UNITS[unit]
    number = number_of(node)
    if number is None and isinstance(node, str):
        number = spelled_number(node)
    if number is not None:
        if not bare:
            raise Unverifiable("unit.none")
        base, own = EXACT.multiply(number, UNITS[bare][1]), UNITS[bare][0]
    elif isinstance(node, str):
        base, own = _spelled_measure(node)
    else:
        raise Unverifiable("unit.text")
    if own != dimension:
        raise Unverifiable("unit.dimension")
    return divide(base, factor)


def _spelled_measure(text: str) -> tuple[Decimal, str]:
    """Value in base units and dimension of a text such as ``250ms`` or ``1h2m``; several pieces are for times only."""
    at, total, dimension, pieces = 0, Decimal(0), "", 0
    if len(text) > 64:
        raise Unverifiable("unit.text")
    while at < len(text.rstrip()):
        piece = _PIECE.match(text, at)
        number = spelled_number(piece.group(1)) if piece else None
        if piece is None or number is None or piece.group(2) not in UNITS:
            raise Unverifiable("unit.text")
        own, factor = UNITS[piece.group(2)]
        total, at, pieces = EXACT.add(total, EXACT.multiply(number, factor)), piece.end(), pieces + 1
        if pieces > 1 and not own == dimension == "time":
            raise Unverifiable("unit.text")
        dimension = own
    if not pieces:
        raise Unverifiable("unit.text")
    return total, dimension


def instant_of(node: Any, scale: Decimal | None = None) -> Instant | None:
    """The instant that ``node`` is: unix seconds (or ``scale`` seconds a unit), or text with a zone; else None."""
    if isinstance(node, Instant):
        return node
    if isinstance(node, str) and (match := _ISO.fullmatch(node.strip()) if len(node) <= 48 else None):
        year, month, day, hour, minute, second, fraction, zone = match.groups()
        return _instant((year, month, day, hour, minute, second or "0"), zone, fraction or "")
    if isinstance(node, str) and (match := _SPOKEN.fullmatch(node.strip()) if len(node) <= 48 else None):
        day, name, year, hour, minute, second, zone = match.groups()
        month = str(_MONTHS.index(name) + 1) if name in _MONTHS else "0"
        return _instant((year, month, day, hour, minute, second), zone, "")
    number = number_of(node)
    if number is None:
        return None
    seconds = EXACT.multiply(number, scale) if scale is not None else number
    return Instant(seconds) if _EPOCH_MIN <= seconds < _EPOCH_MAX else None


def _instant(parts: tuple[str, ...], zone: str, fraction: str) -> Instant | None:
    """Unix seconds of a calendar time; None for a day that no calendar has."""
    try:
        moment = datetime(*(int(part) for part in parts), tzinfo=UTC)  # type: ignore[misc,arg-type]
    except ValueError:
        return None
    offset = 0
    if zone[0] in "+-":
        hours, minutes = int(zone[1:3]), int(zone[-2:])
        offset = (hours * 3600 + minutes * 60) * (1 if zone[0] == "+" else -1)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    whole = Decimal(since.days * 86400 + since.seconds - offset)
    return Instant(EXACT.add(whole, Decimal(f"0.{fraction}")) if fraction else whole)
