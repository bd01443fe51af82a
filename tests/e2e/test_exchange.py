"""A whole gate before a system that wants each principal's own token: nothing of the caller's leaves, or stays."""

import asyncio
import json
from pathlib import Path

from joserfc.jwk import ECKey

from broker.clock import SeededClock
from tests.sim.exchange_server import AUDIENCE, CLIENT_ID, GATE, ExchangeServer
from tests.sim.world import World, world


def toml(server: ExchangeServer, tools: str, key: Path) -> str:
    return f"""
[[inventory]]
type = "project"
id = "shop"
env = "prod"
region = "eu-west-1"
[[connectors]]
name = "tickets"
adapter = "http"
[connectors.settings]
base_url = "{tools}"
region = "eu-west-1"
allow_networks = ["127.0.0.1/32"]
[connectors.settings.exchange]
token_url = "{server.url}"
issuer = "{GATE}"
client_id = "{CLIENT_ID}"
key_file = "{key}"
audience = "{AUDIENCE}"
allow_networks = ["127.0.0.1/32"]
"""


def test_an_agent_on_behalf_of_a_person_reaches_the_system_as_both_and_its_token_stays_here(tmp_path: Path) -> None:
    async def main() -> None:
        clock, gate_key = SeededClock(), ECKey.generate_key("P-256", {"kid": "gate-1"})
        key = tmp_path / "gate.jwk"
        key.write_text(json.dumps(gate_key.as_dict(private=True)))
        server = ExchangeServer(clock, gate_key)
        async with (
            server.sim() as issuing,
            server.tools() as tools,
            world(tmp_path, clock=clock, extra=toml(server, tools.url, key)) as it,
        ):
            await scene(it, server)
            shown = b"".join(
                seen.body + seen.target.encode() + json.dumps(dict(seen.headers)).encode()
                for seen in (*issuing.seen, *tools.seen)
            )
            given = [one["Authorization"].removeprefix("Bearer ") for one in (person, both)]
            kept = it.everything_stored()
            for token in given:
                for part in token.split("."):
                    assert part.encode() not in shown
                    assert part.encode() not in kept
            for form in server.forms:
                for name in {"subject_token", "actor_token", "client_assertion"} & set(form):
                    assert form[name].encode() not in kept

    person: dict[str, str] = {}
    both: dict[str, str] = {}

    async def scene(it: World, server: ExchangeServer) -> None:
        person.update(await it.person("oncall"))
        both.update(await it.on_behalf(person))
        asked = {"id_": "shop", "type_": "project"}
        done = await it.act(both, "tickets.ticket.read", await it.session(both), {"ticket": 7}, **asked)
        assert done.status_code == 200, done.text
        assert done.json()["result"]["value"]["sub"] == "dev:oncall"
        assert done.json()["result"]["value"]["act"] == {"sub": "dev:agent-1"}
        alone = await it.agent()
        session = await it.session(alone)
        own = await it.act(alone, "tickets.ticket.read", session, {"ticket": 7}, **asked)
        assert own.json()["result"]["value"]["sub"] == "dev:agent-1"
        server.refused = frozenset({"dev:agent-1"})
        it.clock.advance(301)
        before = len(server.forms)
        refused = await it.act(alone, "tickets.ticket.read", session, {"ticket": 8}, **asked)
        assert (refused.status_code, refused.json()["code"]) == (502, "exchange.refused"), refused.text
        assert len(server.forms) == before + 1
        last = [one for one in await it.records() if one["kind"] == "outcome"][-1]
        assert (last["body"]["outcome"]["status"], last["body"]["outcome"]["code"]) == ("failed", "exchange.refused"), (
            last["body"]
        )

    asyncio.run(main())
