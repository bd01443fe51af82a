"""When an answer counts as the expected cause: by words, and conservatively.

A fault is *named* where three things hold. Its own words (``WORDS``) stand in what the corpus expects, at least one
telling word of what the corpus expects (``telling``) stands in the answer's component, summary or verified claims, and,
where the corpus says which component it is, the answer names that one. An answer that is right in another way than the corpus says counts as wrong. What expects words of no fault of the table is
of a kind that no rule was written for: any conviction there is wrong.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WORDS: Mapping[str, str] = {
    "memory-exhausted": r"out of memory|\bOOM|memory (?:limit|pressure|exhaust)",
    "missing-config": r"(?:environment variable|secret|config ?map|setting).{0,60}(?:undefined|missing|not found)|variable is missing",
    "bad-command": r"command .{0,40}not found|syntax error|exec format|typo",
    "image-unavailable": r"pull(?:ing)? the (?:docker )?image|image pull|fails in pulling",
    "certificate-expired": r"certificate.{0,20}expired",
    "unschedulable": r"insufficient|node ?selector|unschedulable|taint|too many pods",
    "volume-unavailable": r"PersistentVolumeClaim|\bpvc\b|StorageClass",
    "dns-failure": r"could not be resolved|cannot resolve|resolution failed",
    "dependency-down": r"connect(?:ing|ion)? (?:to|fail)|failure to connect|fails? to connect",
    "connections-exhausted": r"connection.exhaustion|free connections|max_connections|connections? (?:were |was )?exhausted",
    "pool-leak": r"pool (?:leak|exhaust)",
    "disk-full": r"storage.full|storage space|disk full",
    "cpu-saturated": r"cpu.saturation|cpu saturat",
    "cpu-throttled": r"throttling",
    "replication-lag": r"replication.lag",
    "failover": r"failover",
    "maintenance-load": r"vacuum|checkpoint",
    "slow-query": r"slow database|database (?:query|calls?|operations?)",
    "network-policy": r"network policy",
}
HEALTHY = re.compile(r"\bhealthy\b|without issues|normal bounds|no (?:active )?failure", re.IGNORECASE)
_COMMON = frozenset(
    [
        "about",
        "active",
        "again",
        "alert",
        "answer",
        "application",
        "because",
        "being",
        "between",
        "could",
        "default",
        "deployment",
        "either",
        "error",
        "expected",
        "failed",
        "failing",
        "failure",
        "fails",
        "following",
        "have",
        "including",
        "investigation",
        "issue",
        "issues",
        "mention",
        "missing",
        "namespace",
        "pod",
        "pods",
        "point",
        "output",
        "running",
        "should",
        "state",
        "their",
        "there",
        "these",
        "this",
        "through",
        "unable",
        "which",
        "while",
        "with",
        "within",
        "would",
    ]
)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a case expects: ``kind`` is ``cause``, ``healthy`` or ``unknown``; ``faults`` are the names that count."""

    kind: str
    faults: frozenset[str]
    words: frozenset[str]
    text: str
    components: frozenset[str] = frozenset()
    """Those that count; empty where the corpus does not say."""


def of_sentences(sentences: Sequence[str]) -> Expected:
    """From sentences that a right answer says."""
    text = " ".join(sentences)
    faults = frozenset(name for name, pattern in WORDS.items() if re.search(pattern, text, re.IGNORECASE))
    if not faults and HEALTHY.search(text):
        return Expected("healthy", frozenset(), frozenset(), text)
    return Expected("cause" if faults else "unknown", faults, telling(text), text)


def of_category(answer: Mapping[str, Any]) -> Expected:
    """From a scenario's failure mode, keywords, forbidden categories and components."""
    if answer["failure_mode"] == "healthy":
        return Expected("healthy", frozenset(), frozenset(), "healthy")
    keywords = [str(word) for word in answer.get("required_keywords", ())]
    barred = {str(one).replace("_", " ") for one in answer.get("forbidden_categories", ()) or ()}
    text = " ".join([str(answer["failure_mode"]), *keywords]).replace("_", " ")
    faults = {name for name, pattern in WORDS.items() if re.search(pattern, text, re.IGNORECASE)}
    faults -= {name for name in faults if any(re.search(WORDS[name], one, re.IGNORECASE) for one in barred)}
    return Expected("cause", frozenset(faults), telling(text), text, frozenset(answer["components"]))


def telling(text: str) -> frozenset[str]:
    """Words of four letters or more that are not everywhere, in small letters."""
    words = re.findall(r"[A-Za-z][A-Za-z0-9_.-]{3,}", text)
    return frozenset(word.strip(".-").lower() for word in words) - _COMMON


def judged(expected: Expected, found: Mapping[str, Any]) -> str:
    """``named``, ``wrong``, ``abstained``, ``healthy`` (rightly) or ``missed`` (healthy where something was wrong)."""
    if found["verdict"] == "healthy":
        return "healthy" if expected.kind == "healthy" else "missed"
    if found["verdict"] != "diagnosed" or not found["ranked"]:
        return "abstained"
    leader = found["ranked"][0]
    verified = [one for one in leader["claims"] if one.get("verdict") == "verified"]
    said = [leader["component"], leader["summary"], *(f"{c.get('text')} {c.get('value')}" for c in verified)]
    answer = " ".join(map(str, said)).lower()
    right = leader["fault"] in expected.faults and any(word in answer for word in expected.words)
    there = not expected.components or leader["component"] in expected.components
    return "named" if right and there else "wrong"
