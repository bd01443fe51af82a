"""What an agent did for one person is not there when it acts for another, or for nobody."""

import asyncio
from pathlib import Path

from tests.sim.world import world


def test_an_agent_reads_for_bob_nothing_that_it_made_for_alice(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            alice, bob = await it.person("oncall"), await it.person("security")
            for_alice, for_bob, alone = await it.on_behalf(alice), await it.on_behalf(bob), await it.agent()
            session = await it.session(for_alice)
            done = (await it.act(for_alice, "local.process.status", session)).json()
            assert done["status"] == "done", done
            action, kept = f"/v1/actions/{done['action_id']}", f"/v1/observations/{done['observation']}"
            for other in (for_bob, alone, bob, alice):
                assert (await it.client.get(action, headers=other)).status_code == 404
                assert (await it.client.get(kept, headers=other)).status_code in {403, 404}
                closed = await it.client.delete(f"/v1/sessions/{session}", headers={**other, **it.key()})
                assert closed.status_code == (200 if other is alice else 404), closed.text
            assert (await it.client.get(action, headers=for_alice)).json()["receipt"] == done["receipt"]
            other, again = await it.session(for_bob), await it.session(for_alice)
            for who, where in ((for_bob, other), (alone, await it.session(alone))):
                seen = await it.client.get(kept, params={"session": where}, headers=who)
                assert (seen.status_code, seen.json()["code"]) == (404, "observation.not_found")
            seen = await it.client.get(kept, params={"session": again}, headers=for_alice)
            assert seen.json()["value"] == done["result"]["value"]
            # And the other way round: what it did for itself is not the person's agent's.
            own = (await it.act(alone, "local.process.status", await it.session(alone))).json()
            assert (await it.client.get(f"/v1/actions/{own['action_id']}", headers=for_bob)).status_code == 404

    asyncio.run(main())
