"""What concerns every tenant is decided in the operator's tenant, and every tenant's log holds it."""

import asyncio
import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from broker.policy import keys as policy_keys
from broker.policy.bundle import build_bundle
from tests.sim.world import World, world


async def activate(it: World, who: Mapping[str, str], revision: str) -> httpx.Response:
    bundle = build_bundle(it.policies, policy_keys.dev_key(it.data / "keys", dev=True), revision)
    body = {"bundle": base64.b64encode(bundle.archive).decode(), "signature": bundle.signature, "reason": "a new rule"}
    return await it.client.post("/v1/policies/activate", json=body, headers={**who, **it.key()})


async def rollback(it: World, who: Mapping[str, str], digest: str) -> httpx.Response:
    body = {"digest": digest, "reason": "the rule locks us out"}
    return await it.client.post("/v1/policies/rollback", json=body, headers={**who, **it.key()})


async def approved(it: World, who: Mapping[str, str], answer: httpx.Response, reviewer: str) -> dict[str, Any]:
    """The outcome of an act that a second person approves."""
    assert answer.status_code == 202, answer.text
    reviewed = await it.review(await it.person(reviewer), answer.json()["approval"])
    assert reviewed.status_code == 200, reviewed.text
    done = await it.outcome(who, answer.json()["action_id"])
    assert done.status_code == 200, done.text
    return dict(done.json())


async def history(it: World, who: Mapping[str, str]) -> list[dict[str, Any]]:
    answer = await it.client.get("/v1/policies", headers=who)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["history"])


def test_only_the_operators_people_change_the_policy_of_all_and_every_log_holds_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            security, stranger = await it.person("security"), await it.person("stranger")
            await it.session(stranger)
            first = it.gate.policy.active
            assert first is not None
            for answer in (await activate(it, stranger, "7"), await rollback(it, stranger, first.digest)):
                assert (answer.status_code, answer.json()["code"]) == (403, "tenant.not_operator"), answer.text
                assert "gate.operator_tenant" in answer.json()["remedy"]
            assert it.gate.policy.active is first
            await approved(it, security, await activate(it, security, "7"), "deputy")
            assert it.gate.policy.active.revision == "7"
            digest = it.gate.policy.active.digest
            for tenant in ("default", "acme"):
                changes = [one["body"]["policy"] for one in await it.records(tenant) if one["kind"] == "policy"]
                assert [(one["verb"], one["digest"]) for one in changes] == [("activate", digest)], tenant

    asyncio.run(main())


def test_who_changed_the_policy_is_told_to_the_operators_people_only(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            own, others = await history(it, await it.person("security")), await history(it, await it.person("stranger"))
            assert [one["by"] for one in own] == ["dev:serve"]
            assert [one["by"] for one in others] == [""]
            assert [{**one, "by": ""} for one in own] == others

    asyncio.run(main())


def test_the_operators_tenant_is_a_setting(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            pass
        named = it.settings.gate.model_copy(update={"operator_tenant": "acme"})
        it.settings = it.settings.model_copy(update={"gate": named})
        await it.start()
        try:
            body = {"scope": "all", "target": "", "reason": "a drill"}
            security, stranger = await it.person("security"), await it.person("stranger")
            assert (await it.client.post("/v1/kill", json=body, headers=security)).status_code == 403
            assert (await it.client.post("/v1/kill", json=body, headers=stranger)).status_code == 200
        finally:
            await it.stop()

    asyncio.run(main())
