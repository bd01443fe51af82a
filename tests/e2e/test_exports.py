"""Exports of the log, asked for and made in a whole gate: what is in them, who gets them, how long, and what is on record."""

import asyncio
import csv
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from broker.logbook import exports
from tests.parts import fresh_database
from tests.sim.visitor import signed_in
from tests.sim.world import World, replica, world


async def _traffic(it: World) -> str:
    agent = await it.agent()
    session = await it.session(agent)
    assert (await it.act(agent, "local.process.status", session)).status_code == 200
    assert (await it.act(agent, "local.process.restart", session, id_="nowhere")).status_code == 403
    return session


async def _made(it: World, who: dict[str, str], **said: Any) -> dict[str, Any]:
    """Ask for an export and let the gate's own work be done."""
    body = {"reason": "the yearly audit", **said}
    asked = await it.client.post("/v1/exports", json=body, headers={**who, **it.key()})
    assert asked.status_code == 201, asked.text
    for _ in range(3_000):
        await it.gate.background.work_off()
        found = await it.client.get(f"/v1/exports/{asked.json()['export']}", headers=who)
        assert found.status_code == 200
        if found.json()["state"] != "due":
            break
        await asyncio.sleep(0.02)  # the gate's own loop is at it in this moment
    return dict(found.json())


async def _file(it: World, who: dict[str, str], export: str) -> bytes:
    answer = await it.client.get(f"/v1/exports/{export}/file", headers=who)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"].startswith("attachment")
    return answer.content


def _verify(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The bundle's own verifier, with nothing of ours in reach."""
    return subprocess.run(
        [sys.executable, "-I", str(folder / "verify.py"), str(folder), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_bundle_verifies_by_itself_and_every_change_of_it_is_found(tmp_path: Path) -> None:
    async def main() -> bytes:
        async with world(tmp_path) as it:
            for _ in range(3):
                await _traffic(it)
            auditor = await it.person("auditor")
            made = await _made(it, auditor, form="bundle", action="local.")
            assert (made["state"], made["entries"]) == ("done", 9)
            content = await _file(it, auditor, made["export"])
            assert hashlib.sha256(content).hexdigest() == made["digest"]
            record = next(one for one in await it.records() if one["kind"] == "export")
            assert record["body"]["export"]["digest"] == made["digest"]
            assert record["body"]["export"]["entries"] == 9
            assert not any((it.data / "exports").iterdir()), "nothing half-made stays"
            return content

    content = asyncio.run(main())
    folder = tmp_path / "bundle"
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        tar.extractall(folder, filter="data")
    key = (tmp_path / "data" / "log.vkey").read_text().strip()
    done = _verify(folder, "--vkey", key)
    assert done.returncode == 0, done.stdout
    assert "inclusion: ok - 9 records" in done.stdout
    assert "append-only: NOT CHECKED" in done.stdout
    assert "signer: ok" in done.stdout
    assert "signer: not checked" in _verify(folder).stdout
    assert "signer: ok" not in _verify(folder).stdout
    assert _verify(folder, "--known-checkpoint", str(folder / "checkpoint")).returncode == 0
    for name in ("entries.jsonl", "proofs.jsonl", "checkpoint"):
        _every_change_is_found(folder, name, key)


def _every_change_is_found(folder: Path, name: str, key: str) -> None:
    """Also by one who wrote the manifest anew."""
    manifest = json.loads((folder / "manifest.json").read_text())
    kept = (folder / name).read_bytes()
    changed = bytearray(kept)
    at = kept.index(b"local.process") if name == "entries.jsonl" else len(kept) // 2
    changed[at] = ord("0") if changed[at] != ord("0") else ord("1")
    for content, files in (
        (bytes(changed), manifest["files"]),
        (bytes(changed), {**manifest["files"], name: hashlib.sha256(changed).hexdigest()}),
    ):
        (folder / name).write_bytes(content)
        (folder / "manifest.json").write_text(json.dumps({**manifest, "files": files}))
        done = _verify(folder, "--vkey", key)
        assert done.returncode == 7, done.stdout
    (folder / name).write_bytes(kept)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_lines_are_the_logs_own_bytes_and_a_table_tells_the_same_records(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            session = await _traffic(it)
            auditor = await it.person("auditor")
            made = await _made(it, auditor, form="jsonl", session=session)
            lines = (await _file(it, auditor, made["export"])).split(b"\n")[:-1]
            of_log = {entry.seq: entry.encoded for entry in await it.gate.log.read("default", limit=500)}
            seqs = [json.loads(line)["seq"] for line in lines]
            assert lines == [of_log[seq] for seq in seqs]
            table = await _made(it, auditor, form="csv", session=session)
            text = (await _file(it, auditor, table["export"])).decode()
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
            assert [int(row["seq"]) for row in rows] == seqs
            assert {row["name"] for row in rows if row["kind"] == "intent"} == {"dev:agent-1"}

    asyncio.run(main())


def test_time_bounds_an_export_as_it_bounds_a_search(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            await _traffic(it)
            it.clock.advance(1000)
            between = it.clock.now_ns() // 10**9
            await _traffic(it)
            auditor = await it.person("auditor")
            early = await _made(it, auditor, form="jsonl", action="local.", until=between)
            late = await _made(it, auditor, form="jsonl", action="local.", since=between)
            assert (early["entries"], late["entries"]) == (3, 3)

    asyncio.run(main())


def test_an_export_expires_and_its_bytes_are_gone(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            made = await _made(it, await it.person("auditor"), form="jsonl")
            it.clock.advance(86_401)
            auditor = await it.person("auditor")
            answer = await it.client.get(f"/v1/exports/{made['export']}/file", headers=auditor)
            assert (answer.status_code, answer.json()["code"]) == (404, "export.not_there")
            await it.gate.exports.sweep()
            assert [part async for part in it.gate.exports.content("default", made["export"])] == []

    asyncio.run(main())


def test_another_tenant_has_neither_exports_nor_records_of_ours(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            await _traffic(it)
            made = await _made(it, await it.person("auditor"), form="jsonl")
            stranger = await it.person("stranger")
            for path in (f"/v1/exports/{made['export']}", f"/v1/exports/{made['export']}/file"):
                assert (await it.client.get(path, headers=stranger)).status_code == 404
            theirs = await _made(it, stranger, form="jsonl")
            text = await _file(it, stranger, theirs["export"])
            assert {json.loads(line)["tenant"] for line in text.split(b"\n")[:-1]} == {"acme"}

    asyncio.run(main())


def test_agents_and_people_without_the_role_get_none_and_a_reason_is_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            body = {"form": "jsonl", "reason": "x"}
            for who in (await it.agent(), await it.person("oncall")):
                answer = await it.client.post("/v1/exports", json=body, headers={**who, **it.key()})
                assert answer.status_code == 403
            auditor = await it.person("auditor")
            answer = await it.client.post("/v1/exports", json={"form": "jsonl"}, headers={**auditor, **it.key()})
            assert (answer.status_code, answer.json()["code"]) == (403, "reason.missing")

    asyncio.run(main())


def test_what_one_replica_was_asked_for_any_other_makes_and_gives(tmp_path: Path) -> None:
    async def main() -> None:
        url = fresh_database().replace("postgresql://", "postgresql+psycopg://", 1)
        (tmp_path / "b").mkdir()
        async with world(tmp_path, store_url=url) as it, replica(it, tmp_path / "b") as other:
            await _traffic(it)
            made = await _made(it, await it.person("auditor"), form="jsonl")
            content = await _file(other, await other.person("auditor"), made["export"])
            assert hashlib.sha256(content).hexdigest() == made["digest"]

    asyncio.run(main())


def test_the_page_asks_lists_tells_how_far_it_is_and_gives_and_shows_naughty_text_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            await _traffic(it)
            auditor = await signed_in(it, "auditor")
            token = await auditor.token("/console/exports")
            form = {"form": "csv", "action": "<img src=x onerror=alert(1)>", "reason": "look", "key": "k1"}
            monkeypatch.setattr(exports, "PAGE", 1)
            monkeypatch.setattr(exports, "TOLD_EVERY", 1)
            still, seen = exports.Exports._still, asyncio.Event()

            async def held(*said: Any) -> None:
                await still(*said)
                await seen.wait()  # until the page has shown it

            monkeypatch.setattr(exports.Exports, "_still", held)
            assert (await auditor.send("/console/exports", form, token=token)).status_code == 303
            making, told = asyncio.create_task(it.gate.background.work_off()), set[str]()
            while "/file" not in (await auditor.open("/console/exports")).text:
                told |= set(re.findall(r'aria-label="(\d+) of', auditor.text))
                if told - {"0"}:
                    seen.set()
            await making
            assert told - {"0"}, "how far it is, while it is made"
            page = await auditor.open("/console/exports")
            assert "<img" not in page.text
            found = auditor.text.split('href="/console/exports/exp_')[1].split('"')[0]
            file = await auditor.open(f"/console/exports/exp_{found}")
            assert file.status_code == 200
            assert file.content.startswith(b'"seq","time"')
            await auditor.client.aclose()

    asyncio.run(main())
