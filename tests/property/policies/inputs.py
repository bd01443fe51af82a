"""Seeded policy inputs: coherent requests built from catalog and configuration, then twisted in a few places.

``inputs(count, seed)`` gives always the same list. Each is valid under ``schemas/input.v1.schema.json``. A third
is left as a well-behaved client would send it; the others take one or two twists, walked through in turn so that
each occurs several times; a second twist then changes one field more.
"""

import copy
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

from tests.property.policies.coherent import ACTIONS, CONFIG, PERSONS, Input, coherent

Twist = Callable[[random.Random, Input], None]


def inputs(count: int, seed: int) -> list[Input]:
    """``count`` inputs; the same for the same seed."""
    source = random.Random(seed)
    turns = itertools.cycle(TWISTS)
    return [_one(source, turns, twisted=number % 3 != 0) for number in range(count)]


def _one(source: random.Random, turns: Iterator[Twist], *, twisted: bool) -> Input:
    role = source.choice(sorted(PERSONS))
    granted = [action for action in ACTIONS if action.name in CONFIG["grants"][role]]
    value = coherent(source, role, source.choice(granted))
    if twisted:
        next(turns)(source, value)
    if twisted and source.random() < 0.2:
        source.choice(FIELDS)(source, value)
    return value


def _set(path: str, *values: Any) -> list[Twist]:
    """One twist for each value that one field may take."""
    *parents, last = path.split(".")

    def to(chosen: Any) -> Twist:
        def twist(_: random.Random, value: Input) -> None:
            here: Any = value
            for name in parents:
                here = here[int(name)] if isinstance(here, list) else here[name]
            here[last] = copy.deepcopy(chosen)

        return twist

    return [to(chosen) for chosen in values]


def _on(kind: str, name: str) -> Twist:
    """Twist the target to the resource ``name`` of type ``kind``."""

    def twist(_: random.Random, value: Input) -> None:
        value["resource"].update(type=kind, id=name, env="prod")

    return twist


def _reviewed(role: str, name: str, **changes: Any) -> Twist:
    """Somebody of ``role`` asked for ``name`` and a review came in: a sound one but for ``changes``."""

    def twist(source: random.Random, value: Input) -> None:
        _ask_as(role, name)(source, value)
        review = {
            "reviewer": "dev:oncall-2",
            "type": "human",
            "roles": ["oncall"],
            "verdict": "approve",
            "same_actor": False,
            "same_subject": source.random() < 0.3,
            "acr": "",
        }
        value["context"]["approvals"] = [
            {"id": "apr_a", "digest": "d", "policy_revision": "1", "reviews": [review | changes]}
        ]

    return twist


def _ask_as(role: str, name: str) -> Twist:
    """Somebody of ``role`` asks for ``name``, so that rules for rare pairs are reached."""
    action = next(each for each in ACTIONS if each.name == name)

    def twist(source: random.Random, value: Input) -> None:
        value.update(coherent(source, role, action))

    return twist


def _cite(**evidence: Any) -> Twist:
    """A write by an agent cites a diagnosis: a sound one but for ``evidence``."""

    def twist(source: random.Random, value: Input) -> None:
        _ask_as("agent", source.choice(["local.process.restart", "local.config.write"]))(source, value)
        value["action"]["properties"]["diagnosis"] = "dia_1"
        sound = {"diagnosis": "dia_1", "verified": 1, "refuted": 0, "sources": 2}
        value["context"]["evidence"] |= sound | evidence

    return twist


def _remedy(name: str = "local.process.restart", **changes: Any) -> Twist:
    """An agent asks for a remedy in its incident: a sound request but for ``changes``, by dotted path."""

    def twist(source: random.Random, value: Input) -> None:
        _ask_as("agent", name)(source, value)
        value["action"]["properties"]["diagnosis"] = "dgn_1"
        value["action"]["remedy"] = {
            "known": True,
            "faults": ["memory_leak", "é😀"],
            "derived": source.random() < 0.7,
            "ready": True,
            "cooldown_s": 300,
            "per_hour_max": 3,
        }
        value["context"] |= {
            "now_s": 1_767_225_600,
            "evidence": {
                "diagnosis": "dgn_1",
                "verdict": "diagnosed",
                "verified": 2,
                "refuted": 0,
                "sources": source.choice([2, 3]),
                "signals": 2,
                "confidence_milli": source.choice([700, 850, 1000]),
                "component": value["resource"]["id"],
                "fault": source.choice(["memory_leak", "é😀"]),
                "matches": True,
                "about": source.choice([2, 3]),
                "independent": 2,
            },
            "incident": {
                "id": "inc_1",
                "state": source.choice(["diagnosed", "awaiting_approval"]),
                "severity": 3,
                "env": value["resource"]["env"],
                "others": source.choice([[], [_met(severity=2, same_target=True)], [_met(state="executing")]]),
            },
            "target": {
                "dependents": source.choice([[], ["storefront"], ["storefront", "é😀"]]),
                "writes_hour": source.choice([0, 2]),
                "last_write_s": source.choice([-1, 1_767_225_300]),
                "ineffective": source.choice([0, 1]),
                "oscillating": False,
            },
            "work": {"given": True, "valid": True},
        }
        for path, chosen in changes.items():
            _set(path.replace("__", "."), chosen)[0](source, value)

    return twist


def _silent(**changes: Any) -> Twist:
    """Nobody answered, and silence would count: at the right hour and with everybody told, but for ``changes``."""

    def twist(source: random.Random, value: Input) -> None:
        _remedy("local.cache.clear")(source, value)
        boxed = {"counts": True, "told": True, "acknowledged": ["oncall"], "over": True, "today": 0}
        value["context"] |= {"now_s": 1_767_607_200, "time_box": boxed}
        for path, chosen in changes.items():
            _set(path.replace("__", "."), chosen)[0](source, value)

    return twist


def _met(**changes: Any) -> Input:
    """Another incident; it meets nothing but by ``changes``."""
    return {
        "severity": 3,
        "same_target": False,
        "dependent": False,
        "older": False,
        "state": "investigating",
    } | changes


def _undo(*, valid: bool) -> Twist:
    """The gate itself changes something."""

    def twist(source: random.Random, value: Input) -> None:
        _ask_as("agent", source.choice(["local.config.write", "git.change.revert"]))(source, value)
        value["subject"] |= {
            "id": "gate:verifier",
            "type": "workload",
            "parties": [{"id": "gate:verifier", "type": "workload", "roles": ["gate"]}],
            "acting": {"id": "gate:verifier", "type": "workload"},
        }
        incident = {
            "id": "inc_1",
            "state": "rolling_back",
            "severity": 3,
            "env": value["resource"]["env"],
            "others": [],
        }
        value["context"] |= {"incident": incident, "rollback": {"of": "act_1" if valid else "", "valid": valid}}

    return twist


def _break_glass(name: str, **changes: Any) -> Twist:
    """A person asks for ``name`` under a break-glass that covers it, but for ``changes``."""

    def twist(source: random.Random, value: Input) -> None:
        _ask_as("oncall", name)(source, value)
        value["subject"] |= {"auth_age_s": 0, "session": "ses_a"}
        resource = value["resource"]
        value["context"]["breakglass"] = {
            "id": "bgl_a",
            "actions": [name],
            "targets": [{part: resource[part] for part in ("type", "id", "env")}],
            "people": [party["id"] for party in value["subject"]["parties"]],
            "until_s": value["context"]["now_s"] + 1,
            "overdue": False,
        } | changes

    return twist


def _send(**provenance: str) -> Twist:
    """A ticket whose requester may have been named by an attacker."""

    def twist(source: random.Random, value: Input) -> None:
        _ask_as("agent", "tickets.ticket.create")(source, value)
        value["context"]["tainted"] = True
        value["context"]["provenance"] = {f"$.{name}": label for name, label in provenance.items()}

    return twist


def _resume(target: str, auth_age_s: int, *, killed: bool) -> Twist:
    """A person resumes somebody."""

    def twist(source: random.Random, value: Input) -> None:
        _ask_as("oncall", "gate.kill.resume")(source, value)
        value["action"]["properties"]["arguments"] = {"scope": "agent", "target": target}
        value["context"]["killed"] = killed
        value["subject"]["auth_age_s"] = auth_age_s

    return twist


def _through_agent(source: random.Random, value: Input) -> None:
    """A person sends an agent to do what only persons may ask for."""
    _ask_as("oncall", source.choice(["gate.review.create", "gate.kill.resume"]))(source, value)
    value["subject"]["parties"].append({"id": "dev:agent-1", "type": "agent", "roles": ["agent"]})
    value["subject"]["acting"] = {"id": "dev:agent-1", "type": "agent"}


def _manual(source: random.Random, value: Input) -> None:
    """An agent asks for what only a person may do."""
    _ask_as("oncall", "tickets.ticket.delete")(source, value)
    value["subject"]["parties"] = [{"id": "dev:agent-1", "type": "agent", "roles": ["agent"]}]


def _call(field: str, *values: Any) -> Twist:
    """A model call with one fault in the facts about the model."""

    def twist(source: random.Random, value: Input) -> None:
        _ask_as("agent", source.choice(CONFIG["models"]["calls"]))(source, value)
        value["subject"]["tenant"] = value["resource"]["tenant"] = "default"
        value["context"]["model"][field] = copy.deepcopy(source.choice(values))

    return twist


def _say(name: str, *values: Any) -> Twist:
    """A model call that says one thing to the provider that is not listed."""

    def twist(source: random.Random, value: Input) -> None:
        _ask_as("agent", source.choice(CONFIG["models"]["calls"]))(source, value)
        value["subject"]["tenant"] = value["resource"]["tenant"] = "default"
        value["action"]["properties"]["arguments"][name] = copy.deepcopy(source.choice(values))

    return twist


def _turn(**turn: bool) -> Twist:
    """A coding agent that must come from relayed turns calls a tool."""

    def twist(source: random.Random, value: Input) -> None:
        _ask_as("agent", "local.metrics.query")(source, value)
        value["subject"]["parties"][0]["id"] = value["subject"]["id"] = "dev:coding-agent"
        value["context"]["turn"] = {"tool_call": True, **turn}

    return twist


def _leave(source: random.Random, value: Input) -> None:
    """Personal data at home in the union would go to a model in the United States."""
    _ask_as("agent", "llm.messages.create")(source, value)
    value["subject"]["tenant"] = value["resource"]["tenant"] = "default"
    value["action"]["data_classes"] = ["internal", "pii"]
    value["context"]["model"]["region"] = "us"


FIELDS: list[Twist] = [
    *_set("subject.session", ""),
    *_set("subject.tenant", "nobody"),
    *_set("subject.parties.0.roles", [], ["root"], ["agent", "security"], sorted(PERSONS)),
    *_set("subject.parties.0.type", "human", "agent", "workload"),
    *_set("subject.parties.0.id", "dev:agent-retired"),
    *_set("subject.acting.type", "workload", "human"),
    *_set("subject.auth_age_s", -1, 3601),
    *_set("action.name", "local.disk.wipe", "local.process.restart", "gate.audit.read"),
    *_set("action.known", False),
    *_set("action.effect", "write", "read"),
    *_set("action.reversibility", "irreversible", "reversible"),
    *_set("action.cost", 0, 5),
    *_set("action.destinations", ["title"], ["absent"]),
    *_set("action.data_classes", [], ["pii"], ["secret", "internal"], ["health"], ["odd"], ["pii", "public"]),
    *_set("action.untrusted_result", True),
    *_set("action.properties.reason", "", "  ", "\u0000"),
    *_set("action.properties.arguments", {}, {"target": "dev:agent-1"}, {"deep": [{"a": [1, None, True]}]}),
    *_set("resource.type", "database", "config", "host"),
    *_set("resource.id", "payments", "payments-db", "secrets-1", "é😀"),
    *_set("resource.env", "dev", "moon", "staging"),
    *_set("resource.region", "", "us-east-1", "atlantis"),
    *_set("resource.tenant", "acme", "other"),
    *_set("resource.labels", {"tier": "critical"}),
    *_set("resource.known", False),
    *_set("context.killed", True),
    *_set("context.dry_run", True),
    *_set("context.endpoint.region", "", "us", "moon"),
    *_set("context.usage.writes_today", 50, 2**53 - 1),
]

TWISTS: list[Twist] = [
    *FIELDS,
    _on("database", "payments"),
    _reviewed("agent", "local.process.restart"),
    _reviewed("agent", "local.config.write", verdict="deny"),
    _reviewed("agent", "local.process.restart", type="agent"),
    _reviewed("agent", "local.process.restart", roles=["auditor"], reviewer="dev:auditor-1"),
    _reviewed("oncall", "tickets.ticket.delete", same_subject=False),
    _reviewed("oncall", "tickets.ticket.delete", same_actor=True),
    _reviewed("oncall", "tickets.ticket.delete", same_subject=True),
    _reviewed("security", "gate.policy.activate", roles=["security"], reviewer="dev:security-2"),
    _silent(context__time_box={"counts": True, "told": False, "acknowledged": [], "over": False, "today": 3}),
    _silent(context__time_box__acknowledged=["é😀"], action__idempotent=False, action__reversibility="compensable"),
    _silent(context__now_s=1_768_039_200, context__target__dependents=["a", "b", "c"], action__remedy__derived=False),
    _silent(context__now_s=1_797_847_200, resource__env="prod", context__incident__env="prod"),
    _silent(context__evidence__confidence_milli=500, context__incident__id=""),
    _silent(context__incident__others=[_met(severity=1, same_target=True)], action__name="git.change.revert"),
    _cite(),
    _cite(diagnosis="dia_2"),
    _cite(refuted=1),
    _cite(verified=0),
    _cite(sources=0),
    _remedy(),
    _remedy("local.cache.clear"),
    _remedy("local.index.create"),
    _remedy(action__properties__diagnosis=""),
    _remedy(context__evidence__verdict="inconclusive"),
    _remedy("local.cache.clear", context__evidence__signals=1),
    _remedy(context__evidence__matches=False),
    _remedy(context__evidence__about=0),
    _remedy("local.cache.clear", context__evidence__about=1),
    _remedy("local.cache.clear", context__evidence__independent=1),
    _remedy(context__evidence__fault="bad_change"),
    _remedy(context__incident__state="human_hold"),
    _remedy(context__incident__env="moon"),
    _remedy(context__incident__others=[_met(same_target=True, older=True)]),
    _remedy(context__incident__others=[_met(dependent=True, severity=4), _met(dependent=True, state="closed")]),
    _remedy(context__work={"given": False, "valid": False}),
    _remedy(context__work={"given": True, "valid": False}),
    _remedy(action__remedy__known=False),
    _remedy(action__remedy__ready=False),
    _remedy(action__remedy__faults=[]),
    _remedy(context__target__last_write_s=1_767_225_599),
    _remedy(context__target__writes_hour=3),
    _remedy("local.cache.clear", context__target__ineffective=2),
    _remedy("local.cache.clear", context__target__oscillating=True),
    _undo(valid=True),
    _undo(valid=False),
    _break_glass("tickets.ticket.delete"),
    _break_glass("tickets.ticket.delete", people=["dev:oncall-2"]),
    _break_glass("gate.breakglass.open", overdue=True),
    _send(),
    _send(requester="trusted"),
    _send(requester="untrusted"),
    _resume("dev:agent-1", 60, killed=False),
    _resume("", 60, killed=True),
    _resume("dev:oncall-1", 60, killed=False),
    _resume("dev:agent-1", -1, killed=False),
    _resume("dev:agent-1", 3601, killed=True),
    _through_agent,
    _manual,
    _leave,
    _call("provider", "elsewhere", ""),
    _call("name", "gpt-9", "claude-haiku-5-5"),
    _call("region", "us", "ap-southeast-2", ""),
    _call("region", "moon"),
    _call("tools", ["web_search"], ["bash_20260101"], ["é😀"]),
    _call("max_tokens", 64001, 10000000),
    _say(
        "headers",
        {"anthropic-beta": "mcp-client-2025-11-20"},
        {"anthropic-beta": "pdfs,,é😀"},
        {"anthropic-beta": " \u0000"},
    ),
    _say("provider_tools", ["browser_toolset_20260801"], ["é😀"], [""]),
    _say("inference_geo", "moon", "é😀", "EU"),
    _ask_as("operator", "gate.session.open"),
    _ask_as("security", "gate.policy.activate"),
    _turn(relayed=False, matches=False),
    _turn(relayed=True, matches=False),
    _turn(relayed=True, matches=True),
]
