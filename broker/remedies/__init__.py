"""Remedies: the catalogue, what policy must know before one, whether it helped, and what undoes it (README.md)."""

from broker.remedies.catalogue import Finding, Times, derive, remedies_for, times_of
from broker.remedies.situations import Asking, Situations, finding_of, seen_as
from broker.remedies.undo import VERIFIER, digest_of, is_own, verifier
from broker.remedies.verdict import Level, Verdict, judge

__all__ = [
    "VERIFIER",
    "Asking",
    "Finding",
    "Level",
    "Situations",
    "Times",
    "Verdict",
    "derive",
    "digest_of",
    "finding_of",
    "is_own",
    "judge",
    "remedies_for",
    "seen_as",
    "times_of",
    "verifier",
]
