"""Prose about series of CloudWatch, as typed claims. Each rule is one turn of phrase; it knows no case."""

import re
from decimal import Decimal
from typing import Any

from broker.evidence.quantities import Unverifiable, number_of
from broker.evidence.stages import evaluate
from broker.evidence.syntax import parse
from tests.eval.opensre.reading import DOWN, UP, Amount, Reading

SOURCE = "aws_cloudwatch_metrics"
N = r"(?:~|<)?\d+(?:,\d{3})*(?:\.\d+)?"
U = r"(?:\s?(?:GB/min|GB|MB/s|MB|ms|seconds|s\b|%))?"
T = r"\d\d:\d\d(?::\d\d)?"
SPOKEN = {"transaction log generation": "TransactionLogsGeneration"}
METRIC = r"(?!CloudWatch|ClientRead)[A-Z][a-z]+(?:[A-Z][A-Za-z]+)+|CPUUtilization"
"""Any word that is written like a metric: whether there is one is for the gate to say."""
BASE = {"Bytes": "B", "Bytes/Second": "B", "Seconds": "s", "Milliseconds": "ms"}
DIRECTIONS = re.compile(rf"\b({'|'.join(sorted(UP | DOWN))})\b")


class Series:
    """One series as a careful agent would look at it before it writes a claim."""

    def __init__(self, reading: Reading, metric: str, instance: str) -> None:
        self.reading, self.metric = reading, metric
        own = f' && dimensions[0].Value=="{instance}"' if instance else ""
        self.head = f'$.metric_data_results[?metric_name=="{metric}"{own}] | series(timestamps[*], values[*])'
        results = reading.case.value(SOURCE)["metric_data_results"]
        self.base = next((BASE.get(str(one["unit"]), "") for one in results if one["metric_name"] == metric), "")

    def look(self, stages: str) -> Decimal | None:
        """The one number that the stages give now, or None."""
        try:
            nodes = evaluate(parse(f"{self.head}{stages}"), self.reading.case.value(SOURCE))
        except Unverifiable:
            return None
        return number_of(nodes[0]) if len(nodes) == 1 else None

    def claim(self, stages: str, op: str, value: Any) -> None:
        self.reading.add(SOURCE, f"{self.head}{stages}", op, value)

    def near(self, window: str, reduce: str, amount: Amount) -> None:
        """The reduced value, in the prose's unit, is the amount."""
        stages = min((f"{window}{one}{reduce}" for one in self.units(amount.unit)), key=lambda s: self._off(s, amount))
        self.reading.near(SOURCE, f"{self.head}{stages}", amount)

    def units(self, unit: str) -> list[str]:
        """Conversions that a unit word may mean: GB is said of powers of 1000 and of 1024."""
        word = unit.strip().replace("seconds", "s").partition("/")[0]
        if not self.base or not word or word == "%":
            return [""]
        spelled = {"GB": ["GB", "GiB"], "MB": ["MB", "MiB"]}.get(word, [word])
        return [f" | as({one}, {self.base})" for one in spelled]

    def _off(self, stages: str, amount: Amount) -> Decimal:
        actual = self.look(stages)
        return abs(actual - amount.value) if actual is not None else Decimal("Infinity")


def amount(match: re.Match[str], name: str, unit: str = "", *, loose: bool = False) -> Amount:
    """The amount of a named group; ``unit`` names the group of its unit."""
    return Amount.of(match.group(name), (match.group(unit) or "").strip() if unit else "", loose=loose)


def type_metrics(reading: Reading) -> None:
    """Every rule on every stretch of the text that is about a metric."""
    words = "|".join([METRIC, *SPOKEN])
    found = list(re.finditer(rf"(?<!:)\b({words})\b", reading.text))
    if not found:
        return
    stretches: list[tuple[int, list[re.Match[str]]]] = []
    for match in found:
        joined = stretches and re.fullmatch(
            r"\s*(?:and|,)\s*", reading.text[stretches[-1][1][-1].end() : match.start()]
        )
        if joined:
            stretches[-1][1].append(match)
        elif re.search(rf"{N} $", reading.text[: match.start()]):
            continue  # "8,100 WriteIOPS" is an amount of another series' sentence
        else:
            stretches.append((match.start(), [match]))
    for place, (first, names) in enumerate(stretches):
        end = stretches[place + 1][0] if place + 1 < len(stretches) else len(reading.text)
        start = first if place else 0
        for name in names:
            Stretch(reading, name, start, end).read()


class Stretch:
    """One stretch of prose about one metric."""

    def __init__(self, reading: Reading, name: re.Match[str], start: int, end: int) -> None:
        self.reading, self.start = reading, start
        self.text = reading.text[start:end]
        metric = SPOKEN.get(name.group(), name.group())
        instance = re.search(r"\bon ([a-z]+-prod(?:-replica-\d)?)\b", self.text)
        self.series = Series(reading, metric, instance.group(1) if instance else "")
        self.name, self.instance = name, instance
        self.moved = False
        self.span = ""

    def read(self) -> None:
        before = len(self.reading.claims)
        rules = (
            self.absent,
            self.from_to,
            self.between,
            self.bounds,
            self.extremes,
            self.levels,
            self.near_zero,
            self.pace,
            self.times,
            self.windows,
            self.directions,
        )
        for rule in rules:
            rule()
        if len(self.reading.claims) > before:
            self.reading.bind(self.name.span())
            if self.instance:
                self.bind(self.instance, 1)

    def find(self, pattern: str) -> list[re.Match[str]]:
        return list(re.finditer(pattern, self.text))

    def bind(self, match: re.Match[str], *names: str | int) -> None:
        for name in names:
            start, end = match.span(name)
            if start >= 0:
                self.reading.bind((start + self.start, end + self.start))

    def direction(self, before: int) -> str:
        """The last word of direction before a place."""
        words = [match.group() for match in DIRECTIONS.finditer(self.text, 0, before)]
        return words[-1] if words else ""

    # -- rules ------------------------------------------------------------------------------------------------------

    def absent(self) -> None:
        for match in self.find(r"metric is (absent|present)"):
            path = f'$.metric_data_results[?metric_name=="{self.series.metric}"]'
            self.reading.add(SOURCE, path, "absent" if match.group(1) == "absent" else "exists")
            self.bind(match, 1)

    def from_to(self) -> None:
        edge = rf"(?:(?P<under>under|over) )?(?P<b>{N})(?P<plus>\+)?(?P<ub>{U})"
        forms = (rf"from (?P<a>{N})(?P<ua>{U}) to {edge}", rf"\((?P<a>{N})(?P<ua>{U})\s?→\s?{edge}\)")
        for match in [one for form in forms for one in self.find(form)]:
            window = re.match(rf"[^.]*?between (?P<t>{T})Z and (?P<u>{T})Z", self.text[match.end() :])
            at = re.match(r"[^.]*? in (?P<n>\d+) minutes", self.text[match.end() :])
            start, end, word = "", "", self.direction(match.start())
            if window:
                base = self.start + match.end()
                self.reading.bind(*((window.start(one) + base, window.end(one) + base) for one in ("t", "u")))
                first, last = window.group("t"), window.group("u")
                start = self._minute(first)
                end = self._minute(last)
            if at:
                base = self.start + match.end()
                self.reading.bind((at.start("n") + base, at.end("n") + base))
                end = self._after(int(at.group("n")))
            self._edge(start, "first" if not start else "max", match, "a", "ua" if match.group("ua").strip() else "ub")
            reach = "max" if word == "spiked" or end else "last"
            self._edge(end, reach, match, "b", "ub")
            self.moved = True
            if window:
                self.span = f' | since("{self.reading.instant(first)}") | until("{self.reading.later(last, 1)}")'
            self.bind(match, "a", "b", "under")

    def _edge(self, window: str, reduce: str, match: re.Match[str], name: str, unit: str) -> None:
        """One end of a movement: an amount, or a bound of it."""
        said = amount(match, name, unit)
        if name == "b" and match.group("plus"):
            self.series.claim(f"{window} | max", "ge", said.value)
        elif match.group(name).startswith("<") or (name == "b" and match.group("under")):
            op = "gt" if name == "b" and match.group("under") == "over" else "lt"
            self.series.claim(f"{window}{self.series.units(said.unit)[0]} | {reduce}", op, said.value)
        else:
            self.series.near(window, f" | {reduce}", said)

    def between(self) -> None:
        lead = r"(?P<word>between|ranged|rose to|fell to|stable at|sustained|stay(?:ed)? at|at)"
        for match in self.find(rf"{lead} (?P<a>{N})%?\s?(?:-|\u2013|and|to)\s?(?P<b>{N})(?P<u>{U})(?!:)(?!Z)"):
            if "Z" in self.text[match.end() : match.end() + 1] or self._in_parentheses(match):
                continue
            low, high = amount(match, "a", "u"), amount(match, "b", "u", loose=match.group("a").startswith("~"))
            slack = high.relative
            window = self._beginning()
            stages = f"{window}{self.series.units(high.unit)[0]}"
            returning = (
                "returning to" in self.text[: match.start()] or "baseline" in self.text[match.end() : match.end() + 12]
            )
            lowest, highest = (
                ("min", "max") if match.group("word") not in ("rose to", "fell to") or window else ("max", "max")
            )
            if returning:
                lowest = highest = "last"
            self.series.claim(f"{stages} | {lowest}", "ge", low.value * (1 - slack))
            self.series.claim(f"{stages} | {highest}", "le", high.value * (1 + slack))
            self.bind(match, "a", "b")
        for match in self.find(rf"returning to (?P<a>{N})-(?P<b>{N})(?P<u>{U}) baseline"):
            stages = self.series.units(match.group("u").strip())[0]
            self.series.claim(f"{stages} | last", "ge", Decimal(match.group("a")))
            self.series.claim(f"{stages} | last", "le", Decimal(match.group("b")))
            self.bind(match, "a", "b")

    def _in_parentheses(self, match: re.Match[str]) -> bool:
        return self.text[: match.start()].count("(") > self.text[: match.start()].count(")")

    def _beginning(self) -> str:
        """The window that begins at a minute of the series, dated by its onset."""
        match = re.search(r"beginning at minute (\d+)", self.text)
        if match is None:
            return ""
        self.bind(match, 1)
        edge = self._offset(int(match.group(1)))
        self.series.claim(" | onset", "eq", edge)
        return f' | since("{edge}")'

    def bounds(self) -> None:
        forms = rf"(?P<lead>stayed|remained|No sustained saturation|no .*?) (?P<word>above|below|under|over) (?P<n>{N})(?P<u>{U})"
        for match in self.find(forms):
            said, upper = amount(match, "n", "u"), match.group("word") in ("below", "under")
            stages = self.series.units(said.unit)[0]
            if match.group("lead").lower().startswith("no "):
                self.series.claim(f"{stages} | {'min' if upper else 'max'}", "ge" if upper else "le", said.value)
            else:
                self.series.claim(f"{stages} | {'max' if upper else 'min'}", "lt" if upper else "gt", said.value)
            self.bind(match, "word", "n")
        for match in self.find(rf"At (?P<n>{N})\+ such connections"):
            Series(self.reading, "DatabaseConnections", "").claim(" | min", "ge", amount(match, "n").value)
            self.bind(match, "n")

    def extremes(self) -> None:
        for match in self.find(rf"\b(?P<word>peaked|peaking|bottomed)(?: briefly)? at (?P<n>{N})(?P<u>{U})"):
            reduce = "min" if match.group("word") == "bottomed" else "max"
            self.series.near("", f" | {reduce}", amount(match, "n", "u"))
            self.bind(match, "word", "n")
        for match in self.find(rf"\breach(?:ed|ing) (?P<n>{N})(?P<u>{U})(?: (?P<m>WriteIOPS))?(?: by (?P<t>{T})Z)?"):
            series = Series(self.reading, match.group("m"), "") if match.group("m") else self.series
            window = self._minute(match.group("t")) if match.group("t") else ""
            series.near(window, " | max", amount(match, "n", "u"))
            self.bind(match, "n", "m", "t")

    def levels(self) -> None:
        word = r"(?:remained(?: stable)? at|stayed near|is at|is elevated at|stable at|averaged)"
        for match in self.find(rf"(?P<word>{word}) (?P<n>{N})(?!\d|,\d|\.\d)(?P<u>{U})(?!\s?[-\u2013]\d)"):
            last = match.group("word") in ("is at", "stayed near")
            said = amount(match, "n", "u", loose=match.group("word") == "stayed near")
            self.series.near("", " | last" if last else " | median", said)
            self.bind(match, "n")
        for match in self.find(
            rf"\((?P<t>{T})Z onward\)[^.]*? shows (?P<n>{N})(?P<u>{U})|returned to (?P<m>{N})(?P<v>{U}) baseline"
        ):
            if match.group("m"):
                low = amount(match, "m", "v")
                self.series.near("", " | last", Amount(low.value, Decimal("0.15"), low.unit))
                self.bind(match, "m")
                continue
            window = f' | since("{self.reading.instant(match.group("t"))}")'
            self.series.near(window, " | min", amount(match, "n", "u"))
            self.series.near(window, " | max", amount(match, "n", "u"))
            self.bind(match, "t", "n")
        for match in self.find(rf"(?P<n>{N})(?P<u>{U}) remaining"):
            self.series.near("", " | last", amount(match, "n", "u"))
            self.bind(match, "n")

    def near_zero(self) -> None:
        for match in self.find(r"near-zero"):
            top, word = self.series.look(" | max") or Decimal(0), self.direction(match.start())
            bound = top * Decimal("0.06")
            reduce = "last" if word == "collapsed" else "min"
            self.series.claim(f" | {reduce}", "le" if word in DOWN else "gt", bound)
            self._bind_direction(match.start())

    def pace(self) -> None:
        for match in self.find(rf"(?P<n>{N}) GB/min"):
            sign = -1 if self.direction(match.start()) in DOWN else 1
            said = amount(match, "n")
            per_second = {unit: said.value * factor / 60 for unit, factor in (("GB", 10**9), ("GiB", 2**30))}
            actual = self.series.look(" | rate") or Decimal(0)
            value = min(per_second.values(), key=lambda one: abs(one - abs(actual))) * sign
            text = value.quantize(Decimal(1))
            self.reading.add(SOURCE, f"{self.series.head} | rate", "eq", text, said.relative)
            self.bind(match, "n")
            self._bind_direction(match.start())

    def times(self) -> None:
        for match in self.find(rf"spiked[^.]*? at (?P<t>{T})Z"):
            before = self.series.look(f' | until("{self.reading.instant(match.group("t"))}") | max')
            bound = (before or Decimal(0)) * Decimal("1.5")
            self.series.claim(f"{self._minute(match.group('t'))} | max", "ge", bound)
            self.series.claim(f' | until("{self.reading.instant(match.group("t"))}") | max', "le", before or Decimal(0))
            self.bind(match, "t")
        for match in self.find(rf"dropped to (?P<n>{N}) at (?P<t>{T})Z and recovered fully by (?P<u>{T})Z"):
            self.series.near(self._minute(match.group("t")), " | max", amount(match, "n"))
            first = self.series.look(" | first") or Decimal(0)
            self.series.claim(f"{self._minute(match.group('u'))} | min", "ge", first * Decimal("0.9"))
            self.series.claim(f"{self._minute(match.group('u'), -1)} | max", "lt", first * Decimal("0.9"))
            self.bind(match, "n", "t", "u")
        for match in self.find(rf"starting at (?P<t>{T})Z"):
            self.series.claim(" | at_first", "eq", self.reading.instant(match.group("t")))
            self.bind(match, "t")
        for match in self.find(rf"\((?P<t>{T})-(?P<u>{T})Z\)"):
            stages = f' | since("{self.reading.instant(match.group("t"))}") | until("{self.reading.later(match.group("u"), 1)}")'
            top = self.series.look(" | max") or Decimal(0)
            self.series.claim(f"{stages} | max", "eq", top)
            self.series.claim(f"{stages} | min", "ge", top / 6)
            self.bind(match, "t", "u")

    def windows(self) -> None:
        for match in self.find(r"(?:over|across|throughout)(?: the)?(?: full)? (?P<n>\d+)[- ]minute"):
            path = f'$.metric_data_results[?metric_name=="{self.series.metric}"].timestamps[*] | count'
            self.reading.add(SOURCE, path, "eq", int(match.group("n")))
            self.bind(match, "n")

    def directions(self) -> None:
        """Each word of direction that no other rule took."""
        monotone = "monotonically" in self.text
        for match in DIRECTIONS.finditer(self.text):
            span = (match.start() + self.start, match.end() + self.start)
            if span in self.reading.covered:
                continue
            up = match.group() in UP
            if monotone:
                self.series.claim(" | rising" if up else " | falling", "eq", True)
            elif self.moved and match.group() != "spiked":
                self.series.claim(f"{self.span} | delta", "gt" if up else "lt", 0)
            else:
                self._swing(up=up)
            self.reading.bind(span)

    def _swing(self, *, up: bool) -> None:
        """Far above, or far below, where it began."""
        first = self.series.look(" | first") or Decimal(0)
        self.series.claim(" | max" if up else " | min", "ge" if up else "le", first * Decimal("1.5" if up else "0.5"))

    # -- places -----------------------------------------------------------------------------------------------------

    def _bind_direction(self, before: int) -> None:
        words = list(DIRECTIONS.finditer(self.text, 0, before))
        if words:
            self.reading.bind((words[-1].start() + self.start, words[-1].end() + self.start))

    def _minute(self, clock: str, shift: int = 0) -> str:
        return f' | since("{self.reading.later(clock, shift)}") | until("{self.reading.later(clock, shift + 1)}")'

    def _offset(self, minutes: int) -> str:
        start = str(self.reading.case.value(SOURCE)["start_time"])
        return self.reading.later(start[11:16], minutes)

    def _after(self, minutes: int) -> str:
        return f' | since("{self._offset(minutes)}") | until("{self._offset(minutes + 1)}")'
