"""The redaction lab: what redaction makes of a text, the same as the command line says, and nothing of it kept."""

import asyncio
import base64
import html
import json
import re
import zlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from sqlalchemy import func, select

from broker.cli import main as cli
from broker.store.tables import vault_token
from tests.sim.visitor import Visitor, signed_in
from tests.sim.world import World, world

PLANTED = (
    "quentin.planted@example.org",
    "4929000000006",
    "pl4nted-hunter22",
    "an ordinary sentence about plantation 7731",
    "AKIAPLANTED0EXAMPL3X",
)
TEXT = (
    f'user={PLANTED[0]} card={PLANTED[1]} {{"password": "{PLANTED[2]}", "n": 5}}\n'
    f"{PLANTED[3]} key {PLANTED[4]} from 81.91.156.184, EMAIL_7K3Q9M2XTB4C"
)
ROW = re.compile(
    r'<th scope="row" class="number">(\d+)</th><td>(\w+)</td><td>([^<]+)</td><td>([^<]+)</td>'
    r'<td><code>([^<]+)</code></td><td class="number">([\d.]+)</td><td class="number">(\d+) … (\d+)</td>'
)


async def look(who: Visitor, text: str, profile: str = "default") -> httpx.Response:
    return await who.send("/console/redaction", {"text": text, "profile": profile, "key": "k"})


async def redactions(it: World, who: dict[str, str], **body: Any) -> httpx.Response:
    return await it.client.post("/v1/redactions", json=body, headers=who)


def side(page: str, heading: str) -> str:
    """One of the two texts of the page, marks left out."""
    region = page.partition(f'aria-label="{heading}"')[2].partition(">")[2].partition("</div>")[0]
    bare = re.sub(r'<span class="found-number">\d+</span>', "", region)
    return html.unescape(re.sub(r"</?mark[^>]*>", "", bare))


def test_the_page_the_api_and_the_command_line_find_the_same(tmp_path: Path) -> None:
    said = CliRunner().invoke(cli, ["redact", "--findings"], input=TEXT)
    assert said.exit_code == 0
    expected = [json.loads(line) for line in said.stdout.splitlines()]
    assert {one["entity"] for one in expected} == {"EMAIL", "CARD", "SECRET", "IP"}

    async def main() -> None:
        async with world(tmp_path) as it, await signed_in(it, "security") as security:
            answer = await redactions(it, await it.person("security"), text=TEXT, profile="standard")
            assert answer.status_code == 200, answer.text
            found = answer.json()["findings"]
            assert [{name: one[name] for name in expected[0]} for one in found] == expected
            page = (await look(security, TEXT, "standard")).text
            rows = ROW.findall(html.unescape(page))
            assert [
                {"entity": kind, "start": int(start), "end": int(end), "rule": rule, "score": float(score)}
                for _, kind, _, _, rule, score, start, end in rows
            ] == expected
            assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1))

    asyncio.run(main())


def test_original_and_result_stand_side_by_side_and_each_finding_is_numbered(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it, await signed_in(it, "auditor") as auditor:
            empty = (await auditor.open("/console/redaction")).text
            assert "Nothing was looked at yet" in empty
            page = (await look(auditor, TEXT)).text
            assert side(page, "As it came") == TEXT
            shown = side(page, "What a model would see")
            assert all(value not in shown for value in (*PLANTED[:3], PLANTED[4], "81.91.156.184"))
            assert PLANTED[3] in shown, "what no rule knows stays, and the page says so"
            assert "EMAIL~7K3Q9M2XTB4C" in shown, "nobody brings a pseudonym along"
            numbers = re.findall(r'<span class="found-number">(\d+)</span>', page)
            assert sorted(map(int, numbers)) == sorted([*range(1, len(numbers) // 2 + 1)] * 2)
            plain = (await look(auditor, "all is well")).text
            assert "Nothing was found" in plain
            again = side((await look(auditor, TEXT)).text, "What a model would see")
            assert again != shown, "each look has pseudonyms of its own"

    asyncio.run(main())


def test_the_profile_decides_and_a_text_that_the_gate_would_refuse_is_called_that(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it, await signed_in(it, "security") as security:
            text = "host 00:1a:2b:3c:4d:5e card 4111111111111111"
            standard, default, strict = [
                side((await look(security, text, name)).text, "What a model would see")
                for name in ("standard", "default", "strict")
            ]
            assert "00:1a:2b:3c:4d:5e" in standard
            assert "MAC_" in default
            assert "_1111" in default
            assert "[SECRET:card:" in strict
            unread = "payload=" + base64.b64encode(zlib.compress(b"a" * 3_000_000)).decode()
            answer = await redactions(it, await it.person("security"), text=unread)
            assert answer.json()["withheld"] > 0
            assert answer.json()["refused"] is True
            assert "The gate would refuse a request" in (await look(security, unread)).text
            assert "The gate would refuse" not in (await look(security, unread, "standard")).text
            wrong = await look(security, text, "no-such-profile")
            assert wrong.status_code == 400
            assert "redaction.no_profile" in wrong.text

    asyncio.run(main())


def test_nothing_of_the_text_is_kept_anywhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        async with world(tmp_path) as it, await signed_in(it, "security") as security:
            person, agent, auditor = await it.person("security"), await it.agent(), await it.person("auditor")
            before = await _vault(it)
            assert (await look(security, TEXT)).status_code == 200
            for who in (person, agent, auditor):
                assert (await redactions(it, who, text=TEXT)).status_code == 200
            refused = [
                await redactions(it, person, text=TEXT, profile="nobody"),
                await redactions(it, person, text=TEXT, profile=PLANTED[2]),
                await redactions(it, person, text=TEXT * 2_000),
                await redactions(it, person, words=TEXT),
                await look(security, TEXT * 2_000),
                await look(security, TEXT, PLANTED[2]),
                await security.send("/console/redaction", {"text": TEXT}, token="0" * 64),
            ]
            assert [one.status_code for one in refused] == [400, 400, 400, 400, 400, 400, 403]
            assert all(value not in one.text for one in refused for value in PLANTED)
            assert await _vault(it) == before == 0
            elsewhere = {"text": TEXT, "characters": 5}
            wrong = await it.act(person, "gate.redaction.run", "", elsewhere, type_="gate", id_="gate")
            assert wrong.status_code == 400, "the ordinary door takes no text"
            kept = [await it.gate.records.told("default", one["id"]) for one in await it.records()]
            told = json.dumps([[entry.record, payload] for entry, payload in filter(None, kept)])
            looks = [
                one for one in await it.records() if one["body"].get("action", {}).get("name") == "gate.redaction.run"
            ]
            assert len([one for one in looks if one["kind"] == "intent"]) >= 4
            metrics = (await it.client.get("/metrics")).text
            seen = capfd.readouterr()
            for value in PLANTED:
                for place in (told, metrics, seen.out, seen.err):
                    assert value not in place
                assert value.encode() not in it.everything_stored()
            assert '"characters": ' + str(len(TEXT)) in told, "what is kept of it"
        for value in PLANTED:
            assert value.encode() not in b"".join(p.read_bytes() for p in (tmp_path / "data").rglob("*") if p.is_file())

    asyncio.run(main())


async def _vault(it: World) -> int:
    """How many pseudonyms the vault holds."""
    return await it.gate.store.read(lambda c: c.execute(select(func.count()).select_from(vault_token)).scalar_one())


def test_a_text_that_is_not_on_the_tray_is_looked_for_nowhere(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            person = await it.person("security")
            said = {"handle": "lab_" + "0" * 32, "digest": "0" * 64, "characters": 5, "profile": "default"}
            answer = await it.act(person, "gate.redaction.run", "", said, type_="gate", id_="gate")
            assert (answer.status_code, answer.json()["code"]) == (400, "redaction.no_text")

    asyncio.run(main())


def test_naughty_text_is_shown_whole_and_does_nothing(tmp_path: Path) -> None:
    texts = [
        "<script>alert(1)</script><img src=x onerror=alert(1)>",
        '<a hx-get="/console/health" hx-trigger="load">x</a></textarea></pre><svg onload=alert(1)>',
        "[a link](https://example.org/) https://example.org/ javascript:alert(1)",
        "\x1b[31mred\x1b[0m \u202eevil\u202c \u200binvisible p\u0430ypal",
        "{{ 7*7 }} {% raw %} ${7*7} &lt;script&gt;",
        'bob@example.org"><script>alert(1)</script>',
    ]

    async def main() -> None:
        async with world(tmp_path) as it, await signed_in(it, "security") as security:
            for text in texts:
                page = (await look(security, text)).text
                main = page.partition("<main")[2]
                assert not re.search(r"<(script|img|svg|a hx|iframe)", main), text
                assert 'href="https://example.org' not in main
                assert "hx-get" not in re.sub(r"&lt;.*?&gt;", "", main)
                for character in "\x1b\u202e\u200b":
                    assert (character in text) <= (f"U+{ord(character):04X}" in main)
            assert "49" not in side((await look(security, "{{ 7*7 }}")).text, "As it came")

    asyncio.run(main())
