"""Which tool uses of a model's answers went through the gate, to whom, and which call each of them serves.

A coding agent names in a call the tool use that it comes from (``_meta``). Only where the gate itself passed that one on,
to the same party in the same session, not too long ago, and no other action used it, is it a relayed turn; it matches
where tool and arguments are what went out. Both are facts for policy. What went out is what redaction left, so a client
that calls what it was told sends just that.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from broker.clock import Clock, seconds
from broker.errors import BrokerError
from broker.model import Json, Principal
from broker.store import Store
from broker.store import turns as rows
from broker.store.turns import Owner, ToolUse
from broker.telemetry import Telemetry

TURN_SECONDS = 3600
"""How long a tool use may wait for its call: people are asked by their client, too."""
SWEEP_SECONDS = 60
LEVELS_MAX = 100
"""Deeper than the strict reader lets any call be."""
EXACT = 2**53
USES_MAX = 128
"""So many tool uses of one message count, the first ones; of all of a party's in a session, ``store.turns.KEPT_MAX``."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a call of an MCP client says: the tool use that it comes from (empty: none), and what it asks for."""

    use: str
    tool: str
    arguments: Mapping[str, Json]


class Turns:
    """Remembers relayed tool uses, for all replicas that share ``store``."""

    def __init__(self, store: Store, clock: Clock, telemetry: Telemetry) -> None:
        """Keep rows in ``store``; expiry is compared with ``clock`` at every use."""
        self._store = store
        self._clock = clock
        self._telemetry = telemetry
        self._sweep_at = 0

    async def note(self, principal: Principal, session: str, blocks: Iterable[Mapping[str, Any]]) -> None:
        """Remember the tool uses among ``blocks`` of a message, as they go out; before they do.

        Where that fails the answer goes out all the same, for it is paid for: its calls are no relayed turns then.
        """
        uses = [use for block in blocks if (use := _use(block))][:USES_MAX]
        if not uses:
            return
        try:
            await self._keep(_owner(principal, session), uses)
        except BrokerError as error:
            self._telemetry.warning("turn.forgotten", code=error.error_code)

    async def _keep(self, owner: Owner, uses: Sequence[ToolUse]) -> None:
        now = seconds(self._clock)
        if now >= self._sweep_at:
            # A transaction of its own: what two replicas clear at once they do not wait for with rows of theirs in hand.
            self._sweep_at = now + SWEEP_SECONDS
            await self._store.write(lambda c: rows.sweep(c, now), durable=False)
        # A loss of power may lose it: then the call is no relayed turn.
        await self._store.write(lambda c: rows.note(c, owner, uses, now_s=now, until=now + TURN_SECONDS), durable=False)

    async def spend(self, principal: Principal, session: str, action_id: str, named: Named) -> Mapping[str, Json]:
        """The facts about a call; a relayed turn that matches serves ``action_id`` from now on, and no other.

        On disk when this returns: what a loss of power undid would serve a second call, under another key.
        """
        relayed = matches = False
        if named.use:
            use = ToolUse(named.use, named.tool, digest(named.arguments))
            now, owner = seconds(self._clock), _owner(principal, session)
            relayed, matches = await self._store.write(
                lambda c: rows.spend(c, owner, use, action_id=action_id, now_s=now)
            )
        return {"tool_call": True, "relayed": relayed, "matches": matches}

    async def give_back(self, principal: Principal, session: str, action_id: str) -> None:
        """What ``action_id`` spent serves another call: for one that never began, and whose id nobody can send again."""
        owner = _owner(principal, session)
        # Where that fails it stays used, and the model asks again.
        with suppress(BrokerError):
            await self._store.write(lambda c: rows.give_back(c, owner, action_id), durable=False)


class Uses:
    """Tool uses of a stream: each is whole when its block ends."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._open: dict[int, tuple[Mapping[str, Any], list[str]]] = {}
        self._begun = 0

    def take(self, events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Blocks that end with one of ``events``, which are as they go out."""
        ended = []
        for event in events:
            match event["type"]:
                case "content_block_start" if event["content_block"].get("type") == "tool_use":
                    self._begun += 1
                    if self._begun <= USES_MAX:
                        self._open[event["index"]] = (event["content_block"], [])
                case "content_block_delta" if event["index"] in self._open:
                    self._open[event["index"]][1].append(str(event["delta"].get("partial_json", "")))
                case "content_block_stop" if event["index"] in self._open:
                    block, pieces = self._open.pop(event["index"])
                    ended.append({**block, "input": _read("".join(pieces))} if any(pieces) else block)
        return ended


def digest(arguments: Mapping[str, Json]) -> str:
    """SHA-256 (hex) of ``arguments``; a whole number is the same however it was written. Empty for what no call may be."""
    try:
        return hashlib.sha256(orjson.dumps(_whole(arguments, LEVELS_MAX), option=orjson.OPT_SORT_KEYS)).hexdigest()
    except (ValueError, TypeError):
        return ""


def _owner(principal: Principal, session: str) -> Owner:
    return Owner(principal.tenant, session, principal.acting.id)


def _use(block: Mapping[str, Any]) -> ToolUse | None:
    """A block as a tool use; None for any other, and for one that no call could name.

    Clients put their own name of a server before a tool's, and ``__`` between; no tool of the gate has two of them.
    """
    use, name, said = block.get("id"), block.get("name"), block.get("input")
    if block.get("type") != "tool_use" or not (isinstance(use, str) and isinstance(name, str)):
        return None
    if not (0 < len(use) <= 128 and isinstance(said, dict)):
        return None
    arguments = digest(said)
    return ToolUse(use, name.rpartition("__")[2], arguments) if arguments else None


def _read(text: str) -> Json:
    """A tool's input as its client reads it; None where it is no JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _whole(value: Json, levels: int) -> Json:
    """``value`` with whole numbers as such; raises ``ValueError`` for what is nested deeper than ``levels``."""
    if isinstance(value, dict | list) and not levels:
        raise ValueError("too deep")
    if isinstance(value, dict):
        return {name: _whole(each, levels - 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_whole(each, levels - 1) for each in value]
    exact = isinstance(value, float) and value.is_integer() and abs(value) < EXACT
    return int(value) if exact else value
