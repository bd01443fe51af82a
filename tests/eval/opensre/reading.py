"""A claim in prose, taken apart: the tokens that can be true or false, and the typed claims made of them.

A token is a number, a time, a name of a thing (instance, user, table, metric, wait event) or a word of direction. Each
typed claim says which tokens it binds; a token that none binds is reported as untyped, never dropped.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.eval.opensre.cases import Case, Prose

TIME = re.compile(r"\b\d\d:\d\d(?::\d\d)?(?=Z|-\d\d:\d\dZ)")
NUMBER = re.compile(r"(?<![\w.$:/])(?<![A-Za-z]-)(?<!\d,)(?:~|<)?\d+(?:,\d{3})*(?:\.\d+)?(?![\d:])")
NAME = re.compile(
    r"\b(?:[a-z]+-prod(?:-replica-\d)?|replica-\d|[a-z]+_(?:reader|writer|svc|worker|events|log|index|archive)|rdsadmin|"
    r"(?!CloudWatch)[A-Z][a-z]+(?:[A-Z][A-Za-z]+)+|CPUUtilization|(?:IO|Lock|LWLock|Client|WAL|CPU):[A-Za-z]+)\b"
)
DIRECTION = re.compile(
    r"\b(?:rose|fell|grew|shrank|growing|shrinking|dropped|climbed|spiked|collapsed|declining|rising|falling|peaked|"
    r"bottomed|(?<=stayed )(?:above|below|under|over)|(?<=remained )(?:above|below|under|over)|(?<= to )under(?= \d)|"
    r"exceeded|(?<=metric is )(?:absent|present))\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(r'"[^"]*"')
UP = {"rose", "grew", "growing", "climbed", "spiked", "rising", "increased"}
DOWN = {"fell", "shrank", "shrinking", "dropped", "collapsed", "declining", "falling"}


@dataclass(frozen=True)
class Token:
    """One falsifiable piece of the prose."""

    kind: str
    start: int
    end: int
    text: str


def tokens_of(text: str) -> list[Token]:
    """Every token, in order; what stands in quotes is one quotation, not numbers and names."""
    quoted = [match.span() for match in _QUOTED.finditer(text)]
    found: list[Token] = []
    for kind, pattern in (("time", TIME), ("name", NAME), ("number", NUMBER), ("sign", DIRECTION)):
        for match in pattern.finditer(text):
            inside = any(start < match.start() < end for start, end in quoted)
            taken = any(one.start < match.end() and match.start() < one.end for one in found)
            if not inside and not taken:
                found.append(Token(kind, match.start(), match.end(), match.group()))
    return sorted(found, key=lambda one: one.start)


@dataclass(frozen=True)
class Amount:
    """A number of the prose with the width that its wording leaves, and its unit."""

    value: Decimal
    relative: Decimal
    unit: str = ""

    @classmethod
    def of(cls, text: str, unit: str = "", *, loose: bool = False) -> "Amount":
        """``~`` and ``near`` leave 7.5 %, plain figures half of their last place, and 1 % at least."""
        bare = text.lstrip("~<").replace(",", "")
        value = Decimal(bare)
        if loose or text.startswith("~"):
            return cls(value, Decimal("0.075"), unit)
        place = Decimal(1).scaleb(-len(bare.partition(".")[2]))
        half = (place / 2 / value) if value else Decimal(0)
        return cls(value, max(half, Decimal("0.01")), unit)


@dataclass
class Reading:
    """What becomes of one prose claim."""

    case: Case
    prose: Prose
    text: str
    claims: list[dict[str, Any]] = field(default_factory=list)
    covered: list[tuple[int, int]] = field(default_factory=list)

    def bind(self, *spans: tuple[int, int]) -> None:
        """Say that the claims made now rest on these places of the text."""
        self.covered += [span for span in spans if span != (-1, -1)]

    def untyped(self) -> list[Token]:
        """Tokens that no claim binds."""
        return [one for one in tokens_of(self.text) if not self.binds(one)]

    def binds(self, token: Token) -> bool:
        """Whether some claim binds the token."""
        return any(start <= token.start and token.end <= end for start, end in self.covered)

    def add(self, source: str, selector: str, op: str, value: Any = None, tolerance: Decimal | None = None) -> None:
        """One typed claim over the case's observation of ``source``."""
        claim: dict[str, Any] = {
            "observation": self.case.observations[source].id,
            "selector": selector,
            "op": op,
            "text": self.text[:500],
        }
        if op not in ("exists", "absent"):
            claim["value"] = str(value) if isinstance(value, Decimal) else value
        if tolerance is not None:
            claim["tolerance"] = format(tolerance.quantize(Decimal("0.0001")), "f")
        self.claims.append(claim)

    def near(self, source: str, selector: str, amount: Amount) -> None:
        """The selected number is the amount, within the width of its wording."""
        if amount.value and amount.relative <= Decimal("0.2"):
            self.add(source, selector, "eq", amount.value, amount.relative)
            return
        half = max(abs(amount.value) * amount.relative, Decimal("0.5") if not amount.value else Decimal(0))
        if not amount.value:
            self.add(source, selector, "eq", amount.value)
            return
        self.add(source, selector, "ge", amount.value - half)
        self.add(source, selector, "lt", amount.value + half)

    def day(self) -> datetime:
        """Midnight of the case's window, in UTC: prose gives times of day."""
        start = str(self.case.value("aws_performance_insights")["start_time"])
        return datetime.fromisoformat(start).astimezone(UTC).replace(hour=0, minute=0, second=0)

    def instant(self, clock: str) -> str:
        """ISO text of a time of day."""
        parts = [int(part) for part in clock.rstrip("Z").split(":")]
        hour, minute, second = (*parts, 0)[:3]
        moment = self.day() + timedelta(hours=hour, minutes=minute, seconds=second)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def later(self, clock: str, minutes: int) -> str:
        """ISO text of some minutes after a time of day."""
        moment = datetime.fromisoformat(self.instant(clock)) + timedelta(minutes=minutes)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def groups(match: re.Match[str], *names: str) -> Iterator[tuple[int, int]]:
    """Spans of the named groups of a match."""
    for name in names:
        yield match.span(name)
