"""Text that somebody outside wrote, as markup in which nothing hides.

Characters that are not seen, that turn the line around, or that look like others stand there by number, with their name
as the title. Nothing is cut off, nothing becomes a link, and line breaks stay where they were. Basis: Unicode's general
categories, UTR 36 and UTS 39; look-alikes are found by script: a letter of another script among Latin ones, and
compatibility letters (full width, mathematical) anywhere.
"""

import re
import unicodedata

from markupsafe import Markup, escape

_INVISIBLE = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\u034f")
"""Letters, marks and symbols without a picture, beyond the categories below."""
_ALIKE = re.compile(
    "[\u0131\u0237\u0250-\u02af\u01c0-\u01c3\u02d0\u02f8\u0589\u05c3\u2044\u2215\u2236\u2571\u29f8\ua4fd\ua789]"
)
"""Latin letters, and signs like ``/``, ``:`` and ``!``, that look like ASCII ones."""
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_SELECTORS = re.compile("[\u180b-\u180f\ufe00-\ufe0f\U000e0000-\U000e0fff]")
_NEEDS_LOOK = re.compile(r"[^\x20-\x7e]")
MARKS_IN_A_ROW = 2
"""Combining marks on one letter that are written as they are; the next ones are shown by number."""


def untrusted(value: object) -> Markup:
    """``value`` as text, escaped, with every character visible."""
    text = value if isinstance(value, str) else str(value)
    if not _NEEDS_LOOK.search(text):
        return escape(text)
    latin = any("a" <= one.lower() <= "z" for one in text)
    shown: list[Markup] = []
    marks = 0
    for one in text:
        marks = marks + 1 if unicodedata.category(one) in ("Mn", "Me") else 0
        shown.append(_shown(one, latin=latin, marks=marks))
    return Markup("").join(shown)


def plain(value: object) -> str:
    """As ``untrusted``, for attributes and titles: numbers in brackets instead of markup."""
    text = value if isinstance(value, str) else str(value)
    return "".join(f"[{_number(one)}]" if _is_hidden(one) else one for one in text)


def _shown(one: str, *, latin: bool, marks: int) -> Markup:
    if one == "\n":
        return Markup("\n")
    if one == "\t":
        return _mark(one, "hidden", "→", keep="\t")
    if _is_hidden(one) or marks > MARKS_IN_A_ROW:
        return _mark(one, "hidden", _number(one))
    if _is_alike(one, latin=latin):
        return _mark(one, "alike", _number(one), keep=one)
    return escape(one)


def _mark(one: str, kind: str, number: str, keep: str = "") -> Markup:
    """The number in a box, after the character itself where it has a picture."""
    name = f"U+{ord(one):04X} {unicodedata.name(one, 'CONTROL CHARACTER')}"
    return Markup('{}<span class="mark mark-{}" title="{}">{}</span>').format(keep, kind, name, number)


def _is_hidden(one: str) -> bool:
    if one in " \n":
        return False
    return unicodedata.category(one) in _HIDDEN_CATEGORIES or one in _INVISIBLE or bool(_SELECTORS.match(one))


def _is_alike(one: str, *, latin: bool) -> bool:
    """A character that can be taken for another: of another script among Latin letters, or a styled form of ASCII."""
    if one.isascii():
        return False
    styled = unicodedata.normalize("NFKC", one)
    if one == "\u2026":  # three dots are three dots
        return False
    if _ALIKE.match(one) or (styled != one and styled.isascii()):
        return True
    # Scripts without letters like Latin ones (Han, Arabic, …) are category Lo; nothing in them is taken for ASCII.
    letter = unicodedata.category(one) in ("Lu", "Ll", "Lt", "Lm", "Nd", "Nl")
    return latin and letter and not unicodedata.name(one, "").startswith("LATIN")


def _number(one: str) -> str:
    return f"U+{ord(one):04X}"
