"""Deciding in the console: the inbox, one request whole, answers, and what must not go wrong meanwhile."""

import asyncio
import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.identity.dev import Persona
from tests.e2e.test_bad_days_approvals import policies_with_a_bound
from tests.e2e.test_on_record_first import without
from tests.sim.visitor import Visitor, signed_in
from tests.sim.world import PEOPLE, World, world

RESTART = "local.process.restart"
INBOX = "/console/inbox"
KEYS = itertools.count()


async def proposed(it: World, who: Mapping[str, str] | None = None, **more: Any) -> dict[str, Any]:
    who = who or await it.agent()
    answer = await it.act(who, RESTART, await it.session(who), **more)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def answer(visitor: Visitor, waiting: Mapping[str, Any], verdict: str = "approve", **more: str) -> httpx.Response:
    """Send the form that the page shows for ``verdict``."""
    path = f"{INBOX}/{waiting['approval']['id']}"
    fields = {
        "digest": waiting["approval"]["digest"],
        "verdict": verdict,
        "reason": "seen",
        "key": f"form-{next(KEYS)}",
        **more,
    }
    return await visitor.send(f"{path}/reviews", fields, token=await visitor.token())


def test_the_inbox_groups_what_is_alike_and_leads_to_each(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            ann = await signed_in(it, "oncall")
            assert "Nothing waits for anybody" in (await ann.open(INBOX)).text
            one, other = await proposed(it), await proposed(it)
            it.clock.advance(1)
            apart = await proposed(it, id_="inventory")
            page = await ann.open(INBOX)
            assert page.text.count("<article") == 2
            assert "2 alike" in page.text
            for waiting in (one, other, apart):
                assert f'href="{INBOX}/{waiting["approval"]["id"]}"' in page.text
            assert page.text.index(one["approval"]["id"]) < page.text.index(apart["approval"]["id"]), "the oldest first"
            assert "autofocus" not in page.text
            part = await ann.open(INBOX, **{"HX-Request": "true", "Sec-Fetch-Dest": "empty"})
            assert "<article" in part.text
            assert "<html" not in part.text
            it.clock.advance(901)
            assert "<article" not in (await ann.open(INBOX)).text, "what expired waits no more"
            await ann.client.aclose()

    asyncio.run(main())


def test_an_answer_that_is_not_on_record_yet_is_called_so_and_is_not_asked_for_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            ann = await signed_in(it, "security")
            yes, no = await proposed(it), await proposed(it, id_="inventory")
            kept, later = "Your answer is kept, but not on record yet", "not on record yet: a denial holds already"
            with without(it, "review"):
                for waiting, verdict in ((yes, "approve"), (no, "deny")):
                    here = f"{INBOX}/{waiting['approval']['id']}"
                    sent = await answer(ann, waiting, verdict)
                    assert (sent.status_code, sent.headers["location"]) == (303, here)
                    page = (await ann.open(here)).text
                    assert kept in page
                    assert later in page
                    assert "for another version" not in page
                    assert 'value="approve"' not in page
            assert "denied" in page, "a denial holds at once"
            for _ in range(2):
                await it.gate.background.sweep()
            page = (await ann.open(f"{INBOX}/{yes['approval']['id']}")).text
            assert later not in page
            await ann.client.aclose()

    asyncio.run(main())


def test_the_page_shows_all_that_is_approved_and_an_approval_executes_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, ann = await it.agent(), await signed_in(it, "security")
            waiting = await proposed(it, agent)
            page = await ann.open(f"{INBOX}/{waiting['approval']['id']}")
            assert page.status_code == 200
            for shown in (
                waiting["approval"]["digest"],
                "process/checkout (prod)",
                "dev:agent-1",
                "the error rate rose",
                "look after checkout",
                "0 of 1 approvals",
                "The duty to have it approved",
                "approval.required",
                "There is no automatic way back",
                "could come from outside",
                "<del>",
                "<ins>",
            ):
                assert shown in page.text, shown
            assert "autofocus" not in page.text
            done = await answer(ann, waiting)
            assert (done.status_code, done.headers["location"]) == (303, f"{INBOX}/{waiting['approval']['id']}")
            assert (await it.outcome(agent, waiting["action_id"])).json()["status"] == "done"
            again = await answer(ann, waiting)
            assert again.status_code == 409
            assert "approval.closed" in again.text
            assert it.restarts() == 1
            later = await proposed(it, agent)
            similar = (await ann.open(f"{INBOX}/{later['approval']['id']}")).text
            assert 'href="/console/audit/' in similar, "how the same ended before"
            await ann.client.aclose()

    asyncio.run(main())


def test_two_people_and_a_command_line_in_the_same_second_execute_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, token = await it.agent(), await it.person("deputy")
            ann, bob = await signed_in(it, "oncall"), await signed_in(it, "security")
            waiting = await proposed(it, agent)
            answers = await asyncio.gather(
                answer(ann, waiting), answer(bob, waiting), it.review(token, waiting["approval"])
            )
            assert sorted(one.status_code in (200, 303) for one in answers) == [False, False, True]
            assert {one.status_code for one in answers} <= {200, 303, 409}
            assert (await it.outcome(agent, waiting["action_id"])).json()["status"] == "done"
            assert it.restarts() == 1
            assert sum(1 for one in await it.records() if one["kind"] == "review") == 1
            for visitor in (ann, bob):
                await visitor.client.aclose()

    asyncio.run(main())


def test_an_approval_that_expired_under_the_cursor_is_refused_on_the_page_as_it_is_now(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            ann, waiting = await signed_in(it, "oncall"), await proposed(it)
            assert (await ann.open(f"{INBOX}/{waiting['approval']['id']}")).text.count("<textarea") == 2
            it.clock.advance(901)
            late = await answer(ann, waiting)
            assert late.status_code == 409
            assert "approval.expired" in late.text
            assert "the request is expired" in late.text
            assert "<textarea" not in late.text, "nothing is left to press"
            assert it.restarts() == 0
            await ann.client.aclose()

    asyncio.run(main())


def test_a_role_lost_while_the_page_is_open_takes_the_answer_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        monkeypatch.setitem(PEOPLE, "oncall", Persona("oncall", ("oncall", "auditor")))
        async with world(tmp_path) as it:
            ann, waiting = await signed_in(it, "oncall"), await proposed(it)
            page = f"{INBOX}/{waiting['approval']['id']}"
            assert (await ann.open(page)).text.count("<textarea") == 2
            it.clock.advance(1)
            monkeypatch.setitem(PEOPLE, "oncall", Persona("oncall", ("auditor",)))
            less = await it.person("oncall")
            assert (await it.client.get("/v1/approvals", headers=less)).status_code == 200
            refused = await answer(ann, waiting)
            assert refused.status_code == 403
            assert "Refused" in refused.text
            assert it.restarts() == 0
            assert not [one for one in await it.records() if one["kind"] == "review"]
            now = await ann.open(page)
            assert now.status_code == 200
            assert "<textarea" not in now.text
            assert 'aria-disabled="true"' in now.text
            await ann.client.aclose()

    asyncio.run(main())


def test_ones_own_request_shows_four_eyes_with_the_reason(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            ann, waiting = await signed_in(it, "oncall"), await proposed(it, await it.person("oncall"))
            page = await ann.open(f"{INBOX}/{waiting['approval']['id']}")
            assert "Four eyes: nobody reviews their own request" in page.text
            assert "<textarea" not in page.text
            forced = await answer(ann, waiting)
            assert forced.status_code == 403
            assert "approval.own" in forced.text
            assert it.restarts() == 0
            await ann.client.aclose()

    asyncio.run(main())


def test_a_denial_needs_a_reason_and_ends_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, ann = await it.agent(), await signed_in(it, "oncall")
            waiting = await proposed(it, agent)
            mute = await answer(ann, waiting, "deny", reason="  ")
            assert mute.status_code == 400
            assert "approval.reason" in mute.text
            assert (await answer(ann, waiting, "deny", reason="not in office hours")).status_code == 303
            page = await ann.open(f"{INBOX}/{waiting['approval']['id']}")
            assert "not in office hours" in page.text
            assert (await it.outcome(agent, waiting["action_id"])).status_code == 403
            assert it.restarts() == 0
            await ann.client.aclose()

    asyncio.run(main())


def test_an_answer_needs_fresh_presence_and_leads_back_to_the_request(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            ann = await signed_in(it, "oncall")
            for _ in range(3):
                it.clock.advance(1_500)
                await ann.open(INBOX)
            waiting = await proposed(it)
            refused = await answer(ann, waiting)
            assert refused.status_code in (401, 403)
            assert f"again=1&amp;to=%2Fconsole%2Finbox%2F{waiting['approval']['id']}" in refused.text
            await ann.sign_in("oncall", to=f"{INBOX}/{waiting['approval']['id']}", again=True)
            assert (await answer(ann, waiting)).status_code == 303
            await ann.client.aclose()

    asyncio.run(main())


def test_what_is_narrowed_on_the_page_runs_so_and_a_form_that_widens_is_refused_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, policies=policies_with_a_bound(tmp_path / "policies")) as it:
            agent, ann = await it.agent(), await signed_in(it, "security")
            waiting = await proposed(it, agent, arguments={"wait_s": 20})
            page = await ann.open(f"{INBOX}/{waiting['approval']['id']}")
            assert 'name="narrow:int:wait_s" value="20"' in page.text
            for wider in ("21", "", "5 s"):
                refused = await answer(ann, waiting, **{"narrow:int:wait_s": wider})
                assert refused.status_code == 400, wider
                assert "approval.not_narrower" in refused.text
            assert it.restarts() == 0
            assert (await answer(ann, waiting, **{"narrow:int:wait_s": "5"})).status_code == 303
            assert (await it.outcome(agent, waiting["action_id"])).json()["status"] == "done"
            intent = await it.gate.log.find("default", waiting["action_id"])
            assert intent is not None
            payload = await it.gate.log.payload("default", intent)
            assert isinstance(payload, bytes)
            assert json.loads(payload)["arguments"] == {"wait_s": 5}
            await ann.client.aclose()

    asyncio.run(main())


def test_a_form_that_this_page_did_not_make_answers_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            ann, bob, waiting = await signed_in(it, "oncall"), await signed_in(it, "security"), await proposed(it)
            path = f"{INBOX}/{waiting['approval']['id']}/reviews"
            fields = {"digest": waiting["approval"]["digest"], "verdict": "approve", "key": "planted"}
            stolen = await bob.token()
            assert (await ann.send(path, fields, token=stolen)).status_code == 403
            assert (await ann.send(path, fields, **{"Sec-Fetch-Site": "cross-site"})).status_code == 403
            wrong = await answer(ann, waiting, digest="0" * 64)
            assert wrong.status_code == 409
            assert "approval.digest" in wrong.text
            assert it.restarts() == 0
            for visitor in (ann, bob):
                await visitor.client.aclose()

    asyncio.run(main())


def test_an_unknown_request_and_one_of_another_tenant_are_not_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            stranger, waiting = await signed_in(it, "stranger"), await proposed(it)
            assert (await stranger.open(f"{INBOX}/{waiting['approval']['id']}")).status_code == 404
            assert waiting["approval"]["id"] not in (await stranger.open(INBOX)).text
            assert (await answer(stranger, waiting)).status_code == 404
            await stranger.client.aclose()

    asyncio.run(main())


def test_the_pages_have_no_script_and_no_style_of_their_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            ann, waiting = await signed_in(it, "oncall"), await proposed(it)
            for path in (INBOX, f"{INBOX}/{waiting['approval']['id']}"):
                text = (await ann.open(path)).text
                assert not re.findall(r"<script(?![^>]* src=)|\son\w+=|style=", text)
            await ann.client.aclose()

    asyncio.run(main())
