"""Bad days at two doors: the routes and POST /v1/actions lead to the same acts, and neither is the looser one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.sim.world import world

DIGEST = "a" * 64
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gate.session.open": (
        "/v1/sessions",
        {
            "intent": [{"kind": "task", "text": "look", "source": "test"}],
            "agent": "dev:agent-1",
            "incident": "",
            "labels": {"team": "shop"},
        },
    ),
    "gate.review.create": (
        "/v1/approvals/apr_none/reviews",
        {"verdict": "deny", "digest": DIGEST, "narrow": {"window_seconds": 5}},
    ),
    "gate.policy.simulate": (
        "/v1/policies/simulate",
        {
            "action": "local.process.restart",
            "resource": {"type": "process", "id": "checkout", "env": "prod"},
            "arguments": {},
            "digest": "",
        },
    ),
    "gate.policy.rollback": ("/v1/policies/rollback", {"digest": DIGEST}),
    "gate.kill.resume": ("/v1/kill/resume", {"scope": "agent", "target": "dev:nobody"}),
}
WRONG: list[Any] = [5, [{}], {"a": 1}, "", "x" * 20_000, DIGEST + "\n"]
"""What is put in each place in turn; some of it is right there."""


def mutants(value: Any) -> Iterator[Any]:
    """``value`` with one place wrong: another value, a member more, a member less, and likewise below."""
    yield from WRONG
    if isinstance(value, dict):
        yield from ({**value, **more} for more in ({"more": 1}, {"k" * 65: "v"}, {"k": "v" * 257}))
        yield {**value, **{f"many-{n}": "x" for n in range(65)}}
        for name, below in value.items():
            yield {key: one for key, one in value.items() if key != name}
            yield from ({**value, name: wrong} for wrong in mutants(below))
    if isinstance(value, list):
        yield value * 17
        yield from ([wrong] for wrong in mutants(value[0]))


def through_actions(action: str, body: Any) -> dict[str, Any]:
    """The same request as arguments of the act."""
    said = {name: one for name, one in body.items() if name != "reason"}
    if action == "gate.review.create":
        said = {"approval": "apr_none", **said}
    if action == "gate.policy.simulate":
        said = {"request": {name: one for name, one in body.items() if name != "digest"}}
        said |= {"digest": body["digest"]} if "digest" in body else {}
    target = {"type": "gate", "id": "gate", "env": "prod"}
    return {"action": action, "resource": target, "arguments": said, "reason": "why"}


def test_what_a_route_refuses_post_actions_refuses_too(tmp_path: Path) -> None:
    async def main() -> None:
        extra = "[web]\nattempts_per_minute_max = 1000000\nattempts_burst_max = 1000000\n"
        async with world(tmp_path, extra=extra) as it:
            who = await it.person("security")

            async def ask(path: str, body: Any) -> int:
                it.clock.advance(1)
                if not it.clock.monotonic() % 300:
                    who.update(await it.person("security"))
                return (await it.client.post(path, json=body, headers={**who, **it.key()})).status_code

            async def both(action: str, body: dict[str, Any]) -> tuple[int, int]:
                path, _ = BODIES[action]
                reason = {} if action == "gate.session.open" else {"reason": "why"}
                return await ask(path, {**reason, **body}), await ask("/v1/actions", through_actions(action, body))

            for action, (_, good) in BODIES.items():
                assert 400 not in await both(action, good), action
                refused = 0
                for body in mutants(good):
                    if isinstance(body, dict):
                        route, act = await both(action, body)
                        assert max(route, act) < 500, (action, body, route, act)
                        assert route != 400 or act == 400, (action, body, act)
                        refused += route == 400
                assert refused > 10, action

    asyncio.run(main())


def test_an_intent_that_is_no_intent_opens_nothing_through_either_door(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            bad: list[Any] = [[{}], [{"kind": "task", "text": 5}], [{"kind": "x", "text": "y"}], ["task"], [], {}, 5]
            for intent in bad:
                asked = through_actions("gate.session.open", {"intent": intent})
                act = await it.client.post("/v1/actions", json=asked, headers={**agent, **it.key()})
                route = await it.client.post("/v1/sessions", json={"intent": intent}, headers={**agent, **it.key()})
                assert (act.status_code, route.status_code) == (400, 400), intent
                assert act.json()["code"] == "request.arguments"
            session = await it.session(agent)
            assert (await it.act(agent, "local.process.status", session)).status_code == 200

    asyncio.run(main())
