"""Prose shows figures only through claims: a figure that no verified claim backs is struck.

Figures are numbers and times of day that stand alone; digits inside a name (``replica-1``, ``3f0bdc9``, ``10.0.0.1``)
belong to the name. A figure is backed by a verified claim whose value, or what the gate found, is that number, exactly
or once rounded to the places that the prose gives; or whose instant shows that time of day in UTC. An instant that the
selector itself asks for by equality (``[?date=="…"]``) counts as found.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_HALF_EVEN, Decimal

from broker.evidence.quantities import instant_of, number_of, spelled_number
from broker.model import Json

STRUCK = "[…]"
_FIGURE = re.compile(
    r"(?<![\w.:/$-])(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z|\d\d:\d\d(?::\d\d)?)(?![\d:])"
    r"|(?<![\w.:/$])(?<![A-Za-z]-)(?P<number>\d+(?:[,_]\d{3})*(?:\.\d+)?)(?![\d:]|\.\d|[A-Za-z]+\d|xx)",
    re.ASCII,
)


def backed(text: str, claims: Iterable[Mapping[str, Json]]) -> str:
    """``text`` with every figure struck that no verified one of ``claims`` (with their verdicts) backs."""
    held = [claim for claim in claims if claim.get("verdict") == "verified"]
    numbers, times = set(_numbers(held)), set(_times(held))

    def judged(match: re.Match[str]) -> str:
        figure = match.group()
        if match.group("time"):
            return figure if figure in times else STRUCK
        number = spelled_number(figure)
        return figure if number is not None and _is_backed(number, numbers) else STRUCK

    return _FIGURE.sub(judged, text)


_ASKED_FOR = re.compile(r"==\s*[\"']([0-9TZ:.+-]{16,40})[\"']", re.ASCII)


def _values(claims: Iterable[Mapping[str, Json]]) -> Iterator[Json]:
    """What was claimed and what was found."""
    for claim in claims:
        yield claim.get("value")
        yield claim.get("actual")
        yield claim.get("onset")
        yield from _ASKED_FOR.findall(str(claim.get("selector", "")))


def _numbers(claims: Iterable[Mapping[str, Json]]) -> Iterator[Decimal]:
    """Every number of the claims; those within a text that was claimed count, too."""
    for value in _values(claims):
        number = number_of(value)
        if number is not None:
            yield abs(number)
        elif isinstance(value, str):
            for match in _FIGURE.finditer(value):
                spelled = spelled_number(match.group()) if match.group("number") else None
                if spelled is not None:
                    yield spelled


def _times(claims: Iterable[Mapping[str, Json]]) -> Iterator[str]:
    """Every spelling of the claims' instants."""
    for value in _values(claims):
        at = instant_of(value)
        if at is not None:
            text = str(at)
            yield from (text, text[11:16], text[11:19])


def _is_backed(number: Decimal, numbers: Iterable[Decimal]) -> bool:
    """Whether some number is this one, or rounds to it."""
    exponent = number.as_tuple().exponent
    place = Decimal(1).scaleb(exponent if isinstance(exponent, int) else 0)
    return any(
        other == number or other.quantize(place, ROUND_HALF_EVEN) == number for other in numbers if other < 10**15
    )
