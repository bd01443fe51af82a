"""Prose about the stream of events, as typed claims."""

import re

from tests.eval.opensre.reading import Reading

SOURCE = "aws_rds_events"
T = r"\d\d:\d\d(?::\d\d)?"
VERBS = {
    "triggered": "initiated",
    "completed": "complete|available|promoted|finished",
    "crossed": "exceeded|above",
    "began": "storage",
}
NUMBERED = r"(?:~|<)?\d+(?:,\d{3})*(?:\.\d+)?"


def at(reading: Reading, clock: str) -> str:
    """Path of the events of one second, or of one minute."""
    iso = reading.instant(clock)
    return f'$.events[?date=="{iso}"]' if clock.count(":") == 2 else f"$.events[?date~/^{iso[:16]}/]"


def bind(reading: Reading, match: re.Match[str], *names: str | int) -> None:
    reading.bind(*(match.span(name) for name in names))


def type_events(reading: Reading) -> None:
    """Every rule."""
    for rule in (_quoted, _sequence, _exceeded, _verbs, _sizes, _refused, _ceilings, _counts, _onward):
        rule(reading)


def _quoted(reading: Reading) -> None:
    for match in re.finditer(
        rf'(?:at (?P<t>{T})Z )?(?:confirmed|explicitly states|states) "(?P<q>[^"]+)"', reading.text
    ):
        path = at(reading, match.group("t")) if match.group("t") else "$.events[*]"
        reading.add(SOURCE, f"{path}.message", "contains", match.group("q"))
        bind(reading, match, "t", "q")


def _sequence(reading: Reading) -> None:
    steps = r"(?P<what>failover initiated|failover in progress|failover completed|instance available)"
    for match in re.finditer(rf"{steps} \((?P<t>{T})Z\)", reading.text):
        word = match.group("what").removeprefix("failover ").removeprefix("instance ")
        reading.add(SOURCE, f"{at(reading, match.group('t'))}.message", "contains", word)
        bind(reading, match, "t")


def _exceeded(reading: Reading) -> None:
    instance = re.search(r"\bon ([a-z]+-prod(?:-replica-\d)?)", reading.text)
    for match in re.finditer(rf"(?P<n>\d+)s at (?P<t>{T})Z", reading.text):
        word = re.search(r"\b(?:exceeded|fell below)\b", reading.text)
        said = f"{word.group() if word else 'exceeded'} {match.group('n')} seconds"
        reading.add(SOURCE, f"{at(reading, match.group('t'))}.message", "contains", said)
        if instance:
            reading.add(SOURCE, f"{at(reading, match.group('t'))}.source_identifier", "contains", instance.group(1))
            bind(reading, instance, 1)
        if word:
            bind(reading, word, 0)
        bind(reading, match, "n", "t")


def _verbs(reading: Reading) -> None:
    for match in re.finditer(rf"(?P<what>[^,:]*?)\b(?P<verb>{'|'.join(VERBS)}) at (?P<t>{T})Z", reading.text):
        path = at(reading, match.group("t"))
        if match.group("verb") == "began":
            first = "$.events[?event_categories[0]~/low storage/].date | first | time | floor(60)"
            reading.add(SOURCE, first, "eq", reading.instant(match.group("t")))
        reading.add(SOURCE, f"{path}.message", "matches", VERBS[match.group("verb")])
        bind(reading, match, "t")
        name = re.search(r"replica-\d", match.group("what"))
        if name:
            reading.add(SOURCE, f"{path}.message", "contains", name.group())
            start = match.start("what")
            reading.bind((name.start() + start, name.end() + start))


def _sizes(reading: Reading) -> None:
    for match in re.finditer(r"from (?P<a>\d+) GB to (?P<b>\d+) GB", reading.text):
        wanted = f"from {match.group('a')} GB to {match.group('b')} GB"
        reading.add(SOURCE, "$.events[*].message", "contains", wanted)
        bind(reading, match, "a", "b")
    for match in re.finditer(rf"(?P<m>[A-Z][A-Za-z]+) jumped back to ~(?P<n>\d+) GB at (?P<t>{T})Z", reading.text):
        path = f"{at(reading, match.group('t'))}.message | lines(/{match.group('m')} is now ~?([0-9.]+) GB/)"
        reading.add(SOURCE, path, "eq", int(match.group("n")))
        bind(reading, match, "m", "t")
        reading.bind((match.start("n") - 1, match.end("n")))


def _refused(reading: Reading) -> None:
    for match in re.finditer(rf"connections being refused by (?P<t>{T})Z", reading.text):
        reading.add(SOURCE, f"{at(reading, match.group('t'))}.message", "contains", "refused")
        bind(reading, match, "t")


def _ceilings(reading: Reading) -> None:
    """A ceiling that some event names: `490 out of 500`, `of 5,000 max`."""
    for match in re.finditer(rf"\bof (?P<n>{NUMBERED}) (?:max|allowed)", reading.text):
        reading.add(SOURCE, "$.events[*].message", "matches", rf"(?:of) {match.group('n').replace(',', '')}\b")
        bind(reading, match, "n")


def _counts(reading: Reading) -> None:
    if re.search(r"\bNo RDS infrastructure events occurred", reading.text):
        reading.add(SOURCE, "$.events[*] | count", "eq", 0)
    if re.search(r"Only a routine automated backup", reading.text):
        reading.add(SOURCE, "$.events[*] | count", "eq", 1)
        reading.add(SOURCE, "$.events[*].message", "matches", "(?i)automat.* backup|backup.*automat")
    if re.search(
        r"only routine activity: automated backup completion and a parameter group notification", reading.text
    ):
        reading.add(SOURCE, "$.events[*] | count", "eq", 2)
        reading.add(SOURCE, "$.events[*].message", "contains", "Automated backup finished")
        reading.add(SOURCE, "$.events[*].message", "contains", "parameter group")


def _onward(reading: Reading) -> None:
    for match in re.finditer(rf"available and stable from (?P<t>{T})Z onward", reading.text):
        reading.add(SOURCE, f"{at(reading, match.group('t'))}.message", "contains", "available")
        bind(reading, match, "t")
