"""Rules for personal data: e-mail, card, IBAN, SSN, IP, MAC. Phones are in ``phone.py``."""

import re
from collections.abc import Iterator
from typing import Final

from broker.redaction.entities import Span, Tier
from broker.redaction.rules.base import Anchor, Rule, by_pattern, matches
from broker.redaction.validators import IBAN_LENGTHS, card, email_domain, iban, luhn, public_ip, ssn

_LOCAL_EXTRA = frozenset("._+-'")
_DOMAIN = re.compile(r"(?:[^\W_]|-){1,63}(?:\.(?:[^\W_]|-){1,63}){1,20}")
_MAX_LOCAL = 256


def find_emails(text: str, low: int, high: int) -> Iterator[Span]:
    """RFC 5321 mailboxes as they occur in text: dot-atom local part, host name with an alphabetic top label.

    The local part stops at ``= / ? & : ;`` so that an address in a query string or an assignment is itself and not
    its surroundings.
    """
    at = text.find("@", low, high)
    while at >= 0:
        start = at
        floor = max(at - _MAX_LOCAL, 0)
        while start > floor and ((char := text[start - 1]).isalnum() or char in _LOCAL_EXTRA):
            start -= 1
        if start and text[start - 1] == "\\" and text[start] in "nrtbf" and at - start > 1:
            start += 1  # the letter belongs to an escape such as \n
        while start < at and text[start] in _LOCAL_EXTRA and text[start] != "_":
            start += 1
        end = _domain_end(text, at + 1) if start < at and text[at - 1] not in ".'" else 0
        if end and not (text[start:at] == "git" and text[end : end + 1] == ":"):
            yield Span("EMAIL", start, end, "email", Tier.VALIDATED, 0.95)
        at = text.find("@", max(at + 1, end), high)


def _domain_end(text: str, at: int) -> int:
    found = _DOMAIN.match(text, at)
    if not found:
        return 0
    domain = found.group()
    while domain:
        if email_domain(domain):
            return at + len(domain)
        cut = max(domain.rfind("."), domain.rfind("-"))
        domain = domain[:cut] if cut > 0 else ""
    return 0


_CARD = re.compile(
    r"(?<![\w.+\-])(?<![\w][/:#])(?:\d{12,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,7}|\d{4}([ -])\d{6}\2\d{4,5}|\d{4}([ -])\d{4}\3\d{4}\3\d{4}\3\d{3})(?![\w]|[.\-]\w|@)"
)
_CARD_WORDS = re.compile(r"(?i)card|credit|debit|\bvisa\b|mastercard|\bamex\b|maestro|\bcc\b|\bpan\b")
_WELL_KNOWN_LENGTHS: Final = frozenset({14, 15, 16})


def find_cards(text: str, low: int, high: int) -> Iterator[Span]:
    """Payment cards: issuer range, common length and Luhn, or Luhn alone behind a word about cards."""
    for match in matches(_CARD, text, low, high):
        digits = re.sub(r"\D", "", match.group())
        near = bool(_CARD_WORDS.search(text, max(match.start() - 64, 0), match.start()))
        if (near and luhn(digits) and len(set(digits)) > 1) or (card(digits) and len(digits) in _WELL_KNOWN_LENGTHS):
            yield Span("CARD", *match.span(), "card", Tier.VALIDATED, 0.95 if near else 0.8)


_SSN = re.compile(r"(?<![\w.+\-])(\d{3})([- ]?)(\d{2})\2(\d{4})(?![\w]|[.\-]\w)")
_SSN_WORDS = re.compile(r"(?i)\bssn\b|social.{0,3}security|\bitin\b|tax.?payer")


def find_ssns(text: str, low: int, high: int) -> Iterator[Span]:
    """US social security numbers with dashes; with blanks or bare only behind a word that says so."""
    for match in matches(_SSN, text, low, high):
        area, separator, group, serial = match.groups()
        if ssn(area, group, serial) and (
            separator == "-" or _SSN_WORDS.search(text, max(match.start() - 40, 0), match.start())
        ):
            yield Span("SSN", *match.span(), "ssn", Tier.VALIDATED, 0.9)


_IBAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[A-Za-z0-9]{11,30}|(?:[ -][A-Za-z0-9]{4}){2,7}(?:[ -][A-Za-z0-9]{1,4})?)(?![A-Za-z0-9])"
)


def find_ibans(text: str, low: int, high: int) -> Iterator[Span]:
    """ISO 13616 account numbers, plain or in groups of four, checked by country length and mod 97."""
    for match in matches(_IBAN, text, low, high):
        found = match.group()
        plain = re.sub(r"[ -]", "", found).upper()
        expected = IBAN_LENGTHS.get(plain[:2], 0)
        if len(plain) > expected > 0 and len(found) > len(plain):  # words that follow a grouped number
            end = match.start() + _length_with_gaps(found, expected)
            plain = plain[:expected]
        else:
            end = match.end()
        if iban(plain):
            yield Span("IBAN", match.start(), end, "iban", Tier.VALIDATED, 0.99)


def _length_with_gaps(found: str, wanted: int) -> int:
    seen = 0
    for index, char in enumerate(found):
        seen += char not in " -"
        if seen == wanted:
            return index + 1
    return len(found)


_VERSION = re.compile(
    r"(?i)(?:version|ver|release|build|chrome|safari|firefox|edge?|opr|webkit|gecko|agent|client)[/ :=v]{1,3}$"
)


def _address(match: re.Match[str]) -> bool:
    start = match.start()
    return public_ip(match.group()) and not _VERSION.search(match.string, max(start - 12, 0), start)


def _six(match: re.Match[str]) -> bool:
    return match.group().count(":") >= 2 and public_ip(match.group())


_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"

RULES: Final = (
    Rule("email", (Anchor(r"\S@\S"),), find_emails, 2, 1, "RFC 5321 §4.1.2, RFC 1123 §2.1"),
    Rule("card", (Anchor(r"\d{12}"), Anchor(r"\d{4}[ -]\d{4}[ -]\d{4}[ -]\d"), Anchor(r"\d{4}[ -]\d{6}[ -]\d{4}")), find_cards, 24, 1, "ISO/IEC 7812-1; BIN tables of the schemes"),
    Rule("ssn", (Anchor(r"\d{3}-\d{2}-\d{4}"), Anchor(r"(?:ssn|security|itin)", caseless=True)), find_ssns, 12, 48, "SSA Randomization FAQ 2011; IRS ITIN ranges"),
    Rule("iban", (Anchor(r"\b[a-z]{2}\d{2}[a-z0-9]{11}", caseless=True), Anchor(r"\b[a-z]{2}\d{2}[ -][a-z0-9]{4}[ -][a-z0-9]{4}", caseless=True)), find_ibans, 18, 1, "ISO 13616; SWIFT registry"),
    Rule("ip.v4", (Anchor(r"\d\.\d{1,3}\.\d{1,3}\.\d"),), by_pattern("ip.v4", "IP", rf"(?<![\w.~])(?:{_OCTET}\.){{3}}{_OCTET}(?![\w]|\.\d)", score=0.9, check=_address), 16, 1, "RFC 6890"),
    Rule("ip.v6", (Anchor(r"[0-9a-fA-F]:[0-9a-fA-F]{0,4}:[0-9a-fA-F]{1,4}:[0-9a-fA-F]{0,4}:"), Anchor(r"[0-9a-fA-F]::[0-9a-fA-F]")), by_pattern("ip.v6", "IP", r"(?<![\w:.])[0-9A-Fa-f:]{4,39}(?![\w:])", check=_six), 48, 40, "RFC 4291, RFC 6890"),
    Rule("mac", (Anchor(r"[0-9a-fA-F]{2}[:-][0-9a-fA-F]{2}[:-][0-9a-fA-F]{2}[:-][0-9a-fA-F]{2}[:-][0-9a-fA-F]{2}[:-][0-9a-fA-F]{2}"),), by_pattern("mac", "MAC", r"(?<![\w:\-])[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![\w:]|-\w)", score=0.8), 20, 1, "IEEE 802"),
)  # fmt: skip
