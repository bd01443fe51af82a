"""What an agent writes, on the pages where people decide: whole, visible, and without any effect; and its evidence."""

import asyncio
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from broker.web.console.pages.difference import pretty
from tests.parts import corpus
from tests.sim.troubled import Counters, Troubled
from tests.sim.visitor import signed_in
from tests.sim.world import World, world

INBOX = "/console/inbox"
OWN = [
    '<script>alert(1)</script><img src=x onerror=alert(1)><svg onload=alert(1)><a href="javascript:alert(1)">x</a>',
    '" hx-get="/console/signout" hx-trigger="load" autofocus onfocus="alert(1)',
    "[approve](https://evil.example) \x1b]8;;https://evil.example\x07click\x1b]8;;\x07 \x1b[2K",
    "ad\u202enimda\u202c p\u0430ypal \u200b\u2066hidden\u2069 {{ 7 * 7 }} {% raw %}",
]


class Shown(HTMLParser):
    """Elements with their attributes, and the texts of others as they were before their marks."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: set[tuple[str, tuple[str, ...]]] = set()
        self.links: list[str] = []
        self.told: list[str] = []
        self._in_pre = False
        self._mark = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add((tag, tuple(sorted(name for name, _ in attrs))))
        kind = dict(attrs).get("class") or ""
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action", "hx-get")]
        if tag == "pre":
            self._in_pre = True
            self.told.append("")
        if tag == "span" and kind.startswith("mark "):
            self._mark = kind

    def handle_endtag(self, tag: str) -> None:
        self._in_pre = self._in_pre and tag != "pre"
        if tag == "span":
            self._mark = ""

    def handle_data(self, data: str) -> None:
        if self._in_pre and self._mark == "mark mark-hidden" and data != "→":
            self.told[-1] += chr(int(data.removeprefix("U+"), 16))
        elif self._in_pre and not self._mark:
            self.told[-1] += data


async def written(it: World, content: str, reason: str) -> dict[str, Any]:
    """A proposal in which the agent chose every word."""
    agent = await it.agent()
    intent = [{"kind": "task", "text": reason, "source": "test"}]
    opened = await it.client.post("/v1/sessions", json={"intent": intent}, headers={**agent, **it.key()})
    assert opened.status_code == 201, opened.text
    session = opened.json()["session"]
    there = (await it.act(agent, "local.config.read", session, type_="config")).json()["result"]["value"]
    body = {
        "session": session,
        "action": "local.config.write",
        "resource": {"type": "config", "id": "checkout", "env": "prod"},
        "arguments": {"content": content, "expected_blob": there["blob"]},
        "reason": reason,
    }
    answer = await it.client.post("/v1/actions", json=body, headers={**agent, **it.key()})
    assert answer.status_code == 202, answer.text
    return dict(answer.json()["approval"])


async def compared(it: World, texts: list[str]) -> None:
    """Each text as reason, intent and argument: the page has no element that a harmless one has not, and shows it whole."""
    ann, token = await signed_in(it, "security"), await it.person("security")
    quiet = await written(it, '{"pool": 9}\n', "more room")
    plain = Shown((await ann.open(f"{INBOX}/{quiet['id']}")).text)
    listed = Shown((await ann.open(INBOX)).text)
    approval = await written(it, json.dumps(texts, indent=1, ensure_ascii=False) + "\n", "\n".join(texts)[:4000])
    kept = (await it.client.get(f"/v1/approvals/{approval['id']}", headers=token)).json()
    page = await ann.open(f"{INBOX}/{approval['id']}")
    assert page.status_code == 200
    shown = Shown(page.text)
    marks = {("span", ("class", "title"))}
    assert shown.elements - plain.elements <= marks
    assert {link for link in shown.links if not link.startswith("/console")} == {"#main"}
    for text in (pretty(kept["arguments"]), kept["reason"]):
        assert text in shown.told, "whole, and readable back to the last character"
    inbox = Shown((await ann.open(INBOX)).text)
    assert inbox.elements - listed.elements <= marks
    assert kept["reason"] in inbox.told
    await ann.client.aclose()


def test_markup_terminal_codes_and_hidden_characters_have_no_effect_and_are_seen(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            await compared(it, OWN)

    asyncio.run(main())


def test_naughty_strings_in_every_field_of_an_agent_have_no_effect_and_are_seen(tmp_path: Path) -> None:
    strings = json.loads((corpus("blns") / "blns.json").read_text())

    async def main() -> None:
        async with world(tmp_path) as it:
            await compared(it, strings)

    asyncio.run(main())


def test_the_evidence_stands_with_each_claims_verdict_and_the_way_to_its_observation(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            it.supervisor.caches["checkout"] = b"rotten"
            child = it.supervisor.children["checkout"]
            child.running.kill()
            await child.running.wait()
            trouble = Troubled(it, Counters())
            await trouble.open()
            await trouble.diagnose(sure=False)
            asked = await trouble.ask("local.cache.clear")
            assert asked.status_code == 202, asked.text
            ann = await signed_in(it, "oncall")
            page = (await ann.open(f"{INBOX}/{asked.json()['approval']['id']}")).text
            assert "checkout: crash-loop" in page
            assert page.count("verified</span>") >= 2
            assert page.count('href="/console/observations/obs_') >= 2
            assert f'href="/console/incidents/{trouble.incident}"' in page
            assert "it heals what was found" in page
            assert "local.cache.restore" in page, "the way back"
            shown = (await it.client.get(asked.json()["approval"]["url"], headers=await it.person("oncall"))).json()
            assert shown["rollback_digest"] in page
            await ann.client.aclose()

    asyncio.run(main())
