"""The live page, the explorer, a record's page and two checkpoints, in a whole gate: what they show and whom."""

import asyncio
import base64
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from audit.note import parse_vkey
from audit.verify import verify_proof
from broker.logbook import index
from tests.sim.sse import reading
from tests.sim.visitor import signed_in
from tests.sim.world import World, world

QUICK = "[events]\npace_seconds = 0.02\nlook_seconds = 0.05\ndecide_seconds = 0.2\nheartbeat_seconds = 0.3\n"
NAUGHTY = "<img src=x onerror=alert(1)>' OR 1=1 --\u202e {{7*7}} hx-get=/x [a](javascript:b)"


async def _traffic(it: World) -> str:
    agent = await it.agent()
    session = await it.session(agent)
    assert (await it.act(agent, "local.process.status", session)).status_code == 200
    assert (await it.act(agent, "local.process.restart", session, id_="nowhere")).status_code == 403
    return session


def _cookie(visitor: object) -> dict[str, str]:
    login = getattr(visitor, "login")  # noqa: B009 - any browser
    return {"cookie": f"wicketgate-8480={login}", "sec-fetch-dest": "empty", "sec-fetch-site": "same-origin"}


def test_the_live_page_works_without_scripts_and_its_stream_adds_rows(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK) as it:
            await _traffic(it)
            oncall = await signed_in(it, "oncall")
            page = await oncall.open("/console/live")
            assert page.status_code == 200
            assert "local.process.restart" in oncall.text
            assert "dev:agent-1" in oncall.text
            assert 'aria-live="off"' in page.text
            stream = re.search(r'hx-sse:connect="([^"]+)"', oncall.text)
            assert stream
            async with reading(it.app, stream.group(1), _cookie(oncall)) as reader:
                assert reader.status == 200
                await _traffic(it)
                await reader.until(lambda r: b"local.process.status" in r.body)
                text = bytes(reader.body).decode()
            rows = re.findall(r'<tr id="r(\d+)">', text)
            assert len(rows) == len(set(rows))
            assert not {f'id="r{n}"' for n in rows} & set(re.findall(r'id="r\d+"', page.text)), "no row twice"
            assert "<script" not in text
            paused = await oncall.open("/console/live?paused=1")
            assert "hx-sse:connect" not in paused.text
            await oncall.client.aclose()

    asyncio.run(main())


def test_the_live_page_follows_and_says_what_it_leaves_out_where_the_index_lags_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "AT_A_SEARCH_MAX", 1)

    async def main() -> None:
        async with world(tmp_path, extra=QUICK + "resume_records_max = 12\n") as it:
            await it.gate.background.aclose()  # so that nobody but who searches fills the index
            oncall = await signed_in(it, "oncall")
            await _traffic(it)
            await _traffic(it)
            page = await oncall.open("/console/live")
            left_out = re.search(r"(\d+) records that the search does not have yet", page.text)
            assert left_out
            assert int(left_out.group(1)) >= 6
            stream = re.search(r'hx-sse:connect="([^"]+)"', oncall.text)
            assert stream
            async with reading(it.app, stream.group(1), _cookie(oncall)) as reader:
                assert reader.status == 200
                await _traffic(it)
                await reader.until(lambda r: b"local.process.status" in r.body)
            monkeypatch.setattr(index, "AT_A_SEARCH_MAX", 1_000)
            assert "does not have yet" not in (await oncall.open("/console/live")).text
            await oncall.client.aclose()

    asyncio.run(main())


def test_a_sign_out_ends_the_stream(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK) as it:
            oncall = await signed_in(it, "oncall")
            async with reading(it.app, "/console/live/stream", _cookie(oncall)) as reader:
                await reader.until(lambda r: r.body)
                assert (await oncall.send("/console/signout")).status_code < 400
                await reader.until(lambda r: r.ended)
                assert reader.events()[-1].name == "end"
                assert reader.events()[-1].data["code"].startswith("login.")
            await oncall.client.aclose()

    asyncio.run(main())


def test_the_explorer_finds_pages_and_keeps_views_of_ones_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            for _ in range(20):
                await _traffic(it)
                it.clock.advance(60)
            auditor = await signed_in(it, "auditor")
            await auditor.open("/console/audit?action=local.&principal=dev:agent-1")
            first = re.findall(r'<tr id="r(\d+)">', auditor.text)
            assert len(first) == 50
            older = re.search(r'rel="next" href="([^"]+)"', auditor.text)
            assert older
            await auditor.open(older.group(1))
            second = re.findall(r'<tr id="r(\d+)">', auditor.text)
            assert len(second) == 10
            assert max(map(int, second)) < min(map(int, first))
            newer = re.search(r'rel="prev" href="([^"]+)"', auditor.text)
            assert newer
            await auditor.open(newer.group(1))
            assert re.findall(r'<tr id="r(\d+)">', auditor.text) == first
            token = await auditor.token("/console/audit")
            saved = {"name": "refused", "query": "code=risk.unknown", "key": "k1"}
            assert (await auditor.send("/console/audit/views", saved, token=token)).status_code == 303
            assert 'href="/console/audit?code=risk.unknown"' in (await auditor.open("/console/audit")).text
            security = await signed_in(it, "security")
            assert "refused</a>" not in (await security.open("/console/audit")).text
            forgotten = {**saved, "forget": "1", "key": "k2"}
            assert (await auditor.send("/console/audit/views", forgotten, token=token)).status_code == 303
            assert "code=risk.unknown" not in (await auditor.open("/console/audit")).text
            for one in (auditor, security):
                await one.client.aclose()

    asyncio.run(main())


def test_a_records_page_shows_its_checks_and_gives_both_files(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            await _traffic(it)
            auditor = await signed_in(it, "auditor")
            page = await auditor.open("/console/audit/2")
            assert page.status_code == 200
            assert page.text.count("not checked") == 4
            assert "the record is number 2" in auditor.text
            leaf = await auditor.open("/console/audit/2/leaf")
            proof = await auditor.open("/console/audit/2/proof")
            for one in (leaf, proof):
                assert one.headers["content-disposition"].startswith("attachment")
            key = parse_vkey((it.data / "log.vkey").read_text().strip())
            assert verify_proof(proof.content, leaf.content, key).ok
            gone = await auditor.open("/console/audit/99999")
            assert gone.status_code == 404
            assert "the log has no such record" in auditor.text
            await auditor.client.aclose()

    asyncio.run(main())


def test_two_checkpoints_are_compared_and_a_forged_one_is_found(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            auditor = await signed_in(it, "auditor")
            kept = await it.gate.records.checkpoint("default")
            await _traffic(it)
            await auditor.open(f"/console/audit/consistency?older={quote(kept)}")
            assert "is the beginning of" in auditor.text
            lines = kept.split("\n")
            lines[2] = base64.b64encode(b"x" * 32).decode()
            await auditor.open(f"/console/audit/consistency?older={quote(chr(10).join(lines))}")
            assert "is NOT the beginning of" in auditor.text
            await auditor.client.aclose()

    asyncio.run(main())


def test_what_one_may_not_do_is_refused_with_the_reason(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            oncall = await signed_in(it, "oncall")
            for path in ("/console/audit", "/console/audit/0", "/console/audit/consistency?older=x"):
                page = await oncall.open(path)
                assert page.status_code == 403, path
            await oncall.client.aclose()

    asyncio.run(main())


def test_naughty_text_in_every_filter_is_shown_as_text(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            auditor = await signed_in(it, "auditor")
            for name in ("principal", "action", "resource", "code", "session", "incident"):
                page = await auditor.open(f"/console/audit?{name}={quote(NAUGHTY[:64])}")
                assert page.status_code in {200, 400}, name
                assert "<img" not in page.text
            for name in ("action", "session", "incident"):
                page = await auditor.open(f"/console/live?{name}={quote(NAUGHTY[:64])}")
                assert page.status_code in {200, 400}
                assert "<img" not in page.text
            token = await auditor.token("/console/audit")
            saved = {"name": NAUGHTY[:64], "query": "own=1", "key": "k"}
            assert (await auditor.send("/console/audit/views", saved, token=token)).status_code == 303
            shown = await auditor.open("/console/audit")
            assert "<img" not in shown.text
            assert "&lt;img" in shown.text
            await auditor.client.aclose()

    asyncio.run(main())
