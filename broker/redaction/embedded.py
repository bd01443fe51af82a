"""JSON inside a text, read in place: key rules apply to its members although nobody parses it into a value.

Only the members' positions are needed, so this is a tokenizer with a stack of keys, not a parser: it reads what a
strict parser refuses (trailing commas, cut-off documents), and never loses a duplicate key.
"""

import re
from collections.abc import Iterator
from typing import Final

from broker.redaction.entities import SECRET, Span, Tier
from broker.redaction.keyrules import KUBERNETES_DATA, KUBERNETES_SECRET, KeyRule, classify, plain_machine
from broker.redaction.validators import opaque

MAX_TEXT: Final = 512 * 1024
MAX_DEPTH: Final = 64
_TOKEN = re.compile(r'"(?P<s>[^"\\]*+(?:\\.[^"\\]*+)*+)"|(?P<n>-?\d[\d.eE+\-]*)|(?P<p>[{}\[\]:,])', re.DOTALL)
_SECRET_OBJECT = re.compile(r'"kind"\s{0,4}:\s{0,4}"Secret"')
_START = re.compile(r'\s*[{\[]\s*["{\[]')


def starts_json(text: str) -> bool:
    """Whether ``text`` begins like an object or array."""
    return bool(text) and text[0] in "{[ \n\t\r" and _START.match(text) is not None


def is_json(text: str) -> bool:
    """Whether ``text`` is read as JSON: it begins so, and is not too long."""
    return len(text) <= MAX_TEXT and starts_json(text)


def findings(text: str) -> Iterator[Span]:
    """Values of members whose key path has a rule, in a text that begins like a JSON object or array."""
    if not is_json(text):
        return
    keys: list[str] = []
    rules: list[KeyRule | None] = []
    key, waiting = "", False
    sealed = _SECRET_OBJECT.search(text) is not None
    for match in _TOKEN.finditer(text):
        mark = match.group("p")
        if mark is None:
            is_key = (
                match.group("s") is not None
                and not waiting
                and text[match.end() : match.end() + 16].lstrip()[:1] == ":"
            )
            if is_key:
                key = match.group("s")
            else:
                rule = (classify(key, keys[-1] if keys else "") if waiting else None) or (rules[-1] if rules else None)
                yield from _member(match, rule)
                waiting = False
        elif mark in "{[":
            rule = classify(key, keys[-1] if keys else "") if waiting else None
            if sealed and waiting and key in KUBERNETES_DATA:
                rule = KUBERNETES_SECRET
            inherited = rules[-1] if rules else None
            rules.append(rule if rule and (rule.deep or mark == "[") else inherited)
            keys.append(key)
            waiting = False
            if len(keys) > MAX_DEPTH:
                yield Span("UNSCANNED", 0, len(text), "unscanned.depth", Tier.KEY, 1.0, "depth")
                return
        elif mark == ":":
            waiting = True
        else:
            waiting = False
            if mark in "}]" and keys:
                key = keys.pop()
                rules.pop()


def _member(match: re.Match[str], rule: KeyRule | None) -> Iterator[Span]:
    if rule is None:
        return
    value = match.group("s") if match.group("s") is not None else match.group("n")
    if applies(rule, value):
        group = "s" if match.group("s") is not None else "n"
        kind = rule.kind if rule.entity == SECRET else ""
        yield Span(rule.entity, *match.span(group), f"key.{kind or rule.entity.lower()}", Tier.KEY, 0.9, kind)


_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_BEFORE = re.compile(r"[:\[,]\s{0,8}$")
_BEHIND = re.compile(r"\s{0,8}(?:[,}\]]|$)")


def requoted(text: str, start: int, end: int, replacement: str) -> str:
    """``replacement``, in quotes where it takes the place of a JSON number, so that the document stays JSON."""
    if text[start] not in "-0123456789" or not is_json(text) or not _NUMBER.fullmatch(text, start, end):
        return replacement
    if _BEFORE.search(text, max(start - 9, 0), start) and _BEHIND.match(text, end):
        return f'"{replacement}"'
    return replacement


_IDENTIFIER = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|.*[/:@ ].*")


def machine_made(rule: KeyRule, value: str) -> bool:
    """Whether a value under an only perhaps sensitive key (``token``, ``…_key``) is a credential by its looks."""
    if rule.kind == "api-key" and _IDENTIFIER.fullmatch(value):
        return False
    return " " not in value and opaque(value, shortest=12, bits=2.8)


def applies(rule: KeyRule, value: str) -> bool:
    """Whether a structured value falls under its key's rule: any but an empty one, or an opaque one where asked."""
    if not value.strip():
        return False
    if rule.opaque:
        return machine_made(rule, value)
    return not plain_machine(rule.entity, value)
