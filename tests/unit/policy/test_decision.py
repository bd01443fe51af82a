import copy
from dataclasses import replace
from typing import Any

import orjson
import pytest

from broker.errors import PolicyUnavailable
from broker.model import Cap, Constrain, Decision, DryRun, Lease, Limit, Redact, RequireApproval, Residency
from broker.policy.decision import Readings, canonical_answer, decision_id, read_decision

WHOLE: dict[str, Any] = {
    "schema": "broker.decision/v1",
    "effect": "permit",
    "risk": {"tier": 2, "factors": ["env.prod", "effect.write"]},
    "reasons": [
        {"code": "b.two", "rule": "broker.b", "params": {"n": 1, "ok": True, "who": "dev:anna"}},
        {"code": "a.one", "rule": "broker.a"},
    ],
    "obligations": {
        "limits": [
            {"name": "writes", "scope": "actor", "max": 30, "window_s": 3600, "burst": 10, "cost": 1},
            {"name": "all", "scope": "tenant", "max": 900, "window_s": 60, "burst": 90, "cost": 2},
        ],
        "approval": {"quorum": 1, "roles": ["security", "oncall"], "expires_s": 900, "separation": "actor", "signature": False},
        "residency": {"regions": ["eu-west-1", "eu"], "data_classes": ["pii"]},
        "constrain": {"arguments": {"n": {"max": 5, "min": 1}, "mode": {"one_of": ["a"], "max_length": 9}, "d": {"max": "0.25"}}},
        "lease": {"keys": ["process/prod/checkout"], "seconds": 120},
        "redact": {"profile": "standard", "at": ["result", "arguments"], "restore": {"$.to": ["EMAIL"]}},
        "cap": {"bytes": 65536, "rows": 1000},
        "dry_run": True,
    },
    "advice": {"note": "anything"},
}  # fmt: skip


def read(raw: Any) -> Decision:
    answer = raw if isinstance(raw, bytes) else orjson.dumps(raw)
    readings = Readings({"a.one": "do this"})
    first, again = (
        read_decision(answer, readings=readings, revision="7", digest="d", engine="e 1", input_digest="i")
        for _ in range(2)
    )
    assert first.id != again.id
    assert first == replace(again, id=first.id)
    return again


def refused(raw: Any) -> str:
    with pytest.raises(PolicyUnavailable) as caught:
        read(raw)
    assert caught.value.error_code == "policy.bad_decision"
    return caught.value.detail


def test_a_whole_decision_is_read_in_one_fixed_order() -> None:
    decision = read(WHOLE)
    assert (decision.effect, decision.tier, decision.permitted) == ("permit", 2, True)
    assert decision.factors == ("effect.write", "env.prod")
    assert [(each.code, each.rule, each.remedy) for each in decision.reasons] == [
        ("a.one", "broker.a", "do this"),
        ("b.two", "broker.b", ""),
    ]
    assert decision.obligations == (
        Limit("all", "tenant", 900, 60, 90, 2),
        Limit("writes", "actor", 30, 3600, 10, 1),
        RequireApproval(1, ("oncall", "security"), 900, "actor", signature=False),
        Cap(65536, 1000),
        Constrain(WHOLE["obligations"]["constrain"]["arguments"]),
        DryRun(),
        Lease(("process/prod/checkout",), 120),
        Redact("standard", ("arguments", "result"), {"$.to": ("EMAIL",)}),
        Residency(("eu", "eu-west-1"), ("pii",)),
    )
    assert (decision.policy_revision, decision.policy_digest, decision.engine) == ("7", "d", "e 1")


def test_the_order_of_arrays_changes_nothing_but_the_id() -> None:
    turned = copy.deepcopy(WHOLE)
    turned["reasons"].reverse()
    turned["obligations"]["limits"].reverse()
    turned["risk"]["factors"].reverse()
    one, two = read(WHOLE), read(turned)
    assert (one.reasons, one.obligations, one.factors) == (two.reasons, two.obligations, two.factors)
    assert canonical_answer(orjson.dumps(WHOLE)) == canonical_answer(orjson.dumps(turned))


def test_a_dry_run_that_is_false_is_no_obligation() -> None:
    raw = copy.deepcopy(WHOLE)
    raw["obligations"] = {"dry_run": False}
    assert read(raw).obligations == ()


REMOVED = object()
BROKEN = [
    (("schema",), "broker.decision/v2"),
    (("extra",), 1),
    (("advice",), REMOVED),
    (("advice",), []),
    (("effect",), "allow"),
    (("effect",), "PERMIT"),
    (("effect",), None),
    (("effect",), ["permit"]),
    (("risk", "tier"), 5),
    (("risk", "tier"), -1),
    (("risk", "tier"), True),
    (("risk", "tier"), "2"),
    (("risk", "tier"), 2.0),
    (("risk", "factors"), [1]),
    (("risk", "extra"), 1),
    (("reasons",), {}),
    (("reasons", 0, "code"), ""),
    (("reasons", 0, "code"), REMOVED),
    (("reasons", 0, "extra"), 1),
    (("reasons", 0, "params"), {"a": 0.5}),
    (("reasons", 0, "params"), {"a": []}),
    (("obligations",), None),
    (("obligations", "approve"), {}),
    (("obligations", "limits"), {}),
    (("obligations", "limits", 0, "scope"), "planet"),
    (("obligations", "limits", 0, "max"), -1),
    (("obligations", "limits", 0, "max"), "30"),
    (("obligations", "limits", 0, "window_s"), 0),
    (("obligations", "limits", 0, "cost"), REMOVED),
    (("obligations", "limits", 0, "key"), "x"),
    (("obligations", "approval", "quorum"), 0),
    (("obligations", "approval", "roles"), []),
    (("obligations", "approval", "roles"), "oncall"),
    (("obligations", "approval", "separation"), "none"),
    (("obligations", "approval", "signature"), 0),
    (("obligations", "approval", "signature"), REMOVED),
    (("obligations", "approval", "expires_s"), 0),
    (("obligations", "residency", "regions"), "eu"),
    (("obligations", "residency", "data_classes"), REMOVED),
    (("obligations", "constrain", "arguments"), []),
    (("obligations", "constrain", "arguments", "n"), {"maximum": 5}),
    (("obligations", "constrain", "arguments", "n"), 5),
    (("obligations", "constrain", "arguments", "n"), {"max": 0.5}),
    (("obligations", "constrain", "arguments", "n"), {"max_length": "9"}),
    (("obligations", "constrain", "arguments", "n"), {"one_of": "a"}),
    (("obligations", "lease", "keys"), []),
    (("obligations", "lease", "seconds"), 0),
    (("obligations", "redact", "at"), []),
    (("obligations", "redact", "at"), ["everywhere"]),
    (("obligations", "redact", "profile"), ""),
    (("obligations", "redact", "restore"), {"$.a": "EMAIL"}),
    (("obligations", "redact", "entities"), []),
    (("obligations", "cap", "rows"), REMOVED),
    (("obligations", "cap", "bytes"), -1),
    (("obligations", "dry_run"), "true"),
    (("obligations", "dry_run"), None),
]


@pytest.mark.parametrize(("path", "value"), BROKEN, ids=[f"{'.'.join(map(str, p))}={v!r:.20}" for p, v in BROKEN])
def test_whatever_the_gate_does_not_know_is_refused(path: tuple[Any, ...], value: Any) -> None:
    raw = copy.deepcopy(WHOLE)
    place: Any = raw
    for part in path[:-1]:
        place = place[part]
    if value is REMOVED:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    refused(raw)


def test_every_field_is_needed_and_none_may_be_added() -> None:
    """Take away and add one field at every object of the whole decision, where the contract names the fields."""
    optional = {
        "params",
        "restore",
        "limits",
        "approval",
        "residency",
        "constrain",
        "lease",
        "redact",
        "cap",
        "dry_run",
    }
    free = {"advice", "params", "arguments", "n", "mode", "d", "restore"}

    def objects(value: Any, path: tuple[Any, ...] = ()) -> Any:
        if isinstance(value, dict):
            yield path, value
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, child in items:
            yield from objects(child, (*path, key))

    checked = 0
    for path, value in list(objects(WHOLE)):
        if path and path[-1] in free:
            continue
        for key in [*value, "added"]:
            raw = copy.deepcopy(WHOLE)
            place: Any = raw
            for part in path:
                place = place[part]
            if key == "added":
                place[key] = 1
            elif key in optional:
                continue
            else:
                del place[key]
            refused(raw)
            checked += 1
    assert checked > 40


def test_a_deny_has_reasons_and_no_obligations() -> None:
    raw = {**WHOLE, "effect": "deny"}
    assert "a deny has reasons" in refused(raw)
    assert "a deny has reasons" in refused({**raw, "obligations": {}, "reasons": []})
    assert not read({**raw, "obligations": {}}).permitted


def test_two_limits_of_one_name_and_scope_are_refused() -> None:
    raw = copy.deepcopy(WHOLE)
    raw["obligations"]["limits"].append({**raw["obligations"]["limits"][0], "max": 999_999})
    assert "two limits" in refused(raw)


@pytest.mark.parametrize("answer", [b"", b"{", b"null", b"[]", b'"deny"', b"NaN", b"\xff"])
def test_what_is_no_object_is_refused(answer: bytes) -> None:
    refused(answer)


def test_ids_are_prefixed_long_and_never_repeat() -> None:
    made = {decision_id() for _ in range(1_000)}
    assert len(made) == 1_000
    assert all(each.startswith("dec_") and len(each) == 30 and each[4:].isalnum() for each in made)


def test_a_kept_reading_is_of_the_same_bytes_only_and_what_is_kept_is_bounded() -> None:
    readings = Readings({})
    answers = [orjson.dumps({**WHOLE, "advice": {"number": number}}) for number in range(1_100)]
    assert [readings.of(answer).advice["number"] for answer in answers] == list(range(1_100))
    assert len(readings._kept) <= 1_024
    with pytest.raises(PolicyUnavailable):
        readings.of(answers[-1][:-1])
    large = orjson.dumps({**WHOLE, "advice": {"text": "x" * 10_000}})
    assert readings.of(large) == readings.of(large)
    assert large not in readings._kept
