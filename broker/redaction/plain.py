"""Redaction of one text with a key of its own: ``wicketgate redact``. Nothing can be restored afterwards."""

import os

from broker.model import Finding
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
