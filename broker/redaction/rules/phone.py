"""Telephone numbers: only with a sign of being one (+, parentheses, the North American dashes, or words around it).

Bare digit groups are what logs are made of, so a number without such a sign stays. Candidates of international form
are parsed by ``phonenumbers``; nothing else is, because that parser costs milliseconds on free text.
"""

import re
from collections.abc import Iterator
from typing import Final

import phonenumbers

from broker.redaction.entities import Span, Tier
from broker.redaction.rules.base import Anchor, Rule, matches

_EXTENSION = r"(?:\s?(?:x|ext\.?)\s?\d{1,6})?"
_PLUS = re.compile(rf"(?<![\w+])\+\d(?:[ .\-/]?\(?\d\)?){{6,16}}{_EXTENSION}(?![\w])")
_PARENTHESES = re.compile(
    rf"(?<![\w(])\(\d{{2,4}}\)[ .\-]?\d{{3,4}}(?:[ .\-]?\d{{3,4}}){{0,2}}{_EXTENSION}(?![\w]|[.\-]\d)"
)
_NORTH_AMERICA = re.compile(
    rf"(?<![\w.\-+/:])(?:(?:001|1)[-. ])?[2-9]\d{{2}}([-.])\d{{3}}\1\d{{4}}{_EXTENSION}(?![\w]|[.\-]\w)"
)
_LOOSE = r"\(?\d(?:[ .\-/]?[()]?\d){5,14}" + _EXTENSION
_BEHIND_LABEL = re.compile(
    rf"(?i)\b(?:tele)?(?:phone|mobile|fax|tel|cell|handy|telefon|desk|whatsapp)(?:\s?(?:no|nr|number|num))?\.?\s{{0,2}}(?:[:=#]|is|at|on)?\s{{0,3}}(?P<v>{_LOOSE})(?![\w]|[.\-]\w)"
)
_BEHIND_PHRASE = re.compile(
    rf"(?i)\b(?:call(?:ing)?(?:\s\w+)?|reach(?:ing)?(?:\s\w+)?|answering|messages?|texts?|sms|ring|dial|registered)(?:\s(?:me|us|him|her|them|back|on|at|to|from|my|number)){{0,4}}\s(?P<v>{_LOOSE})(?![\w]|[.\-:]\w)"
)
_BEFORE_LABEL = re.compile(rf"(?i)(?<![\w.\-+/:])(?P<v>{_LOOSE})\s?-?\s?(?:office|fax|mobile|cell|desk|landline)\b")
_DATE = re.compile(
    r"(?:19|20)\d\d[-./ ]?(?:0[1-9]|1[0-2])[-./ ]?[0-3]\d|[0-3]?\d[-./][01]?\d[-./](?:19|20)\d\d|\d{1,2}([:.])\d\d\1\d\d(?!\1\d)"
)
_GROUPED = re.compile(r"\d[ .\-/()]+\d")


def find_phones(text: str, low: int, high: int) -> Iterator[Span]:
    """All four signs, in order of certainty."""
    for match in matches(_PLUS, text, low, high):
        if _possible(match.group()):
            yield Span("PHONE", *match.span(), "phone.international", Tier.VALIDATED, 0.9)
    for match in matches(_PARENTHESES, text, low, high):
        if 7 <= _digits(match.group()) <= 15:
            yield Span("PHONE", *match.span(), "phone.parentheses", Tier.PATTERN, 0.7)
    for match in matches(_NORTH_AMERICA, text, low, high):
        yield Span("PHONE", *match.span(), "phone.nanp", Tier.PATTERN, 0.7)


def find_labelled_phones(text: str, low: int, high: int) -> Iterator[Span]:
    """Numbers that the words before or after them call a phone."""
    for pattern, grouped in ((_BEHIND_LABEL, False), (_BEHIND_PHRASE, True), (_BEFORE_LABEL, True)):
        for match in matches(pattern, text, low, high):
            found = match.group("v")
            if 6 <= _digits(found) <= 17 and not _DATE.match(found) and (_GROUPED.search(found) or not grouped):
                yield Span("PHONE", *match.span("v"), "phone.label", Tier.PATTERN, 0.6)


def _digits(text: str) -> int:
    return sum(char.isdigit() for char in text)


def _possible(text: str) -> bool:
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(text.replace("(0)", "")))
    except phonenumbers.NumberParseException:
        return False


RULES: Final = (
    Rule("phone", (Anchor(r"\+\d"), Anchor(r"\(\d{2,4}\)[ .-]?\d{3}"), Anchor(r"\d{3}[-.]\d{3}[-.]\d{4}")), find_phones, 20, 8, "ITU-T E.164; NANPA numbering plan"),
    Rule("phone.label", (Anchor(r"(?:phone|mobile|\bfax\b|\btel\b|\bcell\b|\bdesk\b|telefon|whatsapp|answering|registered|messages? to|\bcall\b|\boffice\b|\breach\b)", caseless=True),), find_labelled_phones, 32, 48, "field labels; Google SDP proximity rule"),
)  # fmt: skip


def e164(text: str) -> str:
    """Canonical form of a number: E.164 where it parses, else its digits."""
    try:
        parsed = phonenumbers.parse(text.replace("(0)", ""))
    except phonenumbers.NumberParseException:
        return re.sub(r"\D", "", text)
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))


def country(text: str) -> str:
    """Country calling code (``+49``) of an international number, or nothing."""
    try:
        return f"+{phonenumbers.parse(text.replace('(0)', '')).country_code}"
    except phonenumbers.NumberParseException:
        return ""
