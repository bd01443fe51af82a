"""Claims and observations in the words of a test."""

from collections.abc import Sequence
from typing import Any

from broker.evidence import Finding, Judged, Observation, Symptom, judge_claim, read_claims
from broker.evidence.assessing import assess
from broker.evidence.telling import Worth
from broker.model import ResultStatus

START = 1_790_000_000
SHOP = {
    "series": [
        {
            "labels": {"service": "checkout", "code": "500"},
            "points": [
                [START + 15 * at, value] for at, value in enumerate(["0.01", "0.01", "0.02", "0.4", "0.5", "0.5"])
            ],
        },
        {
            "labels": {"service": "payments", "code": "500"},
            "points": [[START + 15 * at, "0"] for at in range(6)],
        },
    ]
}
LINES = {
    "lines": [
        {"at": START + 40, "level": "error", "text": "pool exhausted: 10 of 10 in use"},
        {"at": START + 41, "level": "info", "text": "retrying in 250ms"},
        {"at": START + 50, "level": "error", "text": "pool exhausted: 10 of 10 in use"},
    ],
    "matched": 3,
    "scanned": 812,
}
TEXT = (
    "Name:  checkout-1\n    State:  Waiting\n      Reason:  CrashLoopBackOff\n    Last State:  Terminated\n"
    "      Reason:  OOMKilled\n      Exit Code:  137\nLimits:\n  memory:  128Mi\ncall completed in 8.01 seconds.\n"
)


def observation(value: Any, status: str = "ok", **other: Any) -> Observation:
    given = {"id": "obs_1", "action": "shop.metrics.read", "connector": "shop", "signal": "metric", "at": START}
    given |= {"resource": {"type": "process", "id": "checkout", "env": "prod"}, "arguments": {}}
    return Observation(**{**given, **other}, status=ResultStatus(status), value=value)


def claim(selector: str, op: str, value: Any = None, **other: Any) -> dict[str, Any]:
    said = {"observation": "obs_1", "selector": selector, "op": op, **other}
    return said if value is None and op in ("exists", "absent") else {**said, "value": value}


def find(value: Any, selector: str, op: str, wanted: Any = None, *, status: str = "ok", **other: Any) -> Finding:
    [read] = read_claims([claim(selector, op, wanted, **other)])
    return judge_claim(read, observation(value, status))


def verdict(value: Any, selector: str, op: str, wanted: Any = None, **other: Any) -> str:
    """The verdict, with its code where it has one."""
    found = find(value, selector, op, wanted, **other)
    return found.verdict if found.verdict != "unverifiable" else found.reason


EVERYBODY = frozenset({"storefront", "checkout", "payments", "island", "unheard-of"})


def judged(
    op: str = "gt",
    wanted: Any = "0.1",
    *,
    role: str = "cause",
    source: str = "a",
    signal: str = "metric",
    about: frozenset[str] = EVERYBODY,
    idle: str = "",
    began: tuple[int, int] | None = None,
    selector: str = "$.series[0].points[*] | max",
    **other: Any,
) -> Judged:
    """A judged claim, whose worth the test says; what it reads is told apart by source and signal."""
    [read] = read_claims([claim(selector, op, wanted, role=role, **other) | {"observation": f"obs_{source}_{signal}"}])
    return Judged(read, judge_claim(read, observation(SHOP)), source, signal, about, Worth(idle, began))


def assessed(
    *claims: dict[str, Any],
    seen: Sequence[Observation],
    graph: Any,
    since: int | None = None,
    service: str = "storefront",
    besides: Sequence[str] = (),
) -> list[Judged]:
    """Claims over ``seen`` as the gate assesses them, for an alert of ``service`` that began at ``since``."""
    by_id = {one.id: one for one in seen}
    read = read_claims(list(claims))
    return assess(read, [by_id[one.observation] for one in read], graph, Symptom(service, since), besides)
