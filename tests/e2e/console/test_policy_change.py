"""Putting a policy into force from the console: a second person, never oneself, once, and with the reason of each refusal."""

import asyncio
import re
from pathlib import Path
from typing import Any

from tests.sim.policies import built, folder_of, sent
from tests.sim.visitor import Visitor, signed_in
from tests.sim.world import World, world

PAGE = "/console/policies"
SHARED = "config/limits/data.yaml"
_FIELDS = re.compile(r'name="digest" value="([0-9a-f]{64})"')


async def asked(it: World, who: Visitor, digest: str, change: str, key: str) -> str:
    """Ask on the revision's page; the approval's path."""
    form = {"change": change, "reason": "a new grant", "key": key}
    answer = await who.send(f"{PAGE}/{digest}", form)
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"] == PAGE
    assert "second person" in (await who.open(PAGE)).text
    waiting = await it.gate.approvals.page("default", ("waiting",))
    return f"/console/inbox/{waiting.items[-1].id}"


async def reviewed(who: Visitor, path: str, verdict: str = "approve") -> Any:
    """Answer what the approval's page shows."""
    found = _FIELDS.search((await who.open(path)).text)
    digest = found.group(1) if found else "0" * 64
    form = {"verdict": verdict, "digest": digest, "reason": "seen", "key": f"{path}-{who.login[:8]}"}
    return await who.send(f"{path}/reviews", form)


async def in_force(it: World, digest: str) -> None:
    """Wait until it is."""
    for _ in range(3_000):
        if it.gate.policy.active is not None and it.gate.policy.active.digest == digest:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the bundle never came into force")


def test_a_second_person_puts_it_into_force_and_back_and_nobody_does_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            first = it.gate.policy.active.digest  # type: ignore[union-attr]
            bundle = built(it, folder_of(tmp_path / "next", {SHARED: ("max: 600", "max: 601")}), "7000000000")
            await it.gate.bundles.keep_bundle(bundle.digest, bundle.archive, bundle.signature)
            async with await signed_in(it, "security") as ann, await signed_in(it, "deputy") as deputy:
                path = await asked(it, ann, bundle.digest, "activate", "k-1")
                own = (await ann.open(path)).text
                assert "Four eyes" in own, "why the asker cannot approve"
                assert f'href="{PAGE}/{bundle.digest}/difference"' in own, "what it changes is one step away"
                refused = await reviewed(ann, path)
                assert refused.status_code == 403
                assert it.gate.policy.active.digest == first  # type: ignore[union-attr]
                assert (await reviewed(deputy, path)).status_code == 303
                await in_force(it, bundle.digest)
                page = (await ann.open(PAGE)).text
                assert "last good before it" in page
                assert "dev:security" in page
                back = await asked(it, deputy, first, "rollback", "k-3")
                assert (await reviewed(deputy, back)).status_code == 403
                assert (await reviewed(ann, back)).status_code == 303
                await in_force(it, first)
                assert "rolled back to" in (await ann.open(PAGE)).text
            done = [one["body"]["policy"]["verb"] for one in await it.records() if one["kind"] == "policy"]
            assert done[-2:] == ["activate", "rollback"]

    asyncio.run(main())


def test_two_approvals_in_the_same_second_and_two_bundles_at_once_end_in_one_activation_each(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            bundle = built(it, folder_of(tmp_path / "next", {SHARED: ("max: 600", "max: 601")}), "7000000000")
            await it.gate.bundles.keep_bundle(bundle.digest, bundle.archive, bundle.signature)
            async with (
                await signed_in(it, "security") as ann,
                await signed_in(it, "deputy") as deputy,
                await signed_in(it, "deputy") as twin,
            ):
                path = await asked(it, ann, bundle.digest, "activate", "k-1")
                answers = await asyncio.gather(reviewed(deputy, path), reviewed(twin, path))
                assert 303 in {one.status_code for one in answers}
                await in_force(it, bundle.digest)
                older = built(it, folder_of(tmp_path / "older", {SHARED: ("max: 600", "max: 602")}), "6999999999")
                await it.gate.bundles.keep_bundle(older.digest, older.archive, older.signature)
                page = (await ann.open(f"{PAGE}/{older.digest}")).text
                assert "is not newer than 7000000000" in page, "what would be refused is disabled with its reason"
                late = await asked(it, ann, older.digest, "activate", "k-2")
                await reviewed(deputy, late)
                for _ in range(3_000):
                    if (await it.gate.approvals.get("default", late.rpartition("/")[2])).state not in {
                        "waiting", "approved", "executing",
                    }:  # fmt: skip
                        break
                    await asyncio.sleep(0.02)
                assert it.gate.policy.active.digest == bundle.digest  # type: ignore[union-attr]
            history = [one.digest for one in await it.gate.bundles.history()]
            assert history.count(bundle.digest) == 1
            assert older.digest not in history

    asyncio.run(main())


def test_who_may_not_is_refused_with_the_reason_and_forms_are_checked(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            bundle = built(it, folder_of(tmp_path / "next", {SHARED: ("max: 600", "max: 601")}), "7000000000")
            await it.gate.bundles.keep_bundle(bundle.digest, bundle.archive, bundle.signature)
            path, form = f"{PAGE}/{bundle.digest}", {"change": "activate", "reason": "x", "key": "k"}
            for persona, code in (
                ("oncall", "allowlist.action_not_granted"),
                ("auditor", "allowlist.action_not_granted"),
                ("stranger", "tenant.not_operator"),
            ):
                async with await signed_in(it, persona) as one:
                    answer = await one.send(path, form)
                    assert answer.status_code == 403, persona
                    assert code in answer.text, persona
            async with await signed_in(it, "security") as ann:
                assert (await ann.send(path, form, token="0" * 64)).status_code == 403
                assert (await ann.send(path, {**form, "reason": " "})).status_code == 400
                assert (await ann.send(path, {**form, "change": "delete"})).status_code == 400
                never = await ann.send(path, {**form, "change": "rollback", "key": "k-never"})
                assert never.status_code in {303, 400}
                for _ in range(4):
                    it.clock.advance(1_000)
                    assert (await ann.open(PAGE)).status_code == 200
                stale = await ann.send(path, {**form, "key": "k-stale"}, token=await ann.token(PAGE))
                assert "prompt" in stale.text or "Sign in again" in stale.text, "policy wants presence"
            assert it.gate.policy.active.digest != bundle.digest  # type: ignore[union-attr]
            assert (await sent(it, await it.person("oncall"), bundle)).status_code == 403

    asyncio.run(main())
