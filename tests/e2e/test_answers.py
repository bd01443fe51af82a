"""Every route's answers, whoever asks and whatever comes of it: what they say of themselves, and where they never lead."""

import ast
import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.web.app import DESCRIPTION, is_console
from broker.web.routes import ROUTES
from tests.parts import ROOT
from tests.sim.visitor import SAME_ORIGIN, Visitor, signed_in
from tests.sim.world import world

KINDS = {
    "application/json",
    "application/problem+json",
    "text/html; charset=utf-8",
    "text/plain; charset=utf-8",
    "text/plain; version=0.0.4; charset=utf-8",
    "text/css; charset=utf-8",
    "text/javascript; charset=utf-8",
    "application/octet-stream",  # a proof, as a file
}


def concrete(path: str) -> str:
    named = path.replace("vendor/{name}", "vendor/htmx.min.js").replace("{name}", "console.css")
    return named.replace("{id}", "x").replace("{seq}", "0").replace("{path}", "mcp").replace("{digest}", "0" * 64)


async def asked(folder: Path) -> list[tuple[str, httpx.Response]]:
    """What nobody and a person, by the route's own kind of credential, get of every route that is no stream."""
    got = []
    async with world(folder) as it, await signed_in(it, "security") as ann:
        for route in (one for one in (*ROUTES, DESCRIPTION) if not one.stream):
            path = concrete(route.path)
            body: dict[str, Any] = {"data": {"x": ""}} if is_console(path) else {"json": {}}
            person = (ann.client, SAME_ORIGIN) if is_console(path) else (it.client, await it.person("security"))
            for client, who in ((it.client, {}), person):
                sent = body if route.method == "POST" else {}
                answer = await client.request(route.method, path, headers={**who, **it.key()}, **sent)
                got.append((f"{route.method} {path}", answer))
            it.clock.advance(20)
    return got


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, httpx.Response]]:
    return asyncio.run(asked(tmp_path_factory.mktemp("answers")))


def test_every_answer_says_what_it_is_in_which_characters_and_is_kept_by_nobody(
    answers: list[tuple[str, httpx.Response]],
) -> None:
    assert len(answers) > 150
    assert {answer.status_code for _, answer in answers} >= {200, 303, 400, 401, 403, 404}
    for name, answer in answers:
        said = answer.headers
        if answer.content:
            assert said["content-type"] in KINDS, (name, said["content-type"])
        assert said["x-content-type-options"] == "nosniff", name
        allowed = {"no-cache"} if "/static/" in name and answer.status_code == 200 else {"no-store"}
        assert said["cache-control"] in allowed, (name, said["cache-control"])


def test_only_people_are_led_elsewhere_and_never_to_another_scheme(answers: list[tuple[str, httpx.Response]]) -> None:
    """Who sends a token over plain HTTP by mistake must find out, and not be led on silently."""
    led = [(name.split()[1], answer.headers["location"]) for name, answer in answers if answer.is_redirect]
    assert led
    assert [one for one in led if not is_console(one[0])] == []
    assert [one for one in led if not one[1].startswith(("/console", "http://localhost:8480/dev-idp/"))] == []


def test_a_token_counts_in_its_header_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            token = (await it.person("oncall"))["Authorization"].removeprefix("Bearer ")
            assert (await it.client.get("/v1/actions", headers={"Authorization": f"Bearer {token}"})).status_code == 200
            for name in ("access_token", "token", "authorization", "x-api-key"):
                asked = await it.client.get("/v1/actions", params={name: token})
                assert (asked.status_code, asked.json()["code"]) == (401, "identity.missing"), name
                assert token not in asked.text
            form = await it.client.post("/v1/actions", data={"access_token": token})
            assert (form.status_code, form.json()["code"]) == (415, "http.media_type")
            async with Visitor(it) as bob:
                bob.client.cookies.set("access_token", token)
                assert (await bob.client.get("/v1/actions")).status_code == 401

    asyncio.run(main())


def test_no_folder_is_listed_and_no_file_but_the_consoles_own_is_served(tmp_path: Path) -> None:
    hidden = (
        *("/.git/config", "/.git/HEAD", "/.svn/entries", "/.env", "/gate.toml", "/pyproject.toml", "/keys/log.key"),
        *("/console/static/README.md", "/console/static/vendor/MANIFEST.json", "/console/static/.git"),
        *(
            "/console/static",
            "/console/static/",
            "/console/static/vendor/",
            "/console/templates/base.html",
            "/bundles/",
        ),
    )

    async def main() -> None:
        async with world(tmp_path) as it, await signed_in(it, "security") as ann:
            assert (await ann.open("/console/static/console.css")).status_code == 200
            for path in hidden:
                answer = await ann.open(path)
                assert answer.status_code == 404, path
                assert "Index of" not in answer.text

    asyncio.run(main())


def test_what_a_client_says_of_forwarding_changes_nothing(tmp_path: Path) -> None:
    """Neither whose connection it is nor which address was asked; the server itself is told not to read such headers."""
    said = {
        "X-Forwarded-For": "127.0.0.1",
        "X-Real-IP": "127.0.0.1",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "Forwarded": "for=127.0.0.1;host=evil.example;proto=https",
    }

    async def main() -> None:
        async with world(tmp_path) as it, Visitor(it) as here, Visitor(it, peer="10.0.0.7") as elsewhere:
            assert (await here.client.get("/dev-idp/jwks", headers=said)).status_code == 200
            assert (await elsewhere.client.get("/dev-idp/jwks", headers=said)).status_code == 403
            for path in ("/.well-known/oauth-protected-resource", "/v1/actions", "/console"):
                plain, forwarded = [await here.client.get(path, headers=headers) for headers in ({}, said)]
                assert "evil.example" not in forwarded.text + str(forwarded.headers)
                assert (plain.status_code, plain.text) == (forwarded.status_code, forwarded.text)
                assert plain.headers.get("location") == forwarded.headers.get("location")

    asyncio.run(main())
    told = [
        (one.arg, ast.unparse(one.value))
        for node in ast.walk(ast.parse((ROOT / "broker/cli/serve.py").read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "uvicorn.Config"
        for one in node.keywords
    ]
    assert ("proxy_headers", "False") in told
