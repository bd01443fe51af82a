"""Coherent policy inputs: what a well-behaved party would ask for, from catalog and configuration."""

import copy
import random
from typing import Any

from broker.catalog import Action, Catalog
from broker.model import NO_TURN
from broker.policy import facts
from tests.unit.policies.engines import content

CONFIG = content().config
ACTIONS = Catalog.from_manifests(content().manifests).actions()
PERSONS = {
    "agent": ("agent", "dev:agent-1"),
    "auditor": ("human", "dev:auditor-1"),
    "oncall": ("human", "dev:oncall-1"),
    "operator": ("workload", "dev:probe"),
    "security": ("human", "dev:security-1"),
}
WORDS = ["", "a", "é😀", "\u0000", "checkout", "EMAIL_7K3Q9M2XTB4C", "true", "0"]
Input = dict[str, Any]


def coherent(source: random.Random, role: str, action: Action) -> Input:
    """What a well-behaved party of ``role`` would ask for ``action``."""
    kind, who = PERSONS[role]
    party = {"id": who, "type": kind, "roles": [role]}
    parties = [party]
    if role == "oncall" and action.name in CONFIG["grants"]["agent"] and source.random() < 0.3:
        parties.append({"id": "dev:agent-1", "type": "agent", "roles": ["agent"]})
    of_gate, of_model = action.connector == "gate", action.connector == "llm"
    calls = action.name in CONFIG["models"]["calls"]
    region = source.choice(["eu", "eu-west-1", "local"])
    tenant = source.choice(sorted(CONFIG["tenants"]))
    return {
        "schema": "broker.input/v1",
        "request_id": f"act_{source.randrange(10**9)}",
        "subject": {
            "id": who,
            "type": kind,
            "tenant": tenant,
            "session": "" if kind == "human" and source.random() < 0.5 else "ses_a",
            "parties": parties,
            "acting": {"id": parties[-1]["id"], "type": parties[-1]["type"]},
            "scopes": [],
            "acr": "",
            "auth_age_s": source.choice([0, 60, 3600]),
        },
        "action": {
            "name": action.name,
            "connector": action.connector,
            "known": True,
            "effect": action.effect.value,
            "reversibility": action.reversibility,
            "idempotent": action.idempotent,
            "cost": action.cost,
            "destinations": list(action.destinations),
            "data_classes": list(action.data_classes),
            "untrusted_result": bool(action.attacker_writable),
            "remedy": dict(facts.NO_REMEDY),
            "properties": {
                "arguments": {name: source.choice(WORDS) for name in action.schema["properties"]}
                | _said_of(source, action),
                "reason": "it leaks" if action.effect.value == "write" else "",
                "diagnosis": "",
            },
        },
        "resource": {
            "type": source.choice(action.resource_types),
            "id": "claude-opus-5-5" if of_model else source.choice(["checkout", "payments", "storefront"]),
            "env": "prod" if of_gate or of_model else source.choice(["prod", "prod", "staging"]),
            "region": "local" if of_gate else region,
            "tenant": tenant,
            "labels": source.choice([{}, {}, {"tier": "critical"}, {"tier": "standard"}]),
            "known": True,
        },
        "context": {
            "now_s": source.randrange(2**33),
            "dry_run": source.random() < 0.1,
            "tainted": source.random() < 0.3,
            "session_labels": {},
            "intent_kinds": source.choice([[], ["alert"], ["task", "runbook"]]),
            "provenance": {f"$.{name}": "trusted" for name in action.schema["properties"]},
            **_outside(),
            "usage": {"actions_today": source.randrange(500), "writes_today": source.choice([0, 0, 3, 49, 50])},
            "approvals": [],
            "killed": False,
            "model": _model(source, region, calls=calls),
            "endpoint": {"region": region, "provider": action.connector},
        },
    }


def _outside() -> Input:
    """The facts of an incident where there is none."""
    return {
        "evidence": dict(facts.NO_EVIDENCE),
        "incident": copy.deepcopy(facts.NO_INCIDENT),
        "target": copy.deepcopy(facts.NO_TARGET),
        "work": dict(facts.NO_WORK),
        "rollback": dict(facts.NO_ROLLBACK),
        "time_box": copy.deepcopy(facts.NO_TIME_BOX),
        "turn": dict(NO_TURN),
        "breakglass": copy.deepcopy(facts.NO_BREAKGLASS),
    }


def _said_of(source: random.Random, action: Action) -> Input:
    """Arguments of a model call that policy reads."""
    if "headers" not in action.schema["properties"] or action.connector != "llm":
        return {}
    betas = source.choice(["claude-code-20250219, token-counting", "pdfs"])
    return {
        "headers": source.choice([{}, {"anthropic-version": "2023-06-01", "anthropic-beta": betas}]),
        "provider_tools": source.choice([[], ["tool_search_tool_regex"]]),
        "inference_geo": "",
    }


def _model(source: random.Random, region: str, *, calls: bool) -> Input:
    if not calls:
        return {"provider": "", "name": "", "region": "", "tools": [], "max_tokens": 0}
    tools = source.choice([[], ["gate_act"], ["gate_act", "computer_inventory"]])
    return {
        "provider": "anthropic",
        "name": "claude-opus-5-5",
        "region": region,
        "tools": tools,
        "max_tokens": source.choice([0, 1024, 64000]),
    }
