"""A coding agent names only its own run: the gate finds the session that its model calls and its other calls share."""

import asyncio
from pathlib import Path

from tests.sim.world import MODEL, world

RUN = {"x-claude-code-session-id": "3ded2dbd-915c-4f72-ba1f-e2ae48a3bf92"}
BODY = {"model": MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": "x"}]}


def test_an_agents_run_gets_one_session_and_a_call_without_any_name_gets_none(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, where = await it.agent(), "/llm/anthropic/v1/messages"
            assert (await it.client.post(where, json=BODY, headers=agent)).json()["wicketgate"][
                "code"
            ] == "session.required"
            for run in (RUN, RUN, {"x-claude-code-session-id": "another"}):
                assert (await it.client.post(where, json=BODY, headers={**agent, **run})).status_code == 200
            counted = await it.client.post(f"{where}/count_tokens", json=BODY, headers={**agent, **RUN})
            assert counted.status_code == 200
            bodies = [one["body"] for one in await it.records()]
            opened = [one for one in bodies if one.get("action", {}).get("name") == "gate.session.open"]
            assert len(opened) == 2  # its intent and its outcome
            calls = [one.get("session") for one in bodies if one.get("action", {}).get("name") == "llm.messages.create"]
            assert len({one for one in calls if one}) == 1
            # The name of a run is no key to anybody's session.
            session = await it.session(await it.person("oncall"))
            foreign = {**agent, "x-claude-code-session-id": session}
            assert (await it.client.post(where, json=BODY, headers=foreign)).status_code == 200
            named = {**agent, "Wicketgate-Session": session}
            assert (await it.client.post(where, json=BODY, headers=named)).status_code == 404

    asyncio.run(main())
