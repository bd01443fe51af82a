"""Redaction of one text with a key of its own: ``wicketgate redact``, the lab. Nothing can be restored afterwards."""

import os
from dataclasses import dataclass

from broker.model import Finding
from broker.redaction import operators
from broker.redaction.entities import STANDARD, Profile
from broker.redaction.redactor import Pass
from broker.redaction.scan import Scanner
from broker.redaction.vault import OpenSession, Scope


def redact_text(
    text: str, *, profile: Profile = STANDARD, key: bytes | None = None, scan: Scanner | None = None
) -> tuple[str, list[Finding]]:
    """``text`` redacted, and its findings with offsets in characters of ``text``, leftmost first.

    ``key`` (32 bytes) makes two runs comparable; without it a fresh one is drawn.
    """
    work = Pass(OpenSession(Scope("", "", ""), key or os.urandom(32)), profile, scan)
    return work.text(text), work.findings


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a text: ``before`` as it came, ``after`` as it leaves; the same where nothing was done to it."""

    before: str
    after: str
    op: str = ""
    """What was done: an operator of the profile, ``withhold``, or ``escape`` for text that only looks like a token."""
    detector: str = ""
    """What found it, from the least to the most certain: ``pattern``, ``validated``, ``url``, ``key``."""
    finding: int = -1
    """Place of the finding behind it, in the order of the text."""


@dataclass(frozen=True, slots=True)
class Looked:
    """One text, redacted, with everything that happened to it."""

    text: str
    parts: tuple[Part, ...]
    findings: tuple[Finding, ...]
    withheld: int
    """Parts that could not be read and are not shown."""


def look_at(text: str, *, profile: Profile = STANDARD) -> Looked:
    """``text`` redacted under ``profile`` with a fresh key, in parts; the same findings as ``redact_text``."""
    work = Pass(OpenSession(Scope("", "", ""), os.urandom(32)), profile)
    spans = work.spans(text)
    clean, replaced = work.replaced(text, spans)
    found = {one.start: place for place, one in enumerate(work.findings)}
    at_start = {one.start: one for one in spans}
    parts: list[Part] = []
    at = 0
    for start, end, replacement in replaced:
        if start > at:
            parts.append(Part(text[at:start], text[at:start]))
        span = at_start[start]
        op, detector = operators.treatment(profile, span.entity).op, span.tier.name.lower()
        parts.append(Part(text[start:end], replacement, op, detector, found.get(start, -1)))
        at = end
    if at < len(text):
        parts.append(Part(text[at:], text[at:]))
    return Looked(clean, tuple(parts), tuple(work.findings), work.withheld)
