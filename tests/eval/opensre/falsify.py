"""Systematic falsification of prose: one token a time, so that the sentence becomes false.

Numbers become other numbers: halved, a fifth less, a quarter more, doubled, tenfold; a bound (`under`, `above`, `+`) only
moves to the side on which the sentence becomes false, and both ends of a range move together, because a wider range is
no falsehood. Times move by 7 and 13 minutes and by an hour (to the second: by 13 seconds, too). Names become other names
of their kind. Words of direction become their opposites.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from tests.eval.opensre.cases import Case
from tests.eval.opensre.reading import Token, tokens_of

OPPOSITE = {
    "rose": "fell",
    "fell": "rose",
    "grew": "shrank",
    "growing": "shrinking",
    "dropped": "climbed",
    "spiked": "dropped",
    "collapsed": "climbed",
    "declining": "growing",
    "peaked": "bottomed",
    "above": "below",
    "below": "above",
    "under": "over",
    "over": "under",
    "exceeded": "fell below",
    "absent": "present",
}
FACTORS = ("0.5", "0.8", "1.25", "2", "10")
TIGHTER_UPPER = ("0.3", "0.1")
TIGHTER_LOWER = ("3", "10")
OTHER_NAMES = {
    "instance": ("ledger-prod", "ledger-prod-replica-9"),
    "replica": ("replica-7",),
    "user": ("ghost_writer", "ghost_reader"),
    "table": ("ghost_events", "ghost_index"),
}


@dataclass(frozen=True)
class Falsehood:
    """The prose with one token (or one range) falsified."""

    kind: str
    tokens: tuple[Token, ...]
    text: str
    how: str


def falsehoods(case: Case, text: str) -> Iterator[Falsehood]:
    """Every falsification of one prose claim."""
    tokens = tokens_of(text)
    ranges = _ranges(text, tokens)
    in_range = {one for pair in ranges for one in pair}
    for pair in ranges:
        yield from _shifted(text, pair)
    for token in tokens:
        if token.kind == "number" and token not in in_range:
            yield from _numbers(text, token)
        elif token.kind == "time":
            yield from _times(text, token)
        elif token.kind == "name":
            yield from _names(case, text, token)
        elif token.kind == "sign" and token.text.lower() in OPPOSITE:
            yield _replaced(text, token, OPPOSITE[token.text.lower()], "opposite")


def _ranges(text: str, tokens: list[Token]) -> list[tuple[Token, Token]]:
    """Pairs of numbers that are the two ends of one range."""
    numbers = [one for one in tokens if one.kind == "number"]
    found = []
    for left, right in pairwise(numbers):
        between = text[left.end : right.start]
        joined = re.fullmatch(r"%?\s?(?:-|\u2013)\s?", between)
        spoken = re.fullmatch(r"%?\s?and\s", between) and text[: left.start].rstrip().endswith("between")
        if joined or spoken:
            found.append((left, right))
    return found


def _shifted(text: str, pair: tuple[Token, Token]) -> Iterator[Falsehood]:
    """Both ends of a range moved together."""
    left, right = pair
    for factor in ("0.4", "2.5"):
        moved = text[: right.start] + _times_factor(right.text, factor) + text[right.end :]
        moved = moved[: left.start] + _times_factor(left.text, factor) + moved[left.end :]
        yield Falsehood("number", pair, moved, f"range x{factor}")


def _numbers(text: str, token: Token) -> Iterator[Falsehood]:
    """One number moved; to where the sentence is false."""
    for factor in _factors(text, token):
        said = _times_factor(token.text, factor)
        if said != token.text:
            yield _replaced(text, token, said, f"x{factor}")
    if Decimal(token.text.lstrip("~<").replace(",", "")) == 0:
        for said in ("50", "300"):
            yield _replaced(text, token, said, f"to {said}")


def _factors(text: str, token: Token) -> tuple[str, ...]:
    """What to multiply a number by."""
    before, after = text[: token.start], text[token.end :]
    upper = bool(re.search(r"(?:under|below) $", before)) or token.text.startswith("<")
    lower = bool(re.search(r"(?:above|over) $", before)) or after.startswith("+")
    if re.search(r"\b[Nn]o (?:\w+ ){0,3}(?:above|over) $", before):
        upper, lower = True, False
    return TIGHTER_UPPER if upper else TIGHTER_LOWER if lower else FACTORS


def _times_factor(text: str, factor: str) -> str:
    """A number times a factor, written as the number was."""
    mark = text[: len(text) - len(text.lstrip("~<"))]
    bare = text.lstrip("~<")
    places = len(bare.partition(".")[2])
    value = Decimal(bare.replace(",", "")) * Decimal(factor)
    rounded = value.quantize(Decimal(1).scaleb(-places))
    return mark + (f"{rounded:,f}" if "," in bare else f"{rounded:f}")


def _times(text: str, token: Token) -> Iterator[Falsehood]:
    """A time of day moved."""
    parts = [int(part) for part in token.text.split(":")]
    shifts = [3600, 420, -780] + ([13] if len(parts) == 3 else [])
    for shift in shifts:
        seconds = (parts[0] * 3600 + parts[1] * 60 + (parts[2] if len(parts) == 3 else 0) + shift) % 86400
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}" + (f":{seconds % 60:02}" if len(parts) == 3 else "")
        yield _replaced(text, token, clock, f"{shift:+} s")


def _names(case: Case, text: str, token: Token) -> Iterator[Falsehood]:
    """A name replaced by another of its kind: one that nobody has, or one of the same case."""
    name = token.text
    if ":" in name:
        waits = [str(one["name"]) for one in case.value("aws_performance_insights")["top_wait_events"]]
        others = [*[one for one in waits if one != name and ":" in one][:2], "LWLock:Ghost"]
    elif name[0].isupper():
        others = [one for one in _flattest(case) if one != name][:2]
        if "is absent" not in text:  # of a metric that nobody has, that would be true
            others.append("GhostMetric")
    else:
        others = [one for one in OTHER_NAMES[_kind(name)] if one != name]
    for other in others:
        yield _replaced(text, token, other, f"to {other}")


def _flattest(case: Case) -> list[str]:
    """Metrics of the case, those that move least first: what is said of one that moved is false of them."""
    results = case.value("aws_cloudwatch_metrics")["metric_data_results"]
    spread = {
        str(one["metric_name"]): (max(one["values"]) - min(one["values"])) / (max(map(abs, one["values"])) or 1)
        for one in results
    }
    return sorted(spread, key=lambda name: (spread[name], name))


def _kind(name: str) -> str:
    """What a name in small letters is the name of."""
    if "-prod" in name:
        return "instance"
    if name.startswith("replica-"):
        return "replica"
    return "user" if re.search(r"_(?:reader|writer|svc|worker)$|^rdsadmin$", name) else "table"


def _replaced(text: str, token: Token, by: str, how: str) -> Falsehood:
    return Falsehood(token.kind, (token,), text[: token.start] + by + text[token.end :], f"{token.text}: {how}")
