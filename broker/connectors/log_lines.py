"""One log line: when, how serious, and what it says. JSON, logfmt, and plain text with a time in front. Pure.

Times: RFC 3339 (a blank for the T, a comma for the point, no zone meaning UTC), the access logs' ``04/Dec/2005:04:47:44
+0000``, ``Sun Dec 04 04:47:44 2005``, and seconds or milliseconds since the epoch, as the leading words of a line, the
member ``at``, ``ts``, ``time``, ``timestamp`` or ``@timestamp`` of a JSON line, or such a key of a logfmt line.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

TIME_KEYS: Final = ("at", "ts", "time", "timestamp", "@timestamp")
_LEVEL_KEYS: Final = ("level", "lvl", "severity", "log.level", "levelname")
_MESSAGE_KEYS: Final = ("msg", "message", "event", "text")
_ISO: Final = re.compile(r"\[?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?(?:Z|[+-]\d\d:?\d\d))?)\]?,?\s*")
_ACCESS: Final = re.compile(r"[^\[\n]{0,256}\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\]\s*")
_CTIME: Final = re.compile(
    r"\[?((?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ 0-3]\d \d\d:\d\d:\d\d(?:\.\d{1,6})? \d{4})\]?\s*"
)
_EPOCH: Final = re.compile(r"(\d{10}(?:\.\d{1,9})?|\d{13})\s+")
_PAIR: Final = re.compile(r'([A-Za-z_@][A-Za-z0-9_.@-]*)=("(?:[^"\\]|\\.)*"|[^\s"]*)(?:\s+|$)')
_NAMES: Final = "trace|debug|info|notice|warn(?:ing)?|err(?:or)?|crit(?:ical)?|alert|emerg(?:ency)?|fatal|panic"
_WORD_LEVEL: Final = re.compile(
    rf"(?<![A-Za-z])({_NAMES.upper()})(?![A-Za-z])|(?i:[\[<(]({_NAMES})[\]>):]|^({_NAMES})(?=[\s:]))"
)
"""In capitals anywhere, in brackets, or as the first word: ``error`` inside a sentence says nothing of its level."""
_LEVELS: Final[Mapping[str, str]] = {
    "trace": "debug", "debug": "debug", "info": "info", "information": "info", "notice": "info", "warn": "warning",
    "warning": "warning", "err": "error", "error": "error", "severe": "error", "crit": "critical", "critical": "critical",
    "alert": "critical", "emerg": "critical", "emergency": "critical", "fatal": "critical", "panic": "critical",
}  # fmt: skip
_HEAD: Final = 160
"""Characters of a plain line in which a level may stand."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """``level`` is debug, info, warning, error, critical or empty; ``message`` is the line without time and level keys."""

    at: float
    level: str
    message: str
    text: str


def parsed_line(text: str) -> LogLine | None:
    """Read one line; None where it has no time of its own: it belongs to the line before it."""
    if text.startswith("{"):
        return _json(text)
    timed = _leading_time(text)
    if timed is not None:
        at, rest = timed
        word = _WORD_LEVEL.search(rest[:_HEAD])
        return LogLine(at, _LEVELS[next(filter(None, word.groups())).lower()] if word else "", rest, text)
    return _logfmt(text)


def time_of(text: str) -> float | None:
    """The line's own time in seconds since the epoch."""
    if text.startswith("{"):
        line = _json(text)
        return line.at if line else None
    timed = _leading_time(text)
    if timed is not None:
        return timed[0]
    line = _logfmt(text)
    return line.at if line else None


def _leading_time(text: str) -> tuple[float, str] | None:
    """The time that a plain line begins with, and what follows it."""
    for pattern, read in _PLAIN:
        match = pattern.match(text)
        if match:
            at = read(match[1])
            if at is not None:
                # Of an access line the client stands before the time: it is part of what the line says.
                return at, (text[: match.start(1)].rstrip("[ ") + " " + text[match.end() :]).strip()
    return None


def _json(text: str) -> LogLine | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return _from_members(value, text)


def _logfmt(text: str) -> LogLine | None:
    """``key=value key="value"`` throughout, with a time among the keys."""
    if "=" not in text:
        return None
    members: dict[str, Any] = {}
    place = 0
    while match := _PAIR.match(text, place):
        raw = match[2]
        members[match[1]] = raw[1:-1].replace('\\"', '"').replace("\\\\", "\\") if raw.startswith('"') else raw
        place = match.end()
    return _from_members(members, text) if place == len(text) else None


def _from_members(members: Mapping[str, Any], text: str) -> LogLine | None:
    at = next((found for key in TIME_KEYS if (found := _time(members.get(key))) is not None), None)
    if at is None:
        return None
    level = next((str(members[key]) for key in _LEVEL_KEYS if key in members), "")
    message = next((members[key] for key in _MESSAGE_KEYS if isinstance(members.get(key), str)), None)
    return LogLine(at, _LEVELS.get(level.lower(), ""), text if message is None else message, text)


def _time(value: Any) -> float | None:
    """A time as a member: text, or seconds or milliseconds since the epoch."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return _epoch(value)
    if not isinstance(value, str):
        return None
    match = _EPOCH.fullmatch(value + " ")
    return _epoch(float(match[1])) if match else _iso(value)


def _epoch(value: float) -> float | None:
    """Seconds; a number beyond the year 5138 is one of milliseconds."""
    if not 0 <= value < 1e14:
        return None
    return value / 1000 if value >= 1e11 else float(value)


def _iso(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text.replace(",", "."))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _by(form: str, text: str) -> float | None:
    try:
        moment = datetime.strptime(text, form)  # noqa: DTZ007 - a form without a zone means UTC
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _ctime(text: str) -> float | None:
    return _by("%a %b %d %H:%M:%S.%f %Y" if "." in text else "%a %b %d %H:%M:%S %Y", text)


_PLAIN: Final = (
    (_ISO, _iso),
    (_CTIME, _ctime),
    (_EPOCH, lambda text: _epoch(float(text))),
    (_ACCESS, lambda text: _by("%d/%b/%Y:%H:%M:%S %z", text)),
)
