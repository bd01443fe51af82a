"""Prose about Performance Insights, as typed claims."""

import re
from decimal import Decimal

from broker.evidence.quantities import Unverifiable, number_of
from broker.evidence.stages import evaluate
from broker.evidence.syntax import parse
from tests.eval.opensre.reading import Amount, Reading

SOURCE = "aws_performance_insights"
N = r"(?:~|<)?\d+(?:,\d{3})*(?:\.\d+)?"
WAIT = r"(?:IO|Lock|LWLock|Client|WAL|CPU):[A-Za-z]+"
VERB = r"(?:INSERT|UPDATE|SELECT|VACUUM FREEZE)"
LOAD = r"(?:AAS|avg active sessions|active sessions)"


def type_insights(reading: Reading) -> None:
    """Every rule; names of tables and waits are looked up here whatever evidence a claim names."""
    if SOURCE in reading.prose.sources:
        for rule in (_loads, _dominant, _statements, _users, _averages, _calls, _each):
            rule(reading)
    _things(reading)


def bind(reading: Reading, match: re.Match[str], *names: str | int) -> None:
    reading.bind(*(match.span(name) for name in names))


def look(reading: Reading, selector: str) -> Decimal | None:
    """The one number that a selector gives now, as the agent sees it; None for anything else."""
    try:
        nodes = evaluate(parse(selector), reading.case.value(SOURCE))
    except Unverifiable:
        return None
    return number_of(nodes[0]) if len(nodes) == 1 else None


def nearest(reading: Reading, selectors: list[str], said: Amount) -> None:
    """Cite the place that fits best: several tables of one answer hold loads of one name."""

    def off(selector: str) -> Decimal:
        actual = look(reading, selector)
        return abs(actual - said.value) if actual is not None else Decimal("Infinity")

    reading.near(SOURCE, min(selectors, key=off), said)


def of_wait(name: str, verb: str) -> list[str]:
    """Where the load of a wait event stands: in total, or within the kind of statement that the sentence speaks of."""
    within = f'$.top_sql[?statement~/(?:^|: ){verb}/].wait_events[?name=="{name}"].db_load_avg | max'
    return [f'$.top_wait_events[?name=="{name}"].db_load_avg', *([within] if verb else [])]


def of_verb(verb: str) -> list[str]:
    """Where the load of a kind of statement stands."""
    return [f"$.top_sql[?statement~/(?:^|: ){verb}/].db_load_avg | max"]


def last_verb(reading: Reading, before: int) -> str:
    """The kind of statement that the same sentence spoke of last."""
    sentence = re.split(r"\. ", reading.text[:before])[-1]
    return str((re.findall(VERB, sentence) or [""])[-1])


def _loads(reading: Reading) -> None:
    forms = (
        rf"(?P<w>{WAIT})(?: waits)?(?: as the (?:dominant|primary|top) wait(?: event)?)?(?: load)?(?: at| is only)? \(?(?P<n>{N}) AAS",
        rf"(?P<w>{WAIT}) as the dominant wait event \((?P<n>{N}) AAS",
    )
    seen: set[int] = set()
    for form in forms:
        for match in re.finditer(form, reading.text):
            if match.start("n") in seen:
                continue
            seen.add(match.start("n"))
            verb = last_verb(reading, match.start())
            places = of_wait(match.group("w"), verb)
            if verb and "(" in match.group():
                places += of_verb(verb)
            nearest(reading, places, Amount.of(match.group("n")))
            reading.add(SOURCE, "$.top_wait_events[*].name", "contains", match.group("w"))
            bind(reading, match, "w", "n")


def _dominant(reading: Reading) -> None:
    forms = (
        rf"(?P<w>{WAIT}) as the (?:dominant|primary|top) wait",
        rf"dominant wait event is (?P<w>{WAIT})",
        rf"(?P<w>{WAIT}) dominant",
        r"waiting on (?P<w>ClientRead)",
        r"with (?P<w>WAL write) waits",
    )
    for form in forms:
        for match in re.finditer(form, reading.text):
            word = {"WAL write": "IO:WALWrite", "ClientRead": "Client:ClientRead"}.get(
                match.group("w"), match.group("w")
            )
            reading.add(SOURCE, "$.top_wait_events[*].name | first", "eq", word)
            bind(reading, match, "w")


def _statements(reading: Reading) -> None:
    text = reading.text
    for match in re.finditer(rf'"(?P<q>SELECT[^"]+)" consuming (?P<n>{N}) {LOAD}', text):
        reading.near(SOURCE, f'$.top_sql[?statement=="{match.group("q")}"].db_load_avg', Amount.of(match.group("n")))
        bind(reading, match, "q", "n")
    forms = (
        rf"(?P<v>{VERB}) (?:query|statement) (?:as the )?(?:dominant load|top load consumer|consuming) ?\(?(?P<n>{N}) AAS",
        rf"(?P<v>{VERB}) (?:query|statement) as the (?:dominant load|top load consumer) \((?P<n>{N}) AAS",
        rf"(?P<n>{N}) AAS on (?P<v>{VERB})",
        rf"(?P<v>{VERB}) at (?P<n>{N}) AAS",
        rf"(?P<v>VACUUM FREEZE) on \w+ as the dominant process at (?P<n>{N}) AAS",
    )
    seen: set[int] = set()
    for form in forms:
        for match in re.finditer(form, text):
            if match.start("n") not in seen:
                seen.add(match.start("n"))
                nearest(reading, of_verb(match.group("v")), Amount.of(match.group("n")))
                bind(reading, match, "n")
    leads = rf"(?P<v>{VERB}) (?:statements dominated|archival query as the dominant|query as the dominant|statement as the top)|(?P<w>VACUUM FREEZE) on \w+ as the dominant"
    for match in re.finditer(leads, text):
        reading.add(SOURCE, "$.top_sql[*].statement | first", "contains", match.group("v") or match.group("w"))


def _users(reading: Reading) -> None:
    form = rf"(?P<u>[a-z]+_(?:reader|writer|svc|worker)|rdsadmin)\b(?: user \([^)]*\))?(?: accounts for| {VERB} at| {VERB} query consuming) (?P<n>{N}) AAS"
    for match in re.finditer(form, reading.text):
        name = match.group("u")
        places = [f'$.top_users[?name=="{name}"].db_load_avg']
        verb = re.search(VERB, match.group())
        nearest(reading, places + (of_verb(verb.group()) if verb else []), Amount.of(match.group("n")))
        reading.add(SOURCE, "$.top_users[*].name", "contains", name)
        bind(reading, match, "u", "n")


def _things(reading: Reading) -> None:
    """Tables that statements name, and waits named without a figure."""
    for match in re.finditer(r"\b[a-z]+_(?:events|log|index|archive)\b", reading.text):
        reading.add(SOURCE, "$.top_sql[*].statement", "contains", match.group())
        bind(reading, match, 0)
    for match in re.finditer(
        rf"(?:blocked on|accumulating|waits? on|on|generating|consuming) (?P<w>{WAIT})", reading.text
    ):
        verb = last_verb(reading, match.start())
        path = (
            f"$.top_sql[?statement~/(?:^|: ){verb}/].wait_events[*].name | first"
            if verb
            else "$.top_wait_events[*].name"
        )
        reading.add(SOURCE, path, "eq" if verb else "contains", match.group("w"))
        bind(reading, match, "w")


def _averages(reading: Reading) -> None:
    for match in re.finditer(rf"(?:db_load|DB load) averaged (?P<n>{N}) (?:AAS|active sessions)", reading.text):
        reading.near(SOURCE, "$.db_load.values[*] | avg", Amount.of(match.group("n")))
        bind(reading, match, "n")
    for match in re.finditer(r"db_load of (?P<a>[\d.]+)-(?P<b>[\d.]+) AAS post-recovery", reading.text):
        reading.add(SOURCE, "$.db_load.values[-5:] | min", "ge", Decimal(match.group("a")))
        reading.add(SOURCE, "$.db_load.values[-5:] | max", "le", Decimal(match.group("b")))
        bind(reading, match, "a", "b")


def _calls(reading: Reading) -> None:
    for match in re.finditer(rf"(?P<n>{N}) (?P<t>\w+ )?(?P<v>{VERB}) calls/sec", reading.text):
        nearest(
            reading, [f"$.top_sql[?statement~/{match.group('v')}/].calls_per_sec | max"], Amount.of(match.group("n"))
        )
        bind(reading, match, "n")
    for match in re.finditer(rf"with (?P<n>{N}) calls/sec throughput", reading.text):
        reading.near(SOURCE, "$.top_sql[*].calls_per_sec | max", Amount.of(match.group("n")))
        bind(reading, match, "n")


def _each(reading: Reading) -> None:
    for match in re.finditer(r"each consuming (?P<a>\d+)-(?P<b>\d+) CPU AAS", reading.text):
        path = '$.top_sql[0:2].wait_events[?name=="CPU:user"].db_load_avg'
        reading.add(SOURCE, f"{path} | min", "ge", Decimal(match.group("a")) - Decimal("0.5"))
        reading.add(SOURCE, f"{path} | max", "lt", Decimal(match.group("b")) + Decimal("0.5"))
        bind(reading, match, "a", "b")
