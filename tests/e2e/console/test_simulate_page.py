"""Simulate in the console: the answer is the real one, explained; nothing runs; what is wrong is named by field."""

import asyncio
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.policy.bundle import build_bundle
from broker.policy.explain import simulate
from broker.policy.keys import SigningKey
from tests.parts import corpus
from tests.sim.policies import HOSTILE, built, folder_of
from tests.sim.visitor import Visitor, signed_in
from tests.sim.world import World, world
from tests.unit.policies.engines import POLICIES, codes, goldens, on_opa

PAGE = "/console/simulate"
FORM = {
    "action": "local.process.restart",
    "type": "process",
    "id": "checkout",
    "env": "prod",
    "arguments": "{}",
    "reason": "the error rate rose",
    "who": "agent",
    "roles": "agent",
    "session": "1",
}
_INPUT = re.compile(r'<textarea id="input"[^>]*>\n(.*?)</textarea>', re.DOTALL)


def words_of(page: str) -> str:
    """The page's text."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page.partition("<main")[2])))


def said(page: str) -> tuple[str, str]:
    """Effect and tier that the page says."""
    found = re.search(r"The answer (permit|deny) Tier (\d)", words_of(page))
    assert found, words_of(page)[:2_000]
    return found.group(1), found.group(2)


async def kept(it: World) -> tuple[int, int, int]:
    """What a real request would leave behind."""
    proposals = len((await it.gate.approvals.page("default", ("waiting",))).items)
    return it.restarts(), len(it.models.seen), proposals


def test_the_golden_decisions_come_out_alike_when_simulated_decided_and_asked_of_opa() -> None:
    """Every golden through the explaining path, on regorus, beside OPA's decision."""
    key = SigningKey("k", Ed25519PrivateKey.generate())
    some = goldens()[::7]

    async def main() -> list[Any]:
        bundle = build_bundle(POLICIES, key, "1")
        return [await simulate(one.input, bundle) for one in some]

    found, theirs = asyncio.run(main()), on_opa([one.input for one in some])
    for golden, mine, opa in zip(some, found, theirs, strict=True):
        assert (mine.decision.effect, mine.decision.tier) == (opa["effect"], opa["risk"]["tier"]), golden.where
        assert mine.decision.effect == golden.expect["effect"], golden.where
        assert {one.code for one in mine.decision.reasons} == codes(opa), golden.where
        names = {"requireapproval" if name == "approval" else name for name in opa["obligations"]}
        duties = {type(one).__name__.lower() for one in mine.decision.obligations}
        assert {name.replace("_", "").rstrip("s") for name in duties} == {
            name.replace("_", "").rstrip("s") for name in names
        }, golden.where
        assert mine.held, golden.where
        assert "input.action.name" in mine.facts


def test_it_says_what_the_gate_then_does_and_nothing_is_done_by_asking(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            async with await signed_in(it, "security") as ann:
                before = await kept(it)
                answers = {}
                for action, env in (
                    ("local.process.restart", "prod"), ("local.process.restart", "staging"),
                    ("local.process.status", "prod"), ("gate.policy.activate", "prod"),
                ):  # fmt: skip
                    form = {**FORM, "action": action, "env": env}
                    if action.startswith("gate."):
                        form |= {"type": "gate", "id": "gate", "arguments": json.dumps({"digest": "0" * 64})}
                    answer = await ann.send(PAGE, form)
                    assert answer.status_code == 200, words_of(answer.text)[:500]
                    answers[action, env] = said(answer.text)
                assert await kept(it) == before
                actions = [one["body"]["action"]["name"] for one in await it.records() if one["kind"] == "intent"]
                assert actions.count("gate.policy.simulate") == 4
                assert not [one for one in actions if one.startswith("local.")], "nothing was executed"
                for (action, env), (effect, tier) in answers.items():
                    type_, id_ = ("gate", "gate") if action.startswith("gate.") else ("process", "checkout")
                    arguments = {"digest": "0" * 64} if action.startswith("gate.") else {}
                    real = await it.act(agent, action, session, arguments, type_=type_, id_=id_, env=env)
                    assert (effect == "permit") == (real.status_code in {200, 202}), (action, env, real.text)
                    if effect == "permit":
                        assert str(real.json()["decision"]["tier"]) == tier

    asyncio.run(main())


def test_another_revision_stands_beside_the_one_in_force_with_what_differs(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            change = {"config/approval/data.yaml": ("{tier: 2, quorum: 1,", "{tier: 2, quorum: 2,")}
            bundle = built(it, folder_of(tmp_path / "next", change), "7000000000")
            await it.gate.bundles.keep_bundle(bundle.digest, bundle.archive, bundle.signature)
            async with await signed_in(it, "security") as ann:
                page = words_of((await ann.send(PAGE, {**FORM, "digest": bundle.digest})).text)
                assert "Revision 7000000000 on regorus" in page
                differing = page.partition("Beside what is in force")[2].partition("Rules that held In")[0]
                assert '"quorum": 2' in differing
                assert '"quorum": 1' in differing
                same = words_of((await ann.send(PAGE, {**FORM, "digest": ""})).text)
                assert "This is the revision in force." in same
                assert "Beside what is in force" in same

    asyncio.run(main())


def test_a_record_fills_the_form_and_its_decision_stands_beside_the_answer(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            done = (await it.act(agent, "local.process.status", session)).json()
            assert (await it.act(agent, "gate.policy.activate", session, {"digest": "0" * 64}, type_="gate", id_="gate")).status_code == 403  # fmt: skip
            refusal = len(await it.records()) - 1
            async with await signed_in(it, "security") as ann:
                for named in (done["action_id"], done["decision"]["id"], str(done["receipt"]["seq"])):
                    page = (await ann.open(f"{PAGE}?record={named}")).text
                    assert 'value="local.process.status"' in page, named
                    assert '<option value="agent" selected>' in page
                    assert "sealed for whoever asked" in page, "another's arguments are not shown"
                form = {**FORM, "action": "local.process.status", "record": done["action_id"]}
                page = words_of((await ann.send(PAGE, form)).text)
                assert "Effect, tier and reasons are as on record." in page
                page = words_of((await ann.send(PAGE, {**form, "roles": "nobody"})).text)
                assert "It differs from the record" in page
                page = (await ann.open(f"{PAGE}?record={refusal}")).text
                assert 'value="gate.policy.activate"' in page
                assert "allowlist.action_not_granted" in page
                assert (
                    f'href="/console/simulate?record={refusal}"' in (await ann.open(f"/console/audit/{refusal}")).text
                )
                own = (await ann.open(f"{PAGE}?record={refusal + 1}")).text
                assert "sealed for whoever asked" not in own, "one's own request is one's own"
                for wrong in ("999999", "act_none", "dec_none", "apr_none", "x", HOSTILE[:60]):
                    answer = await ann.open(PAGE + "?record=" + wrong.replace("<", "%3C").replace(" ", "%20"))
                    assert answer.status_code in {400, 404}, wrong
                    assert "<script>" not in answer.text

    asyncio.run(main())


def test_the_whole_input_can_be_changed_and_asked_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it, await signed_in(it, "security") as ann:
            page = (await ann.send(PAGE, FORM)).text
            assert said(page) == ("permit", "2")
            found = _INPUT.search(page)
            assert found
            sheet = json.loads(unescape(found.group(1)))
            sheet["context"]["killed"] = True
            page = (await ann.send(PAGE, {"input": json.dumps(sheet)})).text
            assert said(page)[0] == "deny"
            assert "kill.stopped" in page
            async with await signed_in(it, "stranger") as stranger:
                answer = await stranger.send(PAGE, {"input": json.dumps(sheet)})
                assert answer.status_code == 403
                assert "tenant.not_operator" in answer.text, "nobody asks about another tenant"
            sheet["context"]["nonsense"] = 1
            answer = await ann.send(PAGE, {"input": json.dumps(sheet)})
            assert answer.status_code == 400
            assert "context" in words_of(answer.text).partition("It could not be asked")[2][:300]

    asyncio.run(main())


WRONG = [
    ({"arguments": "{"}, "arguments"),
    ({"arguments": '{"a": 1, "a": 2}'}, "arguments"),
    ({"arguments": "[]"}, "arguments"),
    ({"arguments": '{"moon": 1}'}, "arguments"),
    ({"action": ""}, "action"),
    ({"env": " "}, "env"),
    ({"auth_age_s": "soon"}, "auth_age_s"),
    ({"writes_today": "-5"}, "writes_today"),
    ({"who": "god"}, "who"),
    ({"roles": ",".join(["r"] * 17)}, "roles"),
    ({"reason": "x" * 4_097}, "reason"),
    ({"input": "x" * 131_073}, "input"),
    ({"input": "no"}, "input"),
    ({"digest": "0" * 64}, "digest"),
    ({"type": "repository"}, "resource.type"),
]


def test_what_is_wrong_is_named_by_field_and_the_form_keeps_what_was_typed(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it, await signed_in(it, "security") as ann:
            for change, name in WRONG:
                answer = await ann.send(PAGE, {**FORM, **change})
                assert answer.status_code in {400, 404}, change
                told = words_of(answer.text).partition("It could not be asked")[2][:400]
                assert name in told, (change, told)
                assert 'value="the error rate rose"' in answer.text or "reason" in change
            twice = await ann.client.post(PAGE, data={"csrf": await ann.token(), "action": ["a", "b"]}, headers={"Sec-Fetch-Site": "same-origin"})  # fmt: skip
            assert twice.status_code == 400
            assert it.restarts() == 0

    asyncio.run(main())


def test_who_may_not_ask_sees_why_and_text_of_every_kind_stays_text(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            for persona in ("oncall", "auditor"):
                async with await signed_in(it, persona) as one:
                    page = await one.open(PAGE)
                    assert page.status_code == 200
                    assert "You may read this page but not ask" in page.text
                    assert (await one.send(PAGE, FORM)).status_code == 403
            async with await signed_in(it, "security") as ann:
                await hostile(ann, HOSTILE)
            assert b"alice.miller@example.org" not in await stored_after(it)

    asyncio.run(main())


def test_no_naughty_string_of_the_corpus_becomes_markup(tmp_path: Path) -> None:
    strings = [one for one in json.loads((corpus("blns") / "blns.json").read_text()) if one]

    async def main() -> None:
        async with world(tmp_path) as it, await signed_in(it, "security") as ann:
            for at in range(0, len(strings), 60):
                await hostile(ann, "\n".join(strings[at : at + 60])[:3_900])

    asyncio.run(main())


async def hostile(ann: Visitor, text: str) -> None:
    """The text in every field that takes one; no markup of it comes back."""
    form = {**FORM, "reason": text[:4_000], "subject_id": text[:300], "arguments": json.dumps({"x": text})}
    form |= {"action": text[:100] or "x", "roles": text[:60]}
    answer = await ann.send(PAGE, form)
    assert answer.status_code in {200, 400}, text
    for evil in ("<script>", "<img src=x", "\u202e</pre>", "<svg", "<iframe"):
        assert evil not in answer.text, text


async def stored_after(it: World) -> bytes:
    """Everything on disk after an address was typed into a simulation."""
    async with await signed_in(it, "security") as ann:
        said_ = {**FORM, "action": "tickets.ticket.create", "reason": "ask alice.miller@example.org"}
        assert (await ann.send(PAGE, said_)).status_code in {200, 400}
    return it.everything_stored()
