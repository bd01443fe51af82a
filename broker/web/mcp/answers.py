"""Answers and refusals of the gate as results of a tool: the same object as data and as text, redacted before.

A model reads ``structuredContent`` with some clients and the text with others; both are the one answer of the pipeline.
"""

from collections.abc import Mapping
from typing import Any

import mcp_types as types
import orjson
from mcp.shared.exceptions import MCPError

from broker.answers import receipt_body
from broker.errors import BrokerError
from broker.model import Json

PREFIX = "wicketgate/"
_OWN_KEYS = ("action_id", "observation", "receipt", "decision")
"""Of an answer, what also stands in ``_meta``, where programs look and models do not."""
REFUSED = -32_000
"""JSON-RPC's code for a refusal of anything but a tool call; ``data`` says the rest."""


def result(body: Mapping[str, Any]) -> types.CallToolResult:
    """One answer of the API as a tool's result."""
    shown = {name: value for name, value in body.items() if name not in ("receipt", "decision")}
    failed = body.get("result", {}).get("status") == "error" or body["status"] in ("failed", "unknown")
    return _both(shown, _marks(body), failed=failed)


def refusal(error: BrokerError) -> types.CallToolResult:
    """A refusal as a tool's error: what stands against it, and what to do next."""
    told = told_of(error)
    marks = {name: told[name] for name in ("decision_id", "receipt") if name in told}
    shown = {name: value for name, value in told.items() if name != "receipt"}
    return _both(
        {"status": "refused", "error": shown}, {PREFIX + name: value for name, value in marks.items()}, failed=True
    )


def told_of(error: BrokerError) -> dict[str, Json]:
    """Code, sentence, remedy and reasons; the decision and its place in the log where there are any."""
    told: dict[str, Json] = {
        "code": error.error_code,
        "detail": error.detail,
        "remedy": error.error_remedy,
        "reasons": [{"code": one.code, "remedy": one.remedy or error.error_remedy} for one in error.reasons],
    }
    if error.decision_id:
        told["decision_id"] = error.decision_id
    if error.receipt is not None:
        told["receipt"] = receipt_body(error.receipt)
    if error.retry_after is not None:
        told["retry_after_s"] = max(1, round(error.retry_after))
    return told


def protocol_error(error: BrokerError) -> MCPError:
    """A refusal of anything but a tool call."""
    return MCPError(REFUSED, f"{error.detail} [{error.error_code}]; {error.error_remedy}", told_of(error))


def _both(shown: Mapping[str, Json], marks: Mapping[str, Json], *, failed: bool) -> types.CallToolResult:
    text = orjson.dumps(shown).decode()
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)],
        structured_content=dict(shown),
        is_error=failed,
        _meta=dict(marks),
    )


def _marks(body: Mapping[str, Any]) -> dict[str, Json]:
    return {PREFIX + name: body[name] for name in _OWN_KEYS if name in body}
