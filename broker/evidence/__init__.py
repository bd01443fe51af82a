"""Observations, claims over them, and the verdicts that code gives; README.md is the specification."""

from broker.evidence.claims import Claim, read_claims
from broker.evidence.diagnosis import Judged, Symptom
from broker.evidence.judge import Diagnosis, Evidence, strength
from broker.evidence.observations import Absent, Kept, KeptResults, Observation
from broker.evidence.subjects import Paths
from broker.evidence.verdicts import Finding, judge_claim

__all__ = [
    "Absent",
    "Claim",
    "Diagnosis",
    "Evidence",
    "Finding",
    "Judged",
    "Kept",
    "KeptResults",
    "Observation",
    "Paths",
    "Symptom",
    "judge_claim",
    "read_claims",
    "strength",
]
