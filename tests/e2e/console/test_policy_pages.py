"""Policies in the console: what each revision says and proves, what it changes, and that text in it stays text."""

import asyncio
from pathlib import Path
from urllib.parse import quote

import pytest

from broker import policy_acts
from tests.sim.policies import HOSTILE_CHANGES, built, folder_of, sent
from tests.sim.visitor import signed_in
from tests.sim.world import world

PAGE = "/console/policies"
SHARED = "config/limits/data.yaml"


def test_the_list_says_what_is_in_force_who_signed_it_and_what_waits(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            bundle = built(it, folder_of(tmp_path / "next", {SHARED: ("max: 600", "max: 601")}), "7000000000-next")
            async with await signed_in(it, "security") as security:
                assert "No change of the policy waits." in (await security.open(PAGE)).text
                assert (await sent(it, await it.person("security"), bundle, "more <b>alerts</b>")).status_code == 202
                page = (await security.open(PAGE)).text
                active = it.gate.policy.active
                assert active is not None
                for told in (active.digest, bundle.digest[:16], "7000000000-next", "policy-dev", "not yet in force"):
                    assert told in page
                assert "more &lt;b&gt;alerts&lt;/b&gt;" in page
                assert "/console/inbox/apr_" in page
                one = (await security.open(f"{PAGE}/{bundle.digest}")).text
                assert "Ask to activate it" in one
                assert "Every party is covered" in one, "rules in the words of their METADATA"
                changes = (await security.open(f"{PAGE}/{bundle.digest}/difference")).text
                assert "limits.alerts.max" in changes
                assert '<td class="told">600</td>' in changes
                assert '<td class="told">601</td>' in changes
                assert "No rule changes." in changes
            async with await signed_in(it, "auditor") as auditor:
                page = (await auditor.open(f"{PAGE}/{bundle.digest}")).text
                assert 'aria-disabled="true"' in page.partition("<main")[2], "an auditor reads, and sees why no more"
                assert "gate.policy.activate" in page
                assert (await auditor.open(f"{PAGE}/{bundle.digest}/results")).status_code == 200
            async with await signed_in(it, "oncall") as oncall:
                assert (await oncall.open(f"{PAGE}/{bundle.digest}/results")).status_code == 403
            async with await signed_in(it, "stranger") as stranger:
                page = (await stranger.open(PAGE)).text
                assert active.digest in page, "what is in force is no secret of the operator's"
                assert "dev:serve" not in page, "but who did it is"
                for below in ("", "/source?path=broker/main/main.rego", "/difference", "/results"):
                    assert (await stranger.open(f"{PAGE}/{bundle.digest}{below}")).status_code == 403, below

    asyncio.run(main())


def test_results_are_run_and_a_broken_golden_a_false_test_and_a_lock_out_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            changes = {
                "golden/gate/acts.yaml": ("expect: {effect: permit, tier: 0", "expect: {effect: permit, tier: 1"),
                "broker/main/main_test.rego": ("", "\ntest_that_is_false if 1 == 2\n"),
                "config/grants/data.yaml": (
                    "  gate.policy.rollback: {environments: [prod], resource_types: [gate]}\n", ""
                ),
            }  # fmt: skip
            bundle = built(it, folder_of(tmp_path / "broken", changes), "7000000001")
            await it.gate.bundles.keep_bundle(bundle.digest, bundle.archive, bundle.signature)
            async with await signed_in(it, "security") as security:
                assert it.gate.policy.active is not None
                active = f"{PAGE}/{it.gate.policy.active.digest}/results"
                monkeypatch.setattr(policy_acts, "LOOK_SECONDS", 0.0)
                early = await security.open(active)
                assert "Still running: 0 of" in early.text, "who does not wait for the end is told how far it is"
                assert "It runs on when you leave this page." in early.text
                monkeypatch.setattr(policy_acts, "LOOK_SECONDS", 60.0)
                good = await security.open(active)
                assert good.status_code == 200
                assert "Still running" not in good.text
                assert "0 failed, 0 not run" in good.text
                assert "failed</span>" not in good.text.replace("0 failed, 0 not run</span>", "")
                assert "wicketgate policy rollback --offline" not in good.text
                bad = (await security.open(f"{PAGE}/{bundle.digest}/results")).text
                assert "tier is 0, expected 1" in bad.replace("&#39;", "'")
                assert "data.broker.main_test.test_that_is_false" in bad
                assert f"wicketgate policy rollback --offline {bundle.digest}" in bad, "nobody could go back under it"
                unfit = {"broker/main/main.rego": ("", "\nunfit if {\n")}
                bundle = built(it, folder_of(tmp_path / "unfit", unfit), "7000000003")
                await it.gate.bundles.keep_bundle(bundle.digest, bundle.archive, bundle.signature)
                refused = (await security.open(f"{PAGE}/{bundle.digest}/results")).text
                assert "The engine does not take this bundle" in refused
                assert "Time ran out" not in refused

    asyncio.run(main())


def test_hostile_text_in_a_bundle_stays_text_on_every_page(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            bundle = built(it, folder_of(tmp_path / "hostile", HOSTILE_CHANGES), f"7000000002-{'x' * 60}")
            await it.gate.bundles.keep_bundle(bundle.digest, bundle.archive, bundle.signature)
            one = f"{PAGE}/{bundle.digest}"
            paths = ["", "/results", "/difference"]
            paths += [f"/source?path={quote(name)}" for name in (*bundle.content.modules, *bundle.content.tests)]
            paths += ["/source?path=config/reasons/data.json", "/source?path=golden/gate/acts.json"]
            seen = 0
            async with await signed_in(it, "security") as security:
                for path in paths:
                    answer = await security.open(one + path)
                    assert answer.status_code == 200, path
                    for evil in ("<script>alert", "<img src", "\u202e", "hx-get=/console/signout>"):
                        assert evil not in answer.text.replace("hx-get=/console/signout&gt;", ""), (path, evil)
                    seen += "U+202E" in answer.text and "&lt;script&gt;alert(1)" in answer.text
                assert seen >= 6
                for path in ("../../etc/passwd", "\u202e", "<script>", "x" * 513, ".signatures.json", ""):
                    answer = await security.open(f"{one}/source?path={quote(path)}")
                    assert answer.status_code in {400, 404}, path
                    assert "<script>" not in answer.text
                for digest in ("0" * 64, "zz", "x" * 300, "%3Cimg%20src=x%3E"):
                    assert (await security.open(f"{PAGE}/{digest}")).status_code in {400, 404}, digest

    asyncio.run(main())


def test_no_page_asks_more_than_three_times_and_each_ask_is_on_record(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            assert it.gate.policy.active is not None
            digest = it.gate.policy.active.digest
            async with await signed_in(it, "security") as security:
                for path in (
                    PAGE, f"{PAGE}/{digest}", f"{PAGE}/{digest}/results", f"{PAGE}/{digest}/difference",
                    f"{PAGE}/{digest}/source?path=broker/main/main.rego", "/console/simulate", "/console/simulate?record=0",
                ):  # fmt: skip
                    before = len(await it.records())
                    assert (await security.open(path)).status_code in {200, 400}
                    kinds = [one["kind"] for one in (await it.records())[before:]]
                    assert 1 <= kinds.count("intent") + kinds.count("refusal") <= 3, path
                    assert not [one for one in kinds if one not in {"intent", "outcome"}], path

    asyncio.run(main())
