"""What may stand in a log line or on a span: what has the form of a code, an id, a place in our files or a number.

The last step before a value is written, and the second net: the first is that no caller's text is handed to telemetry at
all. A value passes by its form alone. So runs of letters and digits as keys, tokens and hashes are, card and phone numbers,
mail and IP addresses, sentences and anything with an unusual character do not pass, even where a line hands them over by
mistake. A plain word does, whatever it means: a code is one, and so are ``Alice``, ``john.smith``, ``hunter2`` and a host's
name.
"""

import re

WITHHELD = "(withheld)"
_ID = re.compile(r"[a-z]{3}_[0-9a-z]{26}|(?=[0-9]*[a-f])(?:[0-9a-f]{16}|[0-9a-f]{32})")
"""Ids of ours, which are drawn or keyed, and those of spans and traces: of digits alone they could be somebody's card."""
_IDS = frozenset({"request", "action", "decision", "approval", "reference", "trace", "span", "session"})
_WORDS = re.compile(r"[A-Za-z0-9_.:/<>-]{0,200}")
_TOKEN = re.compile(r"[A-Za-z0-9]+")
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_TOKEN_MAX = 32
_DIGITS_MAX = 5
_MIXED_MAX = 11
_NUMBER_MAX = 10**12
_PLACES = (" < ", " ")
"""Between the frames of a failure, and before a version."""


def scrubbed(name: str, value: object) -> str | int | float | bool:
    """``value`` of the field ``name`` as it may be written."""
    if isinstance(value, str):
        if name.rpartition(".")[2] in _IDS or name.endswith(".id"):
            return value if not value or _ID.fullmatch(value) else WITHHELD
        return value if _plain(value) else WITHHELD
    if isinstance(value, (int, float)) and abs(value) < _NUMBER_MAX:
        return value
    return WITHHELD


def _plain(text: str) -> bool:
    """Whether this is a code, a version, a class or a list of places in our own files."""
    parts = text.split(_PLACES[0])
    if len(parts) == 1 and text.count(_PLACES[1]) == 1:
        parts = text.split(_PLACES[1])
        if not parts[1][:1].isdigit():
            return False
    return all(_WORDS.fullmatch(part) and not _ADDRESS.search(part) for part in parts) and all(
        map(_word, _TOKEN.findall(text))
    )


def _word(token: str) -> bool:
    """Whether a run of letters and digits has the form of a word or a small number, and not of a key, card or hash."""
    digits = sum(map(str.isdigit, token))
    if len(token) > (_MIXED_MAX if token.isupper() else _TOKEN_MAX) or digits > _DIGITS_MAX:
        return False
    return not digits or digits == len(token) or len(token) <= _MIXED_MAX
