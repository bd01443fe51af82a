"""What policy wants signed is approved by a person's own authenticator over exactly this decision, and the log shows it."""

import asyncio
import base64
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from audit.ledger import Verdict
from audit.record import read
from audit.signed import Signatures
from audit.source import Folder
from audit.verify import verify
from tests.parts import fresh_database
from tests.sim.authenticator import PRESENT, SoftwareKey, raw, text
from tests.sim.visitor import Visitor, signed_in
from tests.sim.world import World, replica, world

RESTART = "local.process.restart"
CRITICAL = (
    '[[inventory]]\ntype = "process"\nid = "payments"\nenv = "prod"\nregion = "us-east-1"\n'
    'labels = {tier = "critical"}\ndepends_on = []\n'
)
GATE = {"type_": "gate", "id_": "gate"}


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", answer.json().get("status", ""))


@contextlib.asynccontextmanager
async def critical(folder: Path, **more: Any) -> AsyncIterator[World]:
    async with world(folder, extra=CRITICAL, **more) as it:
        yield it


async def gate_act(it: World, who: Mapping[str, str], act: str, **arguments: Any) -> httpx.Response:
    return await it.act(who, f"gate.authenticators.{act}", arguments=arguments, **GATE)


async def registered(it: World, who: Mapping[str, str], key: SoftwareKey) -> str:
    """Register ``key`` for a person; it waits for a second one."""
    told = (await gate_act(it, who, "read")).json()["result"]["value"]["creation"]
    done = await gate_act(it, who, "register", until=told["until"], credential=key.create(told["publicKey"]))
    assert code(done) == (200, "done"), done.text
    return key.id


async def ready(it: World, name: str, key: SoftwareKey) -> str:
    """A person's key, confirmed by another."""
    credential = await registered(it, await it.person(name), key)
    other = await it.person("deputy" if name != "deputy" else "security")
    assert code(await gate_act(it, other, "confirm", authenticator=credential)) == (200, "done")
    return credential


async def waiting(it: World) -> dict[str, Any]:
    """A person's restart of the critical process: tier 3."""
    person = await it.person("oncall")
    answer = await it.act(person, RESTART, await it.session(person), id_="payments")
    assert answer.status_code == 202, answer.text
    assert answer.json()["decision"]["tier"] == 3
    return dict(answer.json())


async def asked(it: World, who: Mapping[str, str], approval: Mapping[str, Any]) -> Any:
    """What the gate wants signed by this reader."""
    answer = await it.client.get(f"/v1/approvals/{approval['id']}", headers=who)
    return answer.json()["result"]["value"]["signing"] if "result" in answer.json() else answer.json()["signing"]


def test_a_signed_approval_runs_once_and_an_auditor_checks_it_with_the_log_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with critical(tmp_path) as it:
            key = SoftwareKey()
            await ready(it, "security", key)
            wants = await waiting(it)
            approval, security = wants["approval"], await it.person("security")
            unsigned = await it.review(security, approval)
            assert code(unsigned) == (401, "approval.signature")
            assert f"/console/inbox/{approval['id']}" in unsigned.json()["remedy"]
            options = await asked(it, security, approval)
            assert [one["id"] for one in options["allowCredentials"]] == [key.id]
            assert (options["rpId"], options["userVerification"]) == ("localhost", "required")
            assert it.restarts("payments") == 0
            done = await it.review(security, approval, assertion=key.get(options))
            assert code(done)[0] == 200, done.text
            requester = await it.person("oncall")
            assert code(await it.outcome(requester, wants["action_id"])) == (200, "done")
            assert it.restarts("payments") == 1
            records = await it.records()
            await it.gate.background.publish()
            report = verify(Folder(it.data / "log"))
            [check] = [one for one in report.checks if one.name == "signatures"]
            assert (check.verdict, check.detail) == (Verdict.OK, "1 signed approvals hold")
            _check_by_hand(records, approval)

    asyncio.run(main())


def _check_by_hand(records: list[dict[str, Any]], approval: Mapping[str, Any]) -> None:
    """The challenge and the signature from the leaves, with no code of ours."""
    [review] = [one for one in records if one["kind"] == "review"]
    [born] = [
        one
        for one in records
        if one["kind"] == "authenticator" and one["body"]["authenticator"]["verb"] == "registered"
    ]
    [wanted] = [one for one in records if one["kind"] == "proposal"]
    body, signature = review["body"], review["body"]["signature"]
    assert wanted["body"]["approval"]["signature"] is True
    assert body["approval"]["reviewers"] == [born["body"]["authenticator"]["owner"]]
    assert body["policy"]["digest"] == wanted["body"]["decision"]["policy_digest"]
    statement = {
        "approval": approval["id"],
        "plan": body["plan"]["fingerprint"],
        "policy": wanted["body"]["decision"]["policy_digest"],
        "request": approval["digest"],
        "reviewer": body["approval"]["reviewers"][0],
        "revision": wanted["body"]["decision"]["policy_revision"],
        "rollback": body["plan"].get("rollback_digest", ""),
        "tenant": "default",
        "verdict": "approve",
    }
    canonical = json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    client = raw(signature["client_data"])
    challenge = hashlib.sha256(b"wicketgate approval 1\x00" + canonical).digest()
    assert json.loads(client)["challenge"] == text(challenge)
    public = load_der_public_key(raw(born["body"]["authenticator"]["key"]))
    assert isinstance(public, EllipticCurvePublicKey)
    signed = raw(signature["authenticator_data"]) + hashlib.sha256(client).digest()
    public.verify(raw(signature["value"]), signed, ECDSA(SHA256()))


def test_no_other_signature_approves_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with critical(tmp_path) as it:
            key, deputys, lone = SoftwareKey(), SoftwareKey("EdDSA"), SoftwareKey()
            credential = await ready(it, "security", key)
            await ready(it, "deputy", deputys)
            await registered(it, await it.person("security"), lone)
            one, other = await waiting(it), await waiting(it)
            approval, security, deputy = one["approval"], await it.person("security"), await it.person("deputy")
            mine, theirs = await asked(it, security, approval), await asked(it, deputy, approval)
            elsewhere = await asked(it, security, other["approval"])
            assert len({mine["challenge"], theirs["challenge"], elsewhere["challenge"]}) == 3

            async def refused(assertion: Any, who: Any = security, **more: Any) -> tuple[int, str]:
                return code(await it.review(who, approval, assertion=assertion, **more))

            assert await refused(key.get(elsewhere)) == (403, "signature.other_decision")
            assert await refused(key.get(theirs)) == (403, "signature.other_decision")
            assert await refused(deputys.get(theirs)) == (403, "signature.other_person")
            assert await refused(key.get(mine), deputy) == (403, "signature.other_person")
            assert await refused(lone.get(mine)) == (403, "signature.unconfirmed")
            assert await refused(SoftwareKey().get(mine)) == (403, "signature.unknown")
            assert await refused(key.get(mine, origin="https://evil.example")) == (403, "signature.origin")
            assert await refused(key.get(mine, rp_id="evil.example")) == (403, "signature.site")
            assert await refused(key.get(mine, flags=PRESENT)) == (403, "signature.not_verified")
            approving = key.get(mine)
            assert await refused(approving, verdict="deny") == (403, "signature.other_decision")
            assert await refused(approving, digest="0" * 64) == (403, "signature.other_decision")
            assert await refused(approving, narrow={"grace_seconds": 1}) == (400, "approval.narrow_signed")
            assert await refused({**approving, "response": {}}) == (400, "request.field")
            assert it.restarts("payments") == 0
            assert (await refused(approving))[0] == 200
            assert await refused(approving) == (403, "signature.replayed")
            assert code(await it.review(security, other["approval"], assertion=approving)) == (
                403,
                "signature.replayed",
            )
            again = await asked(it, security, other["approval"])
            assert code(await it.review(security, other["approval"], assertion=key.get(again, count=1))) == (
                403,
                "signature.count_back",
            )
            key.count = 100
            assert code(await gate_act(it, security, "remove", authenticator=credential)) == (200, "done")
            assert code(await it.review(security, other["approval"], assertion=key.get(again))) == (
                403,
                "signature.removed",
            )
            codes = {
                one["body"].get("outcome", {}).get("code") for one in await it.records() if one["kind"] == "outcome"
            }
            assert {"signature.replayed", "signature.other_decision", "signature.other_person"} <= codes

    asyncio.run(main())


def test_a_denial_needs_no_signature(tmp_path: Path) -> None:
    async def main() -> None:
        async with critical(tmp_path) as it:
            wants = await waiting(it)
            assert code(await it.review(await it.person("security"), wants["approval"], "deny"))[0] == 200

    asyncio.run(main())


def test_registering_needs_a_fresh_sign_in_and_its_own_person(tmp_path: Path) -> None:
    async def main() -> None:
        async with critical(tmp_path) as it:
            security = await it.person("security")
            told = (await gate_act(it, security, "read")).json()["result"]["value"]["creation"]
            made = SoftwareKey().create(told["publicKey"])
            deputy = await it.person("deputy")
            stolen = await gate_act(it, deputy, "register", until=told["until"], credential=made)
            assert code(stolen) == (400, "authenticator.invalid")
            behalf = await it.on_behalf(security)
            assert code(await gate_act(it, behalf, "register", until=told["until"], credential=made))[0] == 403
            assert code(await gate_act(it, await it.agent(), "read"))[0] == 403
            credential = await registered(it, security, SoftwareKey())
            assert code(await gate_act(it, security, "confirm", authenticator=credential)) == (403, "authenticator.own")
            oncall = await it.person("oncall")
            assert code(await gate_act(it, oncall, "confirm", authenticator=credential)) == (
                403,
                "allowlist.action_not_granted",
            )
            stranger = await it.person("stranger")
            assert code(await gate_act(it, stranger, "confirm", authenticator=credential)) == (
                404,
                "authenticator.not_found",
            )
            it.clock.advance(601)
            late = await gate_act(it, security, "register", until=told["until"], credential=made)
            assert code(late) == (401, "identity.presence_not_fresh")
            verbs = [
                one["body"]["authenticator"]["verb"] for one in await it.records() if one["kind"] == "authenticator"
            ]
            assert verbs == ["registered"]

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_of_two_reviews_with_one_signature_one_counts_on_any_replica(tmp_path: Path, kind: str) -> None:
    async def main() -> None:
        url = "" if kind == "sqlite" else fresh_database().replace("postgresql://", "postgresql+psycopg://", 1)
        async with contextlib.AsyncExitStack() as stack:
            it = await stack.enter_async_context(critical(tmp_path, store_url=url))
            there = it
            if url:
                (tmp_path / "b").mkdir()
                there = await stack.enter_async_context(replica(it, tmp_path / "b"))
            key = SoftwareKey(counts=False)
            await ready(it, "security", key)
            wants = await waiting(it)
            security = await it.person("security")
            assertion = key.get(await asked(it, security, wants["approval"]))
            both = await asyncio.gather(
                it.review(security, wants["approval"], assertion=assertion),
                there.review(security, wants["approval"], assertion=assertion, reason="again"),
            )
            statuses = sorted(answer.status_code for answer in both)
            assert statuses[0] == 200
            assert statuses[1] >= 400, [answer.text for answer in both]
            assert code(await it.outcome(await it.person("oncall"), wants["action_id"])) == (200, "done")
            assert it.restarts("payments") == 1

    asyncio.run(main())


def test_the_console_asks_for_the_signature_and_takes_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with critical(tmp_path) as it:
            sue, dep = await signed_in(it, "security"), await signed_in(it, "deputy")
            key = SoftwareKey()
            wants = await waiting(it)
            path = f"/console/inbox/{wants['approval']['id']}"
            assert "no security key in force" in (await sue.open(path)).text
            await sue.open("/console/keys")
            creation = _asked(sue)
            answer = json.dumps(key.create(creation))
            until = str(int(it.clock.now_ns() // 10**9) + 600)
            done = await sue.send("/console/keys", {"until": until, "credential": answer, "key": "r1"})
            assert done.status_code == 303, done.text
            assert "waits for a second person" in (await sue.open("/console/keys")).text
            assert key.id in (await dep.open("/console/keys")).text
            done = await dep.send("/console/keys/confirm", {"authenticator": key.id, "key": "c1"})
            assert done.status_code == 303, done.text
            await sue.open(path)
            asked_ = _asked(sue)
            assert "Sign and approve" in sue.text
            fields = {"digest": wants["approval"]["digest"], "verdict": "approve", "key": "k1"}
            without = await sue.send(f"{path}/reviews", fields)
            assert (without.status_code, "approval.signature" in without.text) == (401, True)
            evil = json.dumps(key.get(asked_, origin="https://evil.example"))
            wrong = await sue.send(f"{path}/reviews", {**fields, "credential": evil, "key": "k2"})
            assert (wrong.status_code, "signature.origin" in wrong.text) == (403, True)
            done = await sue.send(f"{path}/reviews", {**fields, "credential": json.dumps(key.get(asked_)), "key": "k3"})
            assert done.status_code == 303, done.text
            assert code(await it.outcome(await it.person("oncall"), wants["action_id"])) == (200, "done")
            await sue.client.aclose()
            await dep.client.aclose()

    asyncio.run(main())


def test_at_a_bare_ip_address_nothing_waits_for_a_signature_that_nobody_can_give_and_the_page_says_why(
    tmp_path: Path,
) -> None:
    address = "http://127.0.0.1:8480"

    async def main() -> None:
        async with critical(tmp_path) as it:
            await it.stop()
            it.settings = it.settings.model_copy(update={"gate": it.settings.gate.model_copy(update={"url": address})})
            await it.start()
            it.client.base_url = httpx.URL(address)
            person = await it.person("oncall")
            session = await it.session(person)
            asked_ = await it.act(person, RESTART, session, id_="payments")
            assert code(asked_) == (403, "approval.unsignable")
            assert "a bare IP address" in asked_.json()["detail"]
            assert "a domain name" in asked_.json()["remedy"]
            assert (await it.act(person, RESTART, session)).status_code == 202, "what needs no signature waits as ever"
            credential = SoftwareKey().create({"challenge": text(b"x" * 32)}, origin=address)
            new = await gate_act(it, await it.person("security"), "register", until=0, credential=credential)
            assert code(new) == (400, "authenticator.site")
            async with Visitor(it) as sue:
                sue.client.base_url = httpx.URL(address)
                await sue.sign_in("security")
                page = await sue.open("/console/keys")
                assert page.status_code == 200, page.text
                assert "No security key can be used here" in sue.text
                assert "data-webauthn" not in sue.text

    asyncio.run(main())


def _asked(visitor: Visitor) -> Any:
    """What the page's form asks the authenticator."""
    return json.loads(visitor.text.partition('data-webauthn="')[2].partition('">')[0])


def edited(kind: str, *path: str, value: Any = None) -> Any:
    """Change one field of every record of a kind; without a value it is gone."""

    def change(record: Any) -> None:
        if record["kind"] == kind:
            at = record["body"]
            for name in path[:-1]:
                at = at[name]
            at.pop(path[-1])
            at |= {path[-1]: value} if value is not None else {}

    return change


def test_the_log_shows_an_approval_that_lost_or_forged_its_signature(tmp_path: Path) -> None:
    async def main() -> list[bytes]:
        async with critical(tmp_path) as it:
            key = SoftwareKey("EdDSA")
            await ready(it, "security", key)
            wants = await waiting(it)
            security = await it.person("security")
            signed = key.get(await asked(it, security, wants["approval"]))
            assert code(await it.review(security, wants["approval"], assertion=signed))[0] == 200
            return [entry.encoded for entry in await it.gate.log.read("default", after=-1, limit=500)]

    leaves = [read(one) for one in asyncio.run(main())]

    def problem(change: Any) -> str:
        found = Signatures()
        for index, record in enumerate(leaves):
            copy: Any = orjson.loads(orjson.dumps(record))
            found.take(index, change(copy) or copy)
        return found.wrong[1] if found.wrong else ""

    forged = text(base64.urlsafe_b64decode(b"AAAA") * 21 + b"\x00")
    assert problem(lambda record: None) == ""
    assert problem(edited("review", "signature")) == "approves without the signature that policy wants"
    assert problem(edited("review", "approval", "digest", value="0" * 64)) == "what was signed is another decision"
    assert problem(edited("review", "policy", "digest", value="0" * 64)) == "what was signed is another decision"
    assert problem(edited("review", "plan", "fingerprint", value="0" * 64)) == "what was signed is another decision"
    assert problem(edited("review", "approval", "reviewers", value=["per_" + "0" * 32])) == (
        "its authenticator is another person's"
    )
    assert problem(edited("review", "signature", "value", value=forged)) == "its signature does not hold"
    assert problem(edited("review", "plan")) == "does not tell what was signed"
    assert problem(edited("authenticator", "authenticator", "verb", value="registered")) != ""

    def unconfirmed(record: Any) -> None:
        if record["kind"] == "authenticator" and record["body"]["authenticator"]["verb"] == "confirmed":
            record["kind"] = "config"

    assert problem(unconfirmed) == "its authenticator was not in force"
