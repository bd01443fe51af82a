"""``tools/list``: the tools that policy could permit the caller, in a stable order, a page at a time."""

import base64
import binascii
from collections.abc import Callable, Sequence

import mcp_types as types
import orjson
from mcp.shared.exceptions import MCPError

from broker.errors import BrokerError
from broker.identity import Credential
from broker.model import Principal, Resource
from broker.offers import Offers
from broker.pipeline import Pipeline
from broker.policy.pdp import PolicyDecisionPoint
from broker.reading import GATE, Ask
from broker.web.mcp import tools
from broker.web.mcp.answers import protocol_error
from broker.web.mcp.calls import CREDENTIAL, PRINCIPAL
from broker.web.mcp.waiting import Context

PAGE = 100
FRESH_MILLISECONDS = 60_000
"""A client may take a list for so long as true; nobody else's client may take it at all."""


class Listing:
    """Answers ``tools/list``; each page is the action ``gate.catalog.read``."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        offers: Offers,
        policy: PolicyDecisionPoint,
        inventory: Callable[[str], Sequence[Resource]],
    ) -> None:
        """``inventory(tenant)`` names targets in schemas."""
        self._pipeline = pipeline
        self._offers = offers
        self._policy = policy
        self._inventory = inventory

    async def page(self, ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        """One page. Raises ``MCPError``: -32602 for a cursor of another policy's list, -32000 for a refusal."""
        principal: Principal = ctx.request.scope[PRINCIPAL]  # type: ignore[union-attr]
        credential: Credential = ctx.request.scope[CREDENTIAL]  # type: ignore[union-attr]
        try:
            gate = {"type": GATE.type, "id": GATE.id, "env": GATE.env}
            await self._pipeline.act(credential, Ask("gate.catalog.read", gate, {"offered": True}))
            offers = {one.action: one for one in await self._offers.of(principal)}
        except BrokerError as error:
            raise protocol_error(error) from None
        # From here on nothing waits: policy, catalog and offers are of one moment.
        active, catalog = self._policy.active, self._policy.catalog
        digest = active.digest if active else ""
        begin = _position(params.cursor if params else None, digest)
        targets = list(self._inventory(principal.tenant))
        listed = sorted((name, action) for name, action in tools.names(catalog).items() if action in offers)
        shown = [
            tools.tool(name, catalog.action(action), offers[action], targets)
            for name, action in listed[begin : begin + PAGE]
        ]
        more = begin + PAGE < len(listed)
        return types.ListToolsResult(
            tools=shown,
            next_cursor=_cursor(digest, begin + PAGE) if more else None,
            ttl_ms=FRESH_MILLISECONDS,
            cache_scope="private",
        )


def _cursor(digest: str, position: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([digest[:16], position])).decode().rstrip("=")


def _position(cursor: str | None, digest: str) -> int:
    """Where a page begins; a list of another policy has no further pages."""
    if cursor is None:
        return 0
    try:
        marked, position = orjson.loads(base64.urlsafe_b64decode(cursor[:64] + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, binascii.Error):
        marked, position = "", -1
    if marked != digest[:16] or not isinstance(position, int) or position < 0:
        raise MCPError(types.INVALID_PARAMS, "the list is another one by now: begin again without a cursor")
    return position
