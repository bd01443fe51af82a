"""Words and groups of fields that leaves carry: codes and plain words, never prose."""

import re
from collections.abc import Mapping
from typing import Any

from broker.errors import Receipt
from broker.model import ActionRequest, Decision, Grant, Json

_PLAIN_WORD = re.compile(r"[A-Za-z0-9_*-][A-Za-z0-9_.:/+*-]{0,127}", re.ASCII)


def decision_group(decision: Decision) -> dict[str, Json]:
    """A decision as records carry it: codes, never prose."""
    return {
        "id": decision.id,
        "effect": decision.effect,
        "tier": decision.tier,
        "reasons": [reason.code for reason in decision.reasons][:64],
        "obligations": sorted({type(duty).__name__.lower() for duty in decision.obligations}),
        "policy_revision": decision.policy_revision,
        "policy_digest": decision.policy_digest,
        "engine": decision.engine.replace(" ", "-"),
        "input_digest": decision.input_digest,
    }


def breakglass_group(used: str) -> dict[str, Json]:
    """The break-glass that a decision rests on, as records carry it; empty for nearly every decision."""
    return {"breakglass": {"id": used, "verb": "used"}} if used else {}


def model_group(request: ActionRequest, grant: Grant) -> dict[str, Json]:
    """What a model call's record says: never content."""
    return {
        "model": str(request.arguments.get("model", "none"))[:128] or "none",
        "region": word(grant.region or "none"),
        "tools": len(request.arguments.get("tools", ())),
    }


def turn_group(turn: Mapping[str, Json]) -> dict[str, Json]:
    """Whether a model turn that the gate relayed asked for it; empty for what is no call of an MCP client."""
    return {"turn": {name: turn[name] for name in ("relayed", "matches")}} if turn["tool_call"] else {}


def receipt_of(receipt: Any) -> Receipt:
    """The log's receipt in the gate's own type."""
    return Receipt(log=receipt.log, seq=receipt.seq, leaf=receipt.leaf)


def word(text: str) -> str:
    """``text`` where it is one plain word, else ``other``: a caller's prose never enters a leaf."""
    return text if _PLAIN_WORD.fullmatch(text) else "other"


def ruled(rule: str) -> dict[str, Json]:
    """The rule by which silence counted as an approval, if it did."""
    return {"rule": word(rule)} if rule else {}
