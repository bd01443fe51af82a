"""What may stand in a log line or on a span: codes, ids, names of places, numbers. Everything else is withheld.

The last step before a value is written, whatever its caller thought: a value passes by its form, so a secret, a person's
name or address, or a text of the caller's does not, even where a line passes it by mistake. It is no detector that could
overlook a new kind: what is not of the few known forms is not written.
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
    """Whether a run of letters and digits is a word or a small number, and no key, card or hash."""
    digits = sum(map(str.isdigit, token))
    if len(token) > _TOKEN_MAX or digits > _DIGITS_MAX:
        return False
    return not digits or digits == len(token) or len(token) <= _MIXED_MAX
