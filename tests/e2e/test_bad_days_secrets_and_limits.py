"""What may be in no file, no upstream request, no line and no error; and limits that hold whatever the clock says."""

import asyncio
import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.sim.model_server import Turn
from tests.sim.world import MODEL, World, world

RESTART = "local.process.restart"
STATUS = "local.process.status"
PLANTED = {
    "email": "carol.jones@example.org",
    "card": "4012888888881881",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "github": "ghp_" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5",
    "iban": "DE89370400440532013000",
}
TEXT = "; ".join(f"{name} {value}" for name, value in PLANTED.items())


def spellings(token: str) -> list[bytes]:
    """The token, and its parts that would let somebody use or name it."""
    _, payload, signature = token.split(".")
    return [token.encode(), payload.encode(), signature.encode()]


def found_in(data: bytes, values: Iterable[bytes]) -> list[bytes]:
    return [value for value in values if value in data]


async def everything(it: World, agent: Mapping[str, str], security: Mapping[str, str]) -> list[bytes]:
    """Use the gate as agents do, with secrets in every field; the bodies of all answers."""
    answers = [
        await it.client.post(
            "/v1/sessions",
            json={"intent": [{"kind": "task", "text": TEXT, "source": TEXT}]},
            headers={**agent, **it.key()},
        )
    ]
    session = answers[0].json()["session"]
    head = {**agent, "Wicketgate-Session": session}
    said = {"session": session, "reason": TEXT, "resource": {"type": "process", "id": "checkout", "env": "prod"}}
    search = {**said, "action": "local.logs.search", "arguments": {"window_seconds": 3600, "pattern": PLANTED["email"]}}
    requests = (search, *({**said, "action": action} for action in (STATUS, RESTART, "local.config.read")))
    answers += [await it.client.post("/v1/actions", json=body, headers={**agent, **it.key()}) for body in requests]
    approval = answers[3].json()["approval"]
    review = {"verdict": "approve", "digest": approval["digest"], "reason": TEXT}
    answers.append(await it.client.get(f"/v1/approvals/{approval['id']}", headers=security))
    answers.append(
        await it.client.post(f"/v1/approvals/{approval['id']}/reviews", json=review, headers={**security, **it.key()})
    )
    answers.append(await it.outcome(agent, answers[3].json()["action_id"]))
    for more in ({}, {"stream": True}):
        model = {
            "model": MODEL,
            "max_tokens": 50,
            "messages": [{"role": "user", "content": TEXT}],
            "system": TEXT,
            **more,
        }
        answers.append(await it.client.post("/llm/anthropic/v1/messages", json=model, headers=head))
    answers.append(
        await it.client.post(
            "/v1/kill", json={"scope": "connector", "target": "none", "reason": TEXT}, headers={**security, **it.key()}
        )
    )
    answers.append(await it.client.get("/v1/audit/entries", params={"limit": 50}, headers=security))
    answers.append(await it.client.get("/metrics"))
    assert [answer.status_code for answer in answers if answer.status_code >= 500] == []
    return [answer.content for answer in answers]


def test_tokens_and_planted_values_stay_out_of_every_place(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tokens: list[bytes] = []

    async def main() -> tuple[list[bytes], bytes, bytes]:
        async with world(tmp_path, turns=[Turn("ask " + PLANTED["email"] + " about " + PLANTED["aws"])]) as it:
            (it.folder / "logs" / "checkout.log").write_text(f'2026-01-01T00:00:00Z level=error msg="{TEXT}"\n')
            agent, security = await it.agent(), await it.person("security")
            for who in (agent, security):
                tokens.extend(spellings(who["Authorization"].removeprefix("Bearer ")))
            answers = await everything(it, agent, security)
            upstream = [*it.models.seen, *it.supervisor.server.seen]
            sent = b"".join(
                json.dumps(dict(seen.headers)).encode() + seen.target.encode() + seen.body for seen in upstream
            )
            assert it.restarts() == 1
        return answers, sent, it.everything_stored()

    answers, sent, stored = asyncio.run(main())
    lines = "".join(capfd.readouterr()).encode()
    planted = [value.encode() for value in PLANTED.values()]
    assert found_in(sent, tokens) == []
    assert found_in(stored, tokens) == []
    assert found_in(lines, tokens) == []
    assert [found_in(answer, tokens) for answer in answers if found_in(answer, tokens)] == []
    assert found_in(sent, planted) == [], "a model, or a target that policy did not restore it for, was given a value"
    assert found_in(stored, planted) == []
    assert found_in(lines, planted) == []
    assert [found_in(answer, planted) for answer in answers if found_in(answer, planted)] == []
    assert b"gate.started" in lines, "the lines were looked at"
    assert b"provider-key" not in stored + lines + b"".join(answers)


MALFORMED: list[tuple[str, Any]] = [
    ("/v1/actions", {"action": "SECRET"}),
    (
        "/v1/actions",
        {
            "action": STATUS,
            "resource": {"type": "process", "id": "checkout", "env": "prod"},
            "arguments": {"x": "SECRET"},
        },
    ),
    ("/v1/actions", {"action": STATUS, "resource": {"type": "SECRET", "id": "SECRET", "env": "SECRET"}}),
    ("/v1/actions", {"action": STATUS, "resource": "SECRET"}),
    (
        "/v1/actions",
        {"action": STATUS, "resource": {"type": "process", "id": "checkout", "env": "prod"}, "session": "ses_SECRET"},
    ),
    (
        "/v1/actions",
        {
            "action": "local.logs.search",
            "resource": {"type": "process", "id": "checkout", "env": "prod"},
            "arguments": {"window_seconds": "SECRET"},
        },
    ),
    (
        "/v1/actions",
        {
            "action": "local.logs.search",
            "resource": {"type": "process", "id": "checkout", "env": "prod"},
            "arguments": {"window_seconds": 5, "mode": "re2", "pattern": "(SECRET"},
        },
    ),
    ("/v1/sessions", {"intent": [{"kind": "SECRET", "text": "x"}]}),
    ("/v1/sessions", {"intent": "SECRET"}),
    ("/v1/approvals/apr_SECRET/reviews", {"verdict": "approve", "digest": "0" * 64}),
    ("/v1/approvals/apr_x/reviews", {"verdict": "SECRET", "digest": "SECRET"}),
    ("/v1/kill", {"scope": "SECRET", "reason": "x"}),
    ("/v1/policies/activate", {"bundle": "SECRET", "signature": "SECRET"}),
    ("/v1/policies/rollback", {"digest": "SECRET"}),
    ("/llm/anthropic/v1/messages", {"model": {"x": "SECRET"}}),
    ("/llm/anthropic/v1/messages", {"model": MODEL, "max_tokens": "SECRET", "messages": []}),
]


def test_an_error_names_fields_and_never_a_value(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    secret = secrets.token_hex(12)

    async def main() -> None:
        async with world(tmp_path) as it:
            for who in (await it.agent(), await it.person("security")):
                for path, body in MALFORMED:
                    text = json.dumps(body).replace("SECRET", secret)
                    answer = await it.client.post(
                        path.replace("SECRET", secret),
                        content=text,
                        headers={**who, **it.key(), "Content-Type": "application/json"},
                    )
                    assert 400 <= answer.status_code < 500, (path, answer.text)
                    assert secret not in answer.text, (path, answer.text)
                    assert secret not in str(answer.headers)
                broken = await it.client.post(
                    "/v1/actions",
                    content=b'{"a": "' + secret.encode(),
                    headers={**who, "Content-Type": "application/json"},
                )
                assert secret not in broken.text
            for token in (secret, f"{secret}.{secret}.{secret}", f"Bearer {secret}"):
                answer = await it.client.get("/v1/actions", headers={"Authorization": f"Bearer {token}"})
                assert answer.status_code == 401
                assert secret not in answer.text + str(answer.headers)

    asyncio.run(main())
    assert secret not in "".join(capfd.readouterr())


async def until_refused(
    it: World, who: Mapping[str, str], session: str, action: str = STATUS, **more: Any
) -> tuple[int, Any]:
    """Ask again and again; how often it went, and the refusal."""
    for count in range(400):
        answer = await it.act(who, action, session, **more)
        if answer.status_code != 200:
            return count, answer
    raise AssertionError("nothing refused it")


def test_a_burst_is_refused_with_when_to_come_back_and_on_record(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, oncall = await it.agent(), await it.person("oncall")
            session, theirs = await it.session(agent), await it.session(oncall)
            went, refused = await until_refused(it, agent, session, RESTART, env="staging")
            assert (refused.status_code, refused.json()["code"]) == (429, "limit.exceeded")
            assert went == it.restarts() == 6, "the burst that policy allows on one resource"
            wait = int(refused.headers["retry-after"])
            assert wait >= 1
            last = (await it.records())[-1]
            assert (last["kind"], last["body"]["error"]) == ("refusal", "limit.exceeded")
            assert refused.json()["receipt"]["seq"] == len(await it.records()) - 1
            assert (await it.act(agent, STATUS, session)).status_code == 200, "another bucket"
            it.clock.step_wall(-3600)
            back = await it.act(agent, RESTART, session, env="staging")
            assert back.status_code in {401, 429}
            it.clock.step_wall(3600)
            assert (await it.act(agent, RESTART, session, env="staging")).status_code == 429
            assert it.restarts() == 6
            it.clock.advance(wait - 1)
            assert (await it.act(await it.agent(), RESTART, session, env="staging")).status_code in {200, 429}
            it.clock.advance(2)
            agent = await it.agent()
            if it.restarts() == 6:
                assert (await it.act(agent, RESTART, session, env="staging")).status_code == 200
            assert it.restarts() == 7
            assert (await it.act(await it.person("oncall"), STATUS, theirs)).status_code == 200

    asyncio.run(main())


def test_one_agents_burst_leaves_the_others_their_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, oncall = await it.agent(), await it.person("oncall")
            session, theirs = await it.session(agent), await it.session(oncall)
            went, refused = await until_refused(it, agent, session)
            assert 290 <= went <= 300, "300 reads at once, some of which opening the session has used"
            assert refused.status_code == 429
            assert (await it.act(oncall, STATUS, theirs)).status_code == 200
            for back in (-3600, -7200):
                it.clock.step_wall(back)
                answers = [await it.act(agent, STATUS, session) for _ in range(3)]
                assert {answer.status_code for answer in answers} <= {401, 429}
                it.clock.step_wall(-back)

    asyncio.run(main())
