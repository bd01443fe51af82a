"""Redaction: what a model, a log line or a record must not see is removed or replaced reversibly. Spec: README.md."""

from broker.redaction.entities import STANDARD, Profile, profiles_from
from broker.redaction.plain import Looked, Part, look_at, redact_text
from broker.redaction.redactor import Redactor
from broker.redaction.streaming import TextStream
from broker.redaction.vault import MemoryRows, Scope, Vault, VaultRow, VaultRows

__all__ = [
    "STANDARD",
    "Looked",
    "MemoryRows",
    "Part",
    "Profile",
    "Redactor",
    "Scope",
    "TextStream",
    "Vault",
    "VaultRow",
    "VaultRows",
    "look_at",
    "profiles_from",
    "redact_text",
]
