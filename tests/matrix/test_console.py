"""Every console route x caller, checked in as text: callers are people by their login cookie.

A new route without rows fails, and so does any changed answer. Rewrite the reviewed artefact with ``WICKETGATE_UPDATE=1``
and read its difference. A POST needs its form in ``FORMS``, right in form, so that the answer is about the caller.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from broker.web.app import is_console
from broker.web.routes import ROUTES, Route
from tests.sim.streamed import beginning
from tests.sim.visitor import SAME_ORIGIN, Visitor, signed_in
from tests.sim.world import World, world

ARTEFACT = Path(__file__).with_name("console.txt")
PEOPLE = ("oncall", "security", "auditor", "stranger")
CALLERS = ("nobody", "forged", "token", "cross-site", "no-token", *PEOPLE)
"""``token``: the on-call person's bearer token without a login; ``cross-site`` and ``no-token``: their forms, sent by
another site or without the form token."""
FORMS: Mapping[str, Mapping[str, Any]] = {
    "console_audit_view": {"name": "mine", "query": "own=1", "key": "k"},
    "console_agents_kill": {"scope": "agent", "target": "dev:nobody", "reason": "x"},
    "console_agents_resume": {"scope": "agent", "target": "dev:nobody", "reason": "x", "key": "s"},
    "console_incident_note": {"text": "x", "key": "n"},
    "console_incident_step": {"kind": "take_over", "key": "t"},
    "console_redaction_look": {"text": "x", "profile": "default"},
    "console_policy_change": {"change": "rollback", "reason": "x", "key": "p"},
    "console_keys_register": {"until": "1", "credential": "{}", "key": "kr"},
    "console_keys_confirm": {"authenticator": "nobody", "key": "kc"},
    "console_keys_remove": {"authenticator": "nobody", "key": "kx"},
    "console_breakglass_open": {
        "actions": "local.process.restart",
        "targets": "process/checkout (prod)",
        "minutes": "5",
        "reason": "x",
        "key": "bo",
    },
    "console_breakglass_confirm": {"reason": "x", "key": "bc"},
    "console_breakglass_end": {"reason": "x", "key": "be"},
    "console_breakglass_review": {"reason": "x", "key": "br"},
    "console_review": {"verdict": "deny", "digest": "0" * 64, "reason": "x", "key": "r"},
    "console_simulate_ask": {
        "action": "local.process.status",
        "type": "process",
        "id": "checkout",
        "env": "prod",
        "who": "agent",
        "roles": "agent",
    },
}
"""Handler -> fields; what names something of the gate is one of ``THINGS``."""
PARAMETERS: Mapping[str, str] = {"{name}": "console.css", "{seq}": "0"}


def test_every_console_route_answers_every_kind_of_caller_as_reviewed(tmp_path: Path) -> None:
    text = asyncio.run(_matrix(tmp_path))
    if os.environ.get("WICKETGATE_UPDATE"):
        ARTEFACT.write_text(text)
    assert text == ARTEFACT.read_text()


def test_console_routes_and_no_others_are_for_logins() -> None:
    assert {route.path for route in ROUTES if route.access == "console"} <= {
        route.path for route in ROUTES if is_console(route.path)
    }
    public = {route.handler for route in ROUTES if is_console(route.path) and route.access == "public"}
    assert public == {
        "console_static",
        "console_vendor",
        "console_signin",
        "console_callback",
        "console_signedout",
        "console_backchannel",
    }


async def _matrix(folder: Path) -> str:
    async with world(folder) as it:
        people: dict[str, Visitor] = {}
        fresh = False
        lines = [f"{'route':<45}" + "".join(f"{caller:<36}" for caller in CALLERS)]
        for route in (one for one in ROUTES if is_console(one.path)):
            if route.method != "GET" or not fresh:
                await _all_signed_in(it, people)
            # An act wants a fresh sign-in, and some answers to one sign out; reading does neither.
            fresh = route.method == "GET"
            cells = []
            for caller in CALLERS:
                if route.method == "GET" and caller in {"cross-site", "no-token"}:
                    cells.append(f"{'-':<36}")
                    continue
                cells.append(f"{_cell(await _ask(it, route, caller, people)):<36}")
                # Limits are not what this matrix is about: let every bucket refill.
                it.clock.advance(60)
            lines.append(f"{route.method + ' ' + route.path:<45}" + "".join(cells).rstrip())
        for visitor in people.values():
            await visitor.client.aclose()
        return "\n".join(line.rstrip() for line in lines) + "\n"


async def _all_signed_in(it: World, people: dict[str, Visitor]) -> None:
    """Everybody anew."""
    for name in PEOPLE:
        if name in people:
            await people[name].client.aclose()
        people[name] = await signed_in(it, name)


async def _ask(it: World, route: Route, caller: str, people: Mapping[str, Visitor]) -> httpx.Response:
    path = route.path.replace("vendor/{name}", "vendor/htmx.min.js")
    for name, value in PARAMETERS.items():
        path = path.replace(name, value)
    path = path.replace("{digest}", it.gate.policy.active.digest if it.gate.policy.active else "")
    headers = dict(SAME_ORIGIN)
    if caller == "token":
        headers |= await it.person("oncall")
    visitor = people.get(caller if caller in people else "oncall")
    assert visitor is not None
    known = caller in people or caller in {"cross-site", "no-token"}
    client = visitor.client if known else it.client
    if caller == "forged":
        login = visitor.login
        headers["Cookie"] = f"wicketgate-8480={login[:-3]}{'AAA' if login[-3:] != 'AAA' else 'BBB'}"
    if caller == "cross-site":
        headers["Sec-Fetch-Site"] = "cross-site"
    if route.stream:
        cookies = {} if caller in {"nobody", "token", "forged"} else {"Cookie": f"wicketgate-8480={visitor.login}"}
        return await beginning(it.app, path, {**headers, **cookies})
    if route.method == "GET":
        return await client.get(path, headers=headers)
    fields = dict(FORMS.get(route.handler, {}))
    if known and caller != "no-token":
        fields["csrf"] = await visitor.token()
    return await client.post(path, data={"x": "", **fields}, headers=headers)


def _cell(answer: httpx.Response) -> str:
    """Status, and where it leads or the stable code of a refusal."""
    if answer.status_code == 303:
        return "303 " + answer.headers["location"].partition("?")[0].removeprefix("http://localhost:8480")
    if answer.status_code < 400:
        return str(answer.status_code)
    if "html" in answer.headers["content-type"]:
        code = answer.text.rpartition("<dt>Code</dt><dd><code>")[2].partition("<")[0][:64]
        return f"{answer.status_code} {code}"
    return f"{answer.status_code} {answer.json().get('code', '')}"
