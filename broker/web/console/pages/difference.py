"""Two values side by side as lines: what goes, what comes, what stays; whole, nothing folded away."""

import json
from dataclasses import dataclass
from difflib import SequenceMatcher

from broker.model import Json


@dataclass(frozen=True, slots=True)
class Line:
    """``kind``: ``same``, ``gone`` or ``new``."""

    kind: str
    text: str


def pretty(value: Json) -> str:
    """The canonical form, spread over lines: keys sorted, nothing escaped that can be shown."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


def difference(before: Json, after: Json) -> list[Line]:
    """Lines of both, in order; empty where they are equal."""
    if before == after:
        return []
    old, new = _lines(before), _lines(after)
    found: list[Line] = []
    for tag, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            found += [Line("same", text) for text in old[i:j]]
        else:
            found += [Line("gone", text) for text in old[i:j]]
            found += [Line("new", text) for text in new[k:m]]
    return found


def _lines(value: Json) -> list[str]:
    """Text by its own lines, anything else by its canonical form; only the line feed ends a line."""
    if value is None:
        return []
    return (value if isinstance(value, str) else pretty(value)).split("\n")
