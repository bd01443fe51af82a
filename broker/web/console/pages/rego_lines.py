"""Rego as lines of named pieces: comment, text, number, word of the language, or nothing special. Text stays text."""

from dataclasses import dataclass

from broker.policy.rego import KEYWORDS, pieces

_KINDS = {"comment": "comment", "text": "text", "raw": "text", "template": "text", "number": "number"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line, from 1; each piece with its kind, which is empty where it is nothing special.

    ``indent`` is the tabs and spaces before the first piece: at the margin a tab hides nothing.
    """

    number: int
    indent: str
    pieces: tuple[tuple[str, str], ...]


def lines_of(text: str, *, rego: bool) -> list[Line]:
    """All lines of ``text``; joined by line feeds they are the text again."""
    found: list[list[tuple[str, str]]] = [[]]
    for kind, piece in pieces(text) if rego else [("", text)]:
        shown = "word" if kind == "name" and piece in KEYWORDS else _KINDS.get(kind, "")
        for number, part in enumerate(piece.split("\n")):
            if number:
                found.append([])
            if part:
                _add(found[-1], shown, part)
    if len(found) > 1 and not found[-1]:
        found.pop()
    return [_line(number, line) for number, line in enumerate(found, 1)]


def _line(number: int, line: list[tuple[str, str]]) -> Line:
    kind, first = line[0] if line else ("", "")
    rest = first.lstrip("\t ")
    begun = [(kind, rest)] if rest else []
    return Line(number, first[: len(first) - len(rest)], (*begun, *line[1:]))


def _add(line: list[tuple[str, str]], kind: str, part: str) -> None:
    """Neighbours of one kind are one piece, so that a look-alike is seen among its neighbours."""
    if line and line[-1][0] == kind:
        line[-1] = (kind, line[-1][1] + part)
    else:
        line.append((kind, part))
