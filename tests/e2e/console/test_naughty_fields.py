"""Every field of the console's forms and addresses, and what an agent writes of itself, full of strings that break
programs: nothing of it becomes markup, leads away or hides, and where it is shown it can be read.

Forms are found in the pages themselves, so that a new field is tried without anybody thinking of it.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from broker.web.console.render import TEMPLATES
from broker.web.routes import ROUTES
from tests.browser.scenes import ATTACK, ATTACKS
from tests.e2e.console.test_reviewing import proposed
from tests.e2e.test_breakglass import ask
from tests.e2e.test_incidents import opened
from tests.sim.visitor import Visitor, signed_in
from tests.sim.world import MODEL, World, world

HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)
MADE = (*sorted(TEMPLATES.rglob("*.html")), TEMPLATES.parent / "render.py", TEMPLATES.parent / "marks.py")
SOURCES = "".join(path.read_text(encoding="utf-8") for path in MADE)
TAGS = set(re.findall(r"<([a-z][a-z0-9]*)", SOURCES))
NAMES = {
    "hx-nonce",
    *(one.lower() for one in re.findall(r"[\s\"}]([a-zA-Z][\w:-]*)=", SOURCES)),
    *re.findall(r"\s([a-z-]+)(?=[\s>{])", SOURCES),
}
"""What elements of the console have; no handler and no style is among them."""
QUERY = (
    "window", "kind", "after", "before", "agent", "scope", "target", "path", "older", "newer", "record", "digest",
    "state", "paused", "since", "until", "effect", "tier", "own", "principal", "resource", "told",
)  # fmt: skip
"""What pages read of an address."""
SHORT = ATTACKS[0][:60]
PLAIN = {"minutes": "5", "actions": "local.process.restart", "targets": "process/checkout (prod)"}
"""What fields that must be filled are filled with, beside the field that is tried."""


def strings() -> list[str]:
    """The corpus in lists of sixty; without it the attacks alone."""
    path = Path(os.environ.get("CORPUS_DIR", "")) / "blns" / "blns.json"
    found = [one for one in json.loads(path.read_text(encoding="utf-8")) if one] if path.is_file() else []
    return [ATTACK, *("\n".join(found[at : at + 60])[:3_900] for at in range(0, len(found), 60))]


@dataclass
class Form:
    """One form of a page: its fields with what stands in them."""

    method: str
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)

    @property
    def kind(self) -> tuple[str, str, tuple[str, ...]]:
        """The same for the forms of two requests."""
        return self.method, re.sub(r"[a-z]{3}_[a-z0-9]+|[0-9a-f]{64}", "…", self.action), tuple(sorted(self.fields))


class Page(HTMLParser):
    """What is wrong with a page, what it says to a reader, and its forms."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.said = ""
        self._inside: list[str] = []
        self._mark = ""
        self._choice = ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        odd = {name for name in told if name not in NAMES} | ({tag} - TAGS)
        self.wrong += [f"<{tag}> has {one}" for one in sorted(odd)]
        self.wrong += [
            f"<{tag} {name}> without a nonce" for name in told if name.startswith("hx-") and not _nonce(told)
        ]
        for name in ("href", "src", "action", "formaction", "hx-get", "hx-post", "hx-sse:connect"):
            address = told.get(name) or "/"
            if not (address.startswith("#") or re.match(r"/(?![/\\])", address)):
                self.wrong.append(f"<{tag}> leads to {address}")
        if tag == "script" and not told.get("nonce"):
            self.wrong.append("a script without a nonce")
        if tag == "a":
            self.links.append(told.get("href") or "")
        self._mark = (told.get("class") or "") if tag == "span" else self._mark
        self._inside += [tag] if tag in {"textarea", "select"} else []
        self._field(tag, told)

    def _field(self, tag: str, told: Mapping[str, str | None]) -> None:
        name = told.get("name") or ""
        if tag == "form":
            self.forms.append(Form(told.get("method") or "get", told.get("action") or ""))
        elif tag == "option" and self._choice and not self.forms[-1].fields[self._choice]:
            self.forms[-1].fields[self._choice] = told.get("value") or ""
        elif tag in {"input", "textarea", "select"} and name and self.forms:
            usual = PLAIN.get(name, "plain") if "required" in told else ""
            self.forms[-1].fields.setdefault(name, told.get("value") or usual)
            self.forms[-1].most[name] = int(told.get("maxlength") or 3_900)
            self._choice = name if tag == "select" else ""

    def handle_endtag(self, tag: str) -> None:
        self._mark = "" if tag == "span" else self._mark
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if "textarea" in self._inside:
            return  # what a person typed is given back as it was
        self.wrong += [f"unseen {one!r}" for one in HIDDEN.findall(data.replace("\r", ""))]
        if not self._mark.startswith("mark "):
            self.said += data


def _nonce(told: Mapping[str, str | None]) -> bool:
    return bool(told.get("hx-nonce"))


def judged(answer: httpx.Response, tried: str) -> Page:
    """The page of an answer, which is sound."""
    assert answer.status_code < 500, f"{tried}: {answer.status_code} {answer.text[:2_000]}"
    assert answer.status_code != 429, tried
    assert answer.headers["content-type"].startswith("text/html"), tried
    page = Page(answer.text)
    assert page.wrong == [], f"{tried}: {page.wrong[:5]}"
    return page


async def filled(it: World, visitor: Visitor, form: Form, values: Mapping[str, str], tried: str) -> None:
    """Send a form with ``values`` in it, and look at what comes of it."""
    it.clock.advance(0.5)
    fields = {**form.fields, **values}
    fields = {name: value[: form.most[name]] for name, value in fields.items()}
    if form.method == "get":
        fields = {name: value[: 4_000 // len(fields)] for name, value in fields.items()}
        answer = await visitor.client.get(form.action, params=fields, headers=FETCHED)
    else:
        fields["key"] = it.key()["Idempotency-Key"]
        answer = await visitor.client.post(form.action, data=fields, headers=FETCHED)
    if answer.status_code == 303:
        where = urlsplit(answer.headers["location"])
        assert where.netloc in {"", "localhost:8480"}, f"{tried} leads to {where.geturl()}"
        assert where.path.startswith("/console/"), f"{tried} leads to {where.geturl()}"
        answer = await visitor.open(where.path)
    judged(answer, tried)


FETCHED = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


def pages() -> Iterator[str]:
    """Paths of the route table, with their parts unfilled."""
    for route in ROUTES:
        if route.access == "console" and route.method == "GET" and not route.stream:
            yield route.path


async def linked(it: World, visitor: Visitor, *first: str) -> AsyncIterator[tuple[str, Page]]:
    """One page of each kind that links lead to, from the navigation and ``first``."""
    queue, seen = ["/console/health", *first], set()
    while queue:
        path = queue.pop(0)
        kind = re.sub(r"[a-z]{3}_[a-z0-9]+|[0-9a-f]{64}|\d+", "…", path.partition("?")[0])
        if kind in seen or re.search(r"/(file|leaf|proof|signout)\Z", kind):
            continue
        seen.add(kind)
        it.clock.advance(0.5)
        answer = await visitor.open(path)
        if answer.status_code == 303:
            queue.append(answer.headers["location"])
            continue
        page = judged(answer, path)
        yield path, page
        queue += [one.partition("#")[0] for one in page.links if one.startswith("/console")]


async def lived(it: World) -> list[str]:
    """An incident, a request that waits, a break-glass, a stopped agent: forms stand on their pages."""
    waiting = await proposed(it)
    oncall = await it.person("oncall")
    assert (await ask(it, oncall, reason=ATTACK[:4_000])).status_code == 201
    stopped = {"scope": "agent", "target": ATTACKS[0][:300], "reason": ATTACK[:1_000]}
    answer = await it.client.post("/v1/kill", json=stopped, headers={**oncall, **it.key()})
    assert answer.status_code == 200, answer.text
    return [f"/console/inbox/{waiting['approval']['id']}", f"/console/incidents/{await opened(it)}"]


async def nothing(_it: World) -> list[str]:
    """No more than there is by itself; a page that no link leads to."""
    return ["/console/agents/stop?scope=agent&target=dev%3Aagent-1"]


WANTED = ("agents/breakglass", "agents/kill", "agents/stop", "audit", "audit/consistency", "audit/views", "exports", "keys",
          "live", "redaction", "simulate")  # fmt: skip
BELOW = ("confirm", "notes", "resume", "reviews", "steps")


async def forms_of(it: World, visitor: Visitor) -> list[Form]:
    """One form of each kind that stands on a page, before and after something is there to be decided."""
    found: dict[tuple[str, str, tuple[str, ...]], Form] = {}
    for there in (nothing, lived):
        first = await there(it)
        async for _, page in linked(it, visitor, *first):
            for form in page.forms:
                found.setdefault(form.kind, form)
    told = {form.action.partition("?")[0] for form in found.values()}
    assert {f"/console/{one}" for one in WANTED} - told == set()
    assert all(any(one.endswith(part) for one in told) for part in BELOW), told
    return [form for form in found.values() if form.action != "/console/signout"]


async def every_field(it: World, visitor: Visitor, form: Form, turn: int) -> None:
    """A short attack, all of them and a part of the corpus in each field alone; every fifth part in all fields at once."""
    texts = strings()
    names = [name for name in form.fields if name not in {"csrf", "key"}]
    for at, name in enumerate(names, start=turn):
        for text in (SHORT, f"{ATTACK}\n{texts[at % len(texts)]}"):
            await filled(it, visitor, form, {name: text}, f"{form.action} {name}")
    for text in texts[turn % 5 :: 5]:
        await filled(it, visitor, form, dict.fromkeys(names, text), form.action)


async def every_address(it: World, visitor: Visitor) -> None:
    """An attack in each part of a path, and as the value of everything that pages read of an address."""
    for path in pages():
        where = re.sub(r"\{\w+\}", quote(ATTACKS[0], safe=""), path)
        if re.search(r"/(file|leaf|proof|backchannel|signin|callback)\Z|/static/", path):
            continue
        it.clock.advance(0.5)
        for query in (dict.fromkeys(QUERY, ATTACK[:200]), {}):
            answer = await visitor.client.get(where, params=query, headers=FETCHED)
            if answer.status_code != 303:
                judged(answer, path)


def test_no_field_of_a_form_and_no_part_of_an_address_becomes_markup(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it, await signed_in(it, "security") as ann:
            for turn, form in enumerate(await forms_of(it, ann)):
                await every_field(it, ann, form, turn)
            await every_address(it, ann)

    asyncio.run(main())


async def written(it: World, text: str) -> None:
    """An agent says ``text`` wherever it may say something; most of it is refused."""
    agent = await it.agent()
    it.clock.advance(5)
    body: dict[str, Any] = {"intent": [{"kind": "task", "text": text[:3_900], "source": text[:100]}]}
    opened_ = await it.client.post("/v1/sessions", json=body, headers={**agent, **it.key()})
    assert opened_.status_code in {201, 400}, opened_.text
    session = opened_.json().get("session", "") or await it.session(agent)
    resource = {"type": "process", "id": "checkout", "env": "prod"}
    ask: dict[str, Any] = {"session": session, "action": "local.process.status", "resource": resource, "arguments": {}}
    for said in (
        {"reason": text},
        {"action": text[:100]},
        {"resource": {"type": text[:60], "id": text[:200], "env": text[:60]}},
        {"arguments": {"window_seconds": text, text[:60]: 1}},
        {"diagnosis": text[:100]},
        {"session": text[:100]},
    ):
        answer = await it.client.post("/v1/actions", json={**ask, **said}, headers={**agent, **it.key()})
        assert answer.status_code < 500, answer.text
    for model in (text[:100], MODEL):
        call = {"model": model, "max_tokens": 16, "messages": [{"role": "user", "content": text}]}
        head = {**agent, "Wicketgate-Session": session, "anthropic-version": "2023-06-01", "User-Agent": "x"}
        answer = await it.client.post("/llm/anthropic/v1/messages", json=call, headers=head)
        assert answer.status_code < 500, answer.text


def test_nothing_that_an_agent_says_of_itself_becomes_markup_and_it_can_be_read(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            first = await lived(it)
            for text in strings():
                await written(it, text)
            seen: dict[str, str] = {}
            async with await signed_in(it, "security") as ann:
                one = "/console/agents/one?agent=dev%3Aagent-1"
                async for path, page in linked(it, ann, one, "/console/audit?own=1", "/console/live?own=1", *first):
                    seen[path.partition("?")[0]] = page.said
                for seq in range(0, len(await it.records()), 19):
                    it.clock.advance(0.5)
                    judged(await ann.open(f"/console/audit/{seq}"), f"record {seq}")
            for path in ("/console/agents/one", "/console/agents", "/console/agents/breakglass"):
                assert "<script>" in seen[path], f"{path}: it is there to be read"
            assert MODEL in seen["/console/usage"]

    asyncio.run(main())
