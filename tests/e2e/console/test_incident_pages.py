"""Incidents in the console: what is shown of one, what people do in it, and text of agents that stays text."""

import asyncio
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from tests.e2e.test_incidents import claim, finish, opened, post, read
from tests.e2e.test_remedies import QUICK, mended, proposed
from tests.parts import corpus
from tests.sim.troubled import Counters, Troubled
from tests.sim.visitor import signed_in
from tests.sim.world import world

ATTACKS = (
    "<script>alert(1)</script>",
    "<img src=//evil.example/x onerror=alert(1)>",
    '"><svg onload=alert(1)><a href="javascript:b" hx-get="/x">',
    "[click](javascript:alert(1)) {{7*7}} {% raw %}",
    "</pre></td><form action=//evil.example>",
    "\x1b[31mred\u202egnp.exe\u200b p\u0430yments",
)


class Tags(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def skeleton(markup: str) -> set[tuple[str, tuple[str, ...]]]:
    """Kinds of elements, with the names of their attributes."""
    return {(tag, tuple(sorted(told))) for tag, told in Tags(markup).seen}


def harmless(markup: str) -> None:
    """Nothing in the page runs, asks or leads elsewhere."""
    for tag, told in Tags(markup).seen:
        assert not any(name.startswith(("on", "hx-", "style")) for name in told), (tag, told)
        assert tag not in {"img", "iframe", "object", "embed", "style", "base"}, tag
        assert tag != "script" or told.get("nonce"), told
        for name in ("href", "src", "action"):
            assert (told.get(name) or "/").startswith(("/console", "#", "/")), told
            assert not (told.get(name) or "").startswith("//"), told


def naughty() -> Iterator[str]:
    """The corpus of naughty strings, cut into notes of many lines each."""
    kept = [text for text in json.loads((corpus("blns") / "blns.json").read_text()) if text]
    for at in range(0, len(kept), 60):
        yield "\n".join(kept[at : at + 60])[:3_900]


def test_an_incidents_page_tells_what_was_found_done_and_measured(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK) as it:
            it.supervisor.caches["checkout"] = b"rotten"
            child = it.supervisor.children["checkout"]
            child.running.kill()
            await child.running.wait()
            trouble = Troubled(it, Counters())
            await trouble.open()
            await trouble.diagnose()
            await proposed(trouble)
            await mended(trouble)
            for _ in range(5):
                it.clock.advance(20)
                await trouble.turn()
            assert await trouble.state() in {"mitigated", "learning", "closed"}
            oncall = await signed_in(it, "oncall")
            listed = await oncall.open("/console/incidents")
            assert f'href="/console/incidents/{trouble.incident}"' in listed.text
            page = await oncall.open(f"/console/incidents/{trouble.incident}")
            assert page.status_code == 200
            assert page.text.count('<svg class="chart"') >= 1
            assert "<circle" in page.text
            assert "improved" in page.text
            assert "crash-loop" in page.text
            assert "local.cache.clear" in page.text
            harmless(page.text)
            seen = re.search(r'href="(/console/observations/[^"]+)"', page.text)
            assert seen
            kept = await oncall.open(seen.group(1))
            assert kept.status_code == 200
            assert '<pre class="untrusted"' in kept.text
            for part, word in (("related", "Affected"), ("postmortem", "## Cause")):
                told = await oncall.open(f"/console/incidents/{trouble.incident}/{part}")
                assert told.status_code == 200
                assert word in told.text
                harmless(told.text)
            saved = await oncall.open(f"/console/incidents/{trouble.incident}/postmortem/file")
            assert saved.headers["content-disposition"].startswith("attachment")
            assert saved.text.startswith("# ")
            await oncall.client.aclose()

    asyncio.run(main())


def test_people_take_part_by_forms_and_each_step_is_on_record(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            incident = await opened(it)
            path = f"/console/incidents/{incident}"
            oncall = await signed_in(it, "oncall")
            assert (await oncall.open("/console/incidents?state=triaging")).text.count(incident) == 1
            assert incident not in (await oncall.open("/console/incidents?state=closed")).text

            async def step(part: str, **fields: Any) -> int:
                answer = await oncall.send(f"{path}/{part}", {"key": it.key()["Idempotency-Key"], **fields})
                assert answer.status_code != 303 or answer.headers["location"] == path
                return answer.status_code

            assert await step("notes", text="look at the pool") == 303
            assert await step("steps", kind="take_over", text="mine") == 303
            held = await oncall.open(path)
            assert "human_hold" in held.text
            assert "dev:oncall" in held.text
            assert "Hand back" in held.text
            assert await step("steps", kind="rule_out") == 400, "says what is ruled out"
            assert await step("steps", kind="dance") == 400
            assert await step("steps", kind="rule_out", component="payments") == 303
            assert await step("steps", kind="outside_change", text="drained the node") == 303
            assert await step("steps", kind="hand_back") == 303
            assert await step("steps", kind="take_over") == 303
            assert await step("steps", kind="correct", component="checkout", fault="bad-config") == 303
            assert await step("steps", kind="close", text="over") == 303
            kinds = [event["kind"] for event in (await read(it, await it.person("oncall"), incident))["events"]]
            assert {"note", "take_over", "rule_out", "outside_change", "hand_back", "correct"} <= set(kinds)
            shown = (await oncall.open(path)).text
            assert "drained the node" in shown
            on_record = [one["body"] for one in await it.records() if one["kind"] == "incident"]
            assert {"note", "take_over", "rule_out"} <= {str(body["event"]) for body in on_record} | set(kinds)
            await oncall.client.aclose()

    asyncio.run(main())


def test_a_form_sent_twice_is_one_step_and_anothers_form_is_none(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            incident = await opened(it)
            path = f"/console/incidents/{incident}"
            oncall, auditor = await signed_in(it, "oncall"), await signed_in(it, "auditor")
            for _ in range(2):
                assert (await oncall.send(f"{path}/notes", {"text": "once", "key": "same-key"})).status_code == 303
            events = (await read(it, await it.person("oncall"), incident))["events"]
            assert [event["kind"] for event in events].count("note") == 1
            assert (await oncall.send(f"{path}/notes", {"text": "x"}, token="0" * 64)).status_code == 403
            page = await auditor.open(path)
            assert page.status_code == 200
            assert "None of your roles" in page.text
            assert (await auditor.send(f"{path}/notes", {"text": "x", "key": "k9"})).status_code == 403
            assert (await oncall.open("/console/incidents/inc_nothing")).status_code == 404
            assert (await oncall.open("/console/observations/obs_nothing")).status_code == 404
            for one in (oncall, auditor):
                await one.client.aclose()

    asyncio.run(main())


def test_what_an_agent_writes_stays_text_wherever_it_is_shown(tmp_path: Path) -> None:
    attack = " ".join(ATTACKS)

    async def main() -> None:
        async with world(tmp_path) as it:
            said = {
                "title": f"T {attack}",
                "service": "checkout",
                "env": "prod",
                "labels": {"note": attack.replace("\x1b", "")},
            }
            said |= {"annotations": {"summary": attack}, "source": "sim"}
            reported = await post(it, await it.agent("alerts-1"), "/v1/incidents", said)
            assert reported.status_code == 201, reported.text
            incident = reported.json()["incident"]
            agent = await it.agent()
            held = await claim(it, agent)
            assert (await finish(it, agent, held, "investigating", text=attack, why=attack)).status_code == 200
            held = await claim(it, agent)
            session = held["session"]
            seen = (await it.act(agent, "local.process.status", session)).json()["observation"]
            claims = [{"observation": seen, "selector": "$.state", "op": "eq", "value": attack, "text": attack}]
            rivals = [{"component": "payments", "fault": "crash-loop", "claims": [0], "why": attack}]
            cause = {"component": attack[:64], "fault": "crash-loop", "summary": attack}
            told = {"cause": cause, "claims": claims, "ruled_out": rivals, "session": session}
            assert (await post(it, agent, f"/v1/incidents/{incident}/diagnoses", told)).status_code == 201
            note = {"kind": "note", "text": attack, "session": session}
            assert (await post(it, agent, f"/v1/incidents/{incident}/events", note)).status_code == 201
            oncall = await signed_in(it, "oncall")
            for path in ("", f"/{incident}", f"/{incident}/postmortem"):
                page = await oncall.open(f"/console/incidents{path}")
                assert page.status_code == 200
                harmless(page.text)
                assert re.search(r"7\\?\*7", page.text), "shown, and not a template"
                assert not set("\x1b\u202e\u200b") & set(page.text), path
            await oncall.client.aclose()

    asyncio.run(main())


def test_no_string_of_the_corpus_adds_an_element_to_the_page(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            incident = await opened(it)
            agent = await it.agent()
            held = await claim(it, agent)
            path, oncall = f"/console/incidents/{incident}", await signed_in(it, "oncall")
            note = {"kind": "note", "text": "plain\u202e", "session": held["session"]}
            assert (await post(it, agent, f"/v1/incidents/{incident}/events", note)).status_code == 201
            before = skeleton((await oncall.open(path)).text)
            for text in naughty():
                it.clock.advance(1)
                sent = await post(it, agent, f"/v1/incidents/{incident}/events", {**note, "text": text})
                assert sent.status_code in {201, 400}, sent.text
            shown = (await oncall.open(path)).text
            assert skeleton(shown) == before
            assert "&lt;script" in shown
            harmless(shown)
            await oncall.client.aclose()

    asyncio.run(main())
