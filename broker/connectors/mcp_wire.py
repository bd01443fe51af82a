"""What an MCP server may say to the gate: JSON-RPC 2.0 messages, judged before any library sees them. Pure.

Answers pass, with an error's own words taken out (they would reach logs and traces). A change of the tool list is
noticed. Progress, log messages and whatever else a server announces are dropped. Whatever a server *asks* (sampling,
elicitation, roots) is refused: it may not use our model, our people or our disk; only ``ping`` is answered.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from mcp.shared.message import SessionMessage
from mcp_types import (
    CONNECTION_CLOSED,
    METHOD_NOT_FOUND,
    REQUEST_TIMEOUT,
    UNSUPPORTED_PROTOCOL_VERSION,
    ErrorData,
    JSONRPCError,
    JSONRPCResponse,
    RequestId,
)
from pydantic import ValidationError

from broker.errors import BrokerError, UpstreamFailed
from broker.model import Json

LIST_CHANGED: Final = "notifications/tools/list_changed"
REFUSED: Final = "the server refused"
FAILED: Final = -32603
"""Code of an answer that the gate puts in place of one that did not come; the ``BrokerError`` is its ``data``."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One message: an answer to hand on, a reply to send back, or the news that the tools changed."""

    answer: SessionMessage | None = None
    reply: Mapping[str, Json] | None = None
    tools_changed: bool = False

    @property
    def answers(self) -> RequestId | None:
        """The id of the request that is answered."""
        message = self.answer.message if self.answer else None
        return message.id if isinstance(message, JSONRPCResponse | JSONRPCError) else None


def hear(name: str, raw: bytes) -> Heard:
    """Read one message; raises ``UpstreamFailed`` (``upstream.garbage``) for what is none."""
    try:
        told = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise garbage(name) from None
    if not isinstance(told, dict) or told.get("jsonrpc") != "2.0":
        raise garbage(name)
    if "method" in told:
        return _asked(told)
    try:
        if "error" in told:
            return Heard(SessionMessage(JSONRPCError(jsonrpc="2.0", id=told.get("id"), error=_error(told["error"]))))
        return Heard(SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=told["id"], result=told["result"])))
    except (ValidationError, KeyError, TypeError):
        raise garbage(name) from None


def instead(request: RequestId, error: BrokerError) -> SessionMessage:
    """The answer to a request that gets none. Only the gate can put an exception there: no wire carries one."""
    return SessionMessage(
        JSONRPCError(jsonrpc="2.0", id=request, error=ErrorData(code=FAILED, message=error.error_code, data=error))
    )


def garbage(name: str) -> UpstreamFailed:
    """The refusal of bytes that are no message."""
    return UpstreamFailed(f"`{name}` sent something that is not a JSON-RPC message", code="upstream.garbage")


def _asked(told: Mapping[str, Any]) -> Heard:
    """A request or a notification of the server's."""
    if "id" not in told:
        return Heard(tools_changed=told["method"] == LIST_CHANGED)
    if not isinstance(told["id"], str | int) or len(str(told["id"])) > 128:
        return Heard()
    reply = {"jsonrpc": "2.0", "id": told["id"]}
    if told["method"] == "ping":
        return Heard(reply={**reply, "result": {}})
    refusal = {"code": METHOD_NOT_FOUND, "message": "this client offers no sampling, elicitation or roots"}
    return Heard(reply={**reply, "error": refusal})


def _error(told: Mapping[str, Any]) -> ErrorData:
    """The code, and what negotiation needs of the rest."""
    code = int(told["code"])
    if code in {CONNECTION_CLOSED, REQUEST_TIMEOUT}:
        # The library's own words for what happens here: no server says them.
        return ErrorData(code=FAILED, message=REFUSED, data={"said": code})
    if code != UNSUPPORTED_PROTOCOL_VERSION:
        return ErrorData(code=code, message=REFUSED)
    versions = [str(one)[:32] for one in (told.get("data") or {}).get("supported", ())][:16]
    return ErrorData(code=code, message=REFUSED, data={"supported": versions, "requested": ""})
