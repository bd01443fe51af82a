"""``key = value`` in running text: logfmt, shells, JSON and YAML fragments, XML, source code, command lines.

The key is cut out around a sensitive word and put to ``keyrules.classify``: one table decides for structure and for
text. In text the value must also look like one, because ``password = getPassword()`` is code and not a secret.
"""

import re
from collections.abc import Iterator
from typing import Final

from broker.redaction.embedded import machine_made
from broker.redaction.entities import SECRET, Span, Tier
from broker.redaction.keyrules import KeyRule, classify, plain_machine
from broker.redaction.rules.base import Anchor, Rule, matches
from broker.redaction.rules.secrets import placeholder
from broker.redaction.validators import entropy

WORDS: Final = (
    r"passw|passphrase|passcode|pwd|pass\b|secret|token|api.?key|access.?key|private.?key|account.?key|shared.?key|license.?key|master.?key|crypt.?key|signing.?key|"
    r"insert.?key|deploy.?key|connection.?string|credential|creds\b|cookie|session.?id|sessid|\bcvv|\bcvc|\botp\b|\bssn\b|social.?security|user.?name|full.?name|"
    r"first.?name|last.?name|\bdob\b|birth|tax.?id|passport|account.?number|card.?number|[a-z]key\b|_key\b|auth\b|\bjwt|crumb|license|reporter.?id|[.\-]key\b"
)
_WORD = re.compile(WORDS, re.IGNORECASE)
_KEY = re.compile(r"[A-Za-z0-9_.\-]{1,96}")
_KEY_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_SEPARATOR = re.compile(
    r"""(?:\\{0,3}["'`])?[\])]?(?:\s{0,24}(?:=>|:=|={1,3}|!={1,2}|:)|\s{0,2},(?=\s{0,4}\\{0,3}["'])|["']\s{1,4}value\s{0,2}=|>)\s{0,24}"""
)
_QUOTED = re.compile(r"""(?P<q>\\{0,3}["'`])(?P<v>(?:(?!(?P=q))[^\r\n]){1,512})(?P=q)""")
_BARE = re.compile(r"""[^\s"'`<>,;&|(){}\[\]\\]{1,2048}""")
_CODE = re.compile(r"(?:[A-Za-z_$][\w$]*(?:\.|->|::))+[A-Za-z_$][\w$]*(?:\(.*)?|[A-Za-z_]\w*\(.*")
_HOLE = re.compile(r"""[$#]\{|^(?:\$\(|<%|\{\{|arn:|[+.,]\s?[\w$('"\[]|\s*\+)|\+$|^[\w.$]+@[0-9a-f]{4,8}$""")
"""Templates, concatenations of source code, Java object names: not a literal."""
_ROUTE = re.compile(r"[/#: ]|^[A-Z][a-z]+:?$")
_NOTHING: Final = frozenset(
    [
        "none",
        "null",
        "nil",
        "undefined",
        "true",
        "false",
        "yes",
        "no",
        "on",
        "off",
        "string",
        "str",
        "int",
        "bool",
        "text",
        "changeme",
        "redacted",
        "hidden",
        "password",
        "passwd",
        "token",
        "empty",
        "required",
        "optional",
    ]
)


def find_assignments(text: str, low: int, high: int) -> Iterator[Span]:
    """Values behind sensitive keys; linear, because each key is read once."""
    done = low
    at = low
    while (word := _WORD.search(text, at, high)) is not None:
        at = word.end()
        if word.start() < done:
            continue
        start = word.start()
        while start > 0 and text[start - 1] in _KEY_CHARS and word.start() - start < 64:
            start -= 1
        key = _KEY.match(text, start)
        separator = _SEPARATOR.match(text, key.end()) if key else None
        if key is None or separator is None:
            continue
        name = key.group().rstrip(".-")
        rule = classify(name)
        if rule is not None:
            found = _value(text, separator.end(), rule)
            if found is not None:
                done = at = max(found.end, at)
                yield found


def _value(text: str, at: int, rule: KeyRule) -> Span | None:
    quoted = _QUOTED.match(text, at)
    match = quoted or _BARE.match(text, at)
    if match is None:
        return None
    start, end = match.span("v") if quoted else match.span()
    value = text[start:end]
    if not quoted:
        value = value.rstrip(".,:;")
        end = start + len(value)
    if not _plausible(value, rule, quoted=quoted is not None):
        return None
    kind = rule.kind if rule.entity == SECRET else ""
    return Span(rule.entity, start, end, f"key.{kind or rule.entity.lower()}", Tier.KEY, 0.85, kind)


def _plausible(value: str, rule: KeyRule, *, quoted: bool) -> bool:
    plain = value.strip()
    if placeholder(plain.strip("'\"")) or plain.lower() in _NOTHING or _HOLE.search(plain) or _CODE.fullmatch(plain):
        return False
    if rule.entity != SECRET:
        return len(plain) >= 3 and not plain_machine(rule.entity, plain) and _person_like(plain, rule.entity)
    if rule.opaque:
        return machine_made(rule, plain)
    if rule.kind not in {"password", "pin", "cvv", "otp"}:
        literal = quoted or len(plain) >= 32 or any(char.isdigit() for char in plain) or entropy(plain) > 3.3
        return len(plain) >= 6 and " " not in plain and literal
    if "passw" in plain.lower() and _ROUTE.search(plain):
        return False  # a label, a route or a selector about passwords
    return len(plain) >= 3 and (quoted or plain[0] != "$") and (len(plain) >= 4 or plain.isdigit())


def _person_like(value: str, entity: str) -> bool:
    digits = sum(char.isdigit() for char in value)
    if entity in {"SSN", "TAXID", "ACCOUNT", "CARD", "PASSPORT", "IBAN"}:
        return digits >= 4
    if entity == "DOB":
        return digits >= 6
    if entity in {"PHONE", "EMAIL"}:
        return False  # their own rules find them wherever they stand
    return any(char.isalpha() for char in value)


_SPOKEN = re.compile(
    r"(?i)\bpass(?:word|wd|phrase)\b(?:\s+(?:for|of)\s+(?:the\s+)?(?:user\s+)?[\"'][^\"'\n]{1,48}[\"'])?(?:\s+is)?:?\s{1,3}(?P<q>[\"'`])(?P<v>[^\"'`\n]{3,64})(?P=q)"
)
_NETRC = re.compile(r"(?i)\b(?:login|username|user)\s+\S{1,64}\s+password\s+(?P<v>\S{3,128})")
_FLAG = re.compile(
    r"""(?i)(?<![\w])(?:--?(?:password|passwd|pass|apikey|api-key|api_key|token|secret|registration-token|client-secret|access-token)|(?:-u(?:ser(?:name)?)?|user)\s+\S{1,64}\s+-p)(?:\s+|=)["']?(?P<v>[^\s"']{3,256})"""
)
_CURL = re.compile(r"""(?<![\w])(?:-u|--user)\s{1,2}["']?[^\s:"']{1,128}:(?P<v>[^\s"']{3,256})""")
_CALL = re.compile(
    r"""(?i)(?:NetworkCredential|DirectoryEntry|PasswordCredential|PasswordAuthentication|Credentials|OAuth)\(\s{0,8}(?:["'][^"'\n]{1,128}["']\s{0,4},\s{0,16}){1,3}["'](?P<v>[^"'\n]{3,128})["']\s{0,8}\)"""
)
_FOLLOWS = re.compile(r"(?i)\bpassword\b[^\n]{0,80}:\s{0,4}\n\s{0,4}(?P<v>[0-9a-f]{32})\b")
_SPOKEN_RULES: Final = (_SPOKEN, _FOLLOWS, _NETRC, _FLAG, _CURL, _CALL)


def find_spoken(text: str, low: int, high: int) -> Iterator[Span]:
    """Passwords in sentences, netrc lines, command-line flags and credential constructors."""
    for pattern in _SPOKEN_RULES:
        for match in matches(pattern, text, low, high):
            value = match.group("v")
            if (
                not placeholder(value)
                and value.lower() not in _NOTHING
                and not _CODE.fullmatch(value)
                and value[0] not in "$-"
            ):
                yield Span(SECRET, *match.span("v"), "secret.spoken-password", Tier.URL, 0.7, "password")


RULES: Final = (
    Rule("key.value", (Anchor(WORDS, caseless=True),), find_assignments, 24, 4, "logfmt, POSIX shell, JSON, YAML, XML; keyrules.py"),
    Rule("secret.spoken-password", (Anchor(r"passw|passphrase|\bpass\b|--?(?:token|secret|api.?key|pass|client-secret|access-token|registration)|[^\w](?:-p|-u|--user)[ =]|credential|directoryentry|oauth\(|authentication\(", caseless=True),), find_spoken, 160, 96, "netrc(5), curl(1), .NET NetworkCredential"),
)  # fmt: skip
