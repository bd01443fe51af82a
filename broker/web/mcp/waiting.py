"""While people decide: how a call that needs them is held, by what its client can do.

Clients of 2026-07-28 are answered in rounds: each is held on the server, and ends in a sealed ``requestState`` that the
client sends back by itself. Where the client can show an address, the first round ends at once with the address at which
people decide; what it answers to that is no approval and is not read. Older clients are held once, and longer where they
asked for progress. After that the answer says that the action waits, and how to ask again. Nothing hangs on a client that
stays: the proposal is a row of the gate, and the action runs when people approved it, whoever listens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mcp_types as types
import orjson
from mcp.server.context import ServerRequestContext
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from broker import patience
from broker.acts import Acts
from broker.config import McpSettings
from broker.errors import BadRequest, Denied
from broker.identity import Credential, Verifier
from broker.killswitch import KillSwitch
from broker.model import Json, Principal
from broker.policy.pdp import PolicyDecisionPoint

Context = ServerRequestContext[Any, Any]
Body = Mapping[str, Any]
LOOK_SECONDS = 2.0
_UNDER_WAY = ("waiting", "running")


@dataclass(frozen=True, slots=True)
class Held:
    """One call that waits: whose, which action, and how many rounds were answered."""

    principal: Principal
    credential: Credential
    action_id: str
    round: int = 0


class Waiting:
    """Holds calls."""

    def __init__(  # noqa: PLR0913 - the door names each part once
        self,
        *,
        acts: Acts,
        identity: Verifier,
        kills: KillSwitch,
        policy: PolicyDecisionPoint,
        settings: McpSettings,
        page: str,
    ) -> None:
        """``page`` is the address of the console's page of what waits; empty where there is no console."""
        self._acts = acts
        self._identity = identity
        self._kills = kills
        self._policy = policy
        self._settings = settings
        self._page = page
        self._holding: dict[tuple[str, str], int] = {}
        self._leaving = False

    async def begin(self, ctx: Context, held: Held, body: Body) -> Body | types.InputRequiredResult:
        """The first answer to a call that waits: its end, the next round, or how to ask again."""
        if is_modern(ctx) and self._page and _shows_addresses(ctx):
            return _round(held, 1, self._address(body))
        return await self._hold(ctx, held)

    async def again(self, ctx: Context, held: Held) -> Body | types.InputRequiredResult:
        """A later round, or a client that asks again by itself."""
        return await self._hold(ctx, held)

    def close(self) -> None:
        """Hold nothing any longer: whoever asks again asks another replica, or the next process."""
        self._leaving = True

    async def _hold(self, ctx: Context, held: Held) -> Body | types.InputRequiredResult:
        party = (held.principal.tenant, held.principal.acting.id)
        if self._holding.get(party, 0) >= self._settings.held_per_party_max:
            return self._pending(await self._look(held, 0))
        self._holding[party] = self._holding.get(party, 0) + 1
        try:
            body = await patience.aside(self._until(ctx, held))
        finally:
            self._holding[party] -= 1
            if not self._holding[party]:
                del self._holding[party]
        if body["status"] not in _UNDER_WAY:
            return body
        if is_modern(ctx) and held.round < self._settings.rounds_max:
            return _round(held, held.round + 1)
        return self._pending(body)

    async def _until(self, ctx: Context, held: Held) -> Body:
        """Look until it ended or the time is over; between two looks the asker's sign-in and the switches count, too."""
        told = bool(ctx.meta and "progress_token" in ctx.meta)
        longer = self._settings.rounds_max if told and not is_modern(ctx) else 1
        each = min(LOOK_SECONDS, self._settings.hold_seconds)
        looks = max(1, round(longer * self._settings.hold_seconds / each))
        body = await self._look(held, 0)
        for number in range(looks):
            if body["status"] not in _UNDER_WAY or self._leaving:
                return body
            await self._still(held, body)
            await ctx.session.report_progress(number, looks, f"{body['status']}: {held.action_id}")
            body = await self._look(held, each)
        return body

    async def _look(self, held: Held, wait: float) -> Body:
        return await self._acts.own_action(held.principal, held.action_id, wait=wait)

    async def _still(self, held: Held, body: Body) -> None:
        """Raise where the asker's sign-in does not hold any more, or a person stopped them or the target's system."""
        await self._identity.recognise(held.credential)
        declared = self._policy.catalog.find(str(body.get("approval", {}).get("action", "")))
        if await self._kills.is_killed(held.principal, declared.connector if declared else ""):
            raise Denied(
                "a person stopped this while it waited",
                code="kill.pulled",
                remedy="wait until a person resumes; wicketgate agents list shows what is stopped",
            )

    def _pending(self, body: Body) -> Body:
        """That it waits, where people decide, and how to ask again."""
        shown = {**body, "next": "call the tool gate_actions_read with this action_id as argument `action`"}
        if "approval" in body and self._page:
            shown["approval"] = {**body["approval"], "page": f"{self._page}/{body['approval']['id']}"}
        return shown

    def _address(self, body: Body) -> types.ElicitRequest:
        """Where people decide, for the client's person to open."""
        told = "A person has to decide about this action. Open the page to see it; you may not be the one who decides."
        return types.ElicitRequest(
            params=types.ElicitRequestURLParams(message=told, url=f"{self._page}/{body['approval']['id']}")
        )


def is_modern(ctx: Context) -> bool:
    """Whether the client speaks a revision without handshakes."""
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def _shows_addresses(ctx: Context) -> bool:
    declared = ctx.session.client_capabilities
    return bool(declared and declared.elicitation and declared.elicitation.url is not None)


def _round(held: Held, number: int, shown: types.ElicitRequest | None = None) -> types.InputRequiredResult:
    """What ends a round; the state is sealed on its way out, to this principal, tool and arguments."""
    state = orjson.dumps({"action": held.action_id, "round": number}).decode()
    return types.InputRequiredResult(request_state=state, input_requests={"approval": shown} if shown else None)


def read_state(state: str, principal: Principal, credential: Credential) -> Held:
    """What ``_round`` wrote, and the seal gave back; raises ``BadRequest``."""
    said: Json = orjson.loads(state)
    if not (isinstance(said, dict) and isinstance(said.get("action"), str) and isinstance(said.get("round"), int)):
        raise BadRequest("the request's state is not one of ours", code="mcp.state")
    return Held(principal, credential, said["action"], said["round"])
