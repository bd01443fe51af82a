"""What the development identity provider gives to agents, and everything it refuses to anybody."""

import json
import logging
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey

from broker.clock import SeededClock, seconds
from broker.errors import BrokerError
from broker.identity.dev import DevProvider, agent_key, new_code
from broker.model import PartyKind
from tests.sim.dev_idp import (
    ACCESS,
    AGENT,
    AUDIENCE,
    CODE,
    EXCHANGE,
    ISSUER,
    PERSONA,
    Dev,
    a_code,
    access,
    error,
    redeem,
)
from tests.sim.issuer import compact, sign


@pytest.fixture
def dev(clock: SeededClock) -> Dev:
    return Dev(clock)


# Only this machine, only in development


@pytest.mark.parametrize(
    "change",
    [{"dev": False}, {"code": "short"}, {"code": ""}],
)
def test_it_is_not_built_outside_development_or_with_a_code_that_can_be_guessed(
    change: dict[str, Any], clock: SeededClock
) -> None:
    with pytest.raises(ValueError, match="dev"):
        Dev(clock, **change)


@pytest.mark.parametrize(
    "issuer",
    [
        "http://10.0.0.1:8480/dev-idp",
        "http://gate.example/dev-idp",
        "https://localhost/dev-idp",
        "http://localhost.evil.example/d",
        "http://localhost/dev-idp/",
        "",
    ],
)
def test_it_is_not_built_for_an_issuer_elsewhere(issuer: str, clock: SeededClock) -> None:
    with pytest.raises(ValueError, match="this machine"):
        DevProvider(issuer, dev=True, audience=AUDIENCE, clock=clock, code=CODE, agent=AGENT)


@pytest.mark.parametrize("peer", ["10.0.0.7", "192.168.1.2", "testclient", "::ffff:10.0.0.1", ""])
def test_a_peer_on_another_machine_gets_nothing(peer: str, dev: Dev) -> None:
    for path in ("/jwks", "/.well-known/openid-configuration", "/authorize", "/nothing"):
        assert dev.send("GET", path, peer=peer).status_code == 403


@pytest.mark.parametrize("host", ["rebound.evil.example", "localhost", "127.0.0.1:8480", "localhost:8480.evil.example"])
def test_a_request_for_another_host_gets_nothing(host: str, dev: Dev) -> None:
    assert dev.send("GET", "/jwks", headers={"Host": host}).status_code == 403
    assert dev.send("GET", "/jwks").status_code == 200


def test_codes_for_printing_are_long_and_different() -> None:
    codes = {new_code() for _ in range(50)}
    assert len(codes) == 50
    assert {len(code) for code in codes} == {10}


def test_issued_tokens_do_not_reach_a_log_at_debug_level(dev: Dev, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        token = access(dev.persona())
        dev.agent()
    assert token.split(".")[2] not in caplog.text
    assert "eyJ" not in caplog.text


# Agents


def test_an_agent_gets_its_own_token_for_its_key(dev: Dev) -> None:
    who = dev.believe(access(dev.agent()))
    assert (who.subject.id, who.subject.kind, sorted(who.subject.roles)) == ("dev:agent-1", PartyKind.AGENT, ["agent"])
    assert (who.scopes, who.tenant, who.auth_time) == (frozenset({"gate"}), "default", None)


def test_an_agent_added_later_has_its_own_tenant(dev: Dev) -> None:
    key = ECKey.generate_key("P-256", {"kid": "agent-9"})
    dev.provider.add_agent("agent-9", key, tenant="emea")
    token = access(dev.agent(dev.assertion(key, "agent-9")))
    assert dev.believe(token).tenant == "emea"


def forged(dev: Dev, header: Mapping[str, Any], key: Any, algorithm: str, **changes: Any) -> str:
    now = seconds(dev.clock)
    claims = {
        "iss": "agent-1",
        "sub": "agent-1",
        "aud": ISSUER,
        "iat": now,
        "exp": now + 60,
        "jti": "assertion-1",
        **changes,
    }
    body = compact({name: value for name, value in claims.items() if value is not None})
    return sign(compact(header), body, key, algorithm)


ES = {"alg": "ES256", "kid": "agent-1"}


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://other.example"},
        {"aud": None},
        {"aud": [1]},
        {"aud": {}},
        {"exp": None},
        {"exp": 1},
        {"exp": 2**40},
        {"exp": "soon"},
        {"iss": "agent-2"},
        {"iss": None},
        {"sub": None},
        {"sub": ["agent-1"]},
        {"sub": "wicketgate-cli", "iss": "wicketgate-cli"},
        {"sub": "nobody", "iss": "nobody"},
        {"jti": None},
        {"jti": "short"},
        {"jti": 7},
    ],
    ids=repr,
)
def test_a_client_assertion_that_is_not_exactly_right_is_refused(changes: dict[str, Any], dev: Dev) -> None:
    assert error(dev.agent(forged(dev, ES, AGENT, "ES256", **changes))) == "invalid_client"


def test_a_client_assertion_by_another_key_or_a_weaker_algorithm_is_refused(dev: Dev) -> None:
    stranger = ECKey.generate_key("P-256")
    secret = OctKey.import_key(compact(AGENT.as_dict(private=False)))
    assert dev.agent(forged(dev, ES, AGENT, "ES256")).status_code == 200
    for assertion in (
        forged(dev, ES, stranger, "ES256", jti="assertion-2"),
        forged(dev, {"alg": "HS256"}, secret, "HS256", jti="assertion-2"),
        forged(dev, {"alg": "none"}, None, "none", jti="assertion-2"),
        "a.b.c",
        "é",
    ):
        assert error(dev.agent(assertion)) in {"invalid_client", "invalid_request"}


def test_a_client_assertion_works_once_until_it_has_expired_anyway(dev: Dev) -> None:
    assertion = dev.assertion()
    assert dev.agent(assertion).status_code == 200
    assert error(dev.agent(assertion)) == "invalid_client"
    dev.clock.advance(61)
    assert error(dev.agent(assertion)) == "invalid_client"


def test_an_agent_without_an_assertion_is_nobody(dev: Dev) -> None:
    assert error(dev.token(grant_type="client_credentials", client_id="agent-1")) == "invalid_client"
    assert error(dev.token(grant_type="client_credentials", client_id="agent-1", client_secret="")) == "invalid_client"


def test_an_agent_cannot_sign_in_as_a_person(dev: Dev) -> None:
    assert error(dev.persona(client_id="agent-1")) == "invalid_client"
    assert error(dev.agent(grant_type=PERSONA, persona="oncall", code=CODE)) == "invalid_client"


def test_the_agents_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "agent-1.jwk"
    first = agent_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    assert agent_key(path).as_dict(private=True) == first.as_dict(private=True) == json.loads(path.read_bytes())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# On behalf


def test_an_exchanged_token_names_both_and_lives_no_longer_than_the_persons(dev: Dev) -> None:
    person = access(dev.persona())
    dev.clock.advance(400)
    answer = dev.exchange(person)
    assert (answer.json()["expires_in"], answer.json()["issued_token_type"]) == (200, ACCESS)
    who = dev.believe(access(answer))
    assert [(p.id, p.kind, sorted(p.roles)) for p in who.parties] == [
        ("dev:oncall", PartyKind.HUMAN, ["oncall"]),
        ("dev:agent-1", PartyKind.AGENT, ["agent"]),
    ]
    assert (who.auth_time, who.acr) == (None, "")


def test_only_a_persons_own_token_in_force_can_be_exchanged(dev: Dev) -> None:
    person = access(dev.persona())
    first, second, third = person.split(".")
    for token in (
        access(dev.agent()),
        access(dev.exchange(person)),
        f"{first}.{second}.{third[::-1]}",
        redeem(dev, a_code(dev)).json()["id_token"],
        "a.b.c",
        "",
    ):
        assert error(dev.exchange(token)) == "invalid_grant"
    dev.clock.advance(600)
    assert error(dev.exchange(person)) == "invalid_grant"


@pytest.mark.parametrize(
    "change",
    [
        {"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"},
        {"subject_token_type": ""},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"actor_token": "x"},
        {"audience": "https://other.example"},
        {"resource": "https://other.example"},
    ],
    ids=repr,
)
def test_an_exchange_for_anything_else_is_refused(change: dict[str, str], dev: Dev) -> None:
    assert error(dev.exchange(access(dev.persona()), **change)) == "invalid_request"


def test_a_person_cannot_exchange_and_an_exchange_without_the_agents_key_fails(dev: Dev) -> None:
    person = access(dev.persona())
    assert (
        error(dev.exchange(person, client_assertion=dev.assertion(ECKey.generate_key("P-256", {"kid": "agent-1"}))))
        == "invalid_client"
    )
    form = {
        "grant_type": EXCHANGE,
        "subject_token": person,
        "subject_token_type": ACCESS,
        "client_id": "wicketgate-cli",
    }
    assert error(dev.token(**form)) == "invalid_client"


# Keys and requests


def test_a_former_key_stays_published_until_its_last_token_has_expired(dev: Dev) -> None:
    old = access(dev.persona())
    dev.provider.rotate_keys()
    assert len(json.loads(dev.provider.jwks())["keys"]) == 2
    assert dev.believe(old)
    dev.clock.advance(660)
    assert len(json.loads(dev.provider.jwks())["keys"]) == 1


def test_keys_rotate_by_themselves_once_a_day(dev: Dev) -> None:
    before = json.loads(dev.provider.jwks())["keys"]
    dev.clock.advance(86_400)
    assert dev.believe(access(dev.persona()))
    assert json.loads(dev.provider.jwks())["keys"][1:] == before


def test_no_private_member_is_published(dev: Dev) -> None:
    dev.provider.rotate_keys()
    for key in dev.send("GET", "/jwks").json()["keys"]:
        assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}


def test_every_endpoint_of_the_metadata_exists(dev: Dev) -> None:
    metadata = dev.send("GET", "/.well-known/openid-configuration").json()
    assert metadata["issuer"] == ISSUER
    for name, url in metadata.items():
        if name.endswith("_endpoint") or name == "jwks_uri":
            path = url.removeprefix(ISSUER)
            assert {dev.send(method, path).status_code for method in ("GET", "POST")} - {404, 405}


@pytest.mark.parametrize(
    "request_",
    [
        {"content": b"grant_type=x&grant_type=y", "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"content": b"{}", "headers": {"content-type": "application/json"}},
        {"content": b"grant_type=client_credentials"},
        {"content": b"a=" + b"x" * 40_000, "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {
            "content": b"&".join(b"a%d=1" % n for n in range(40)),
            "headers": {"content-type": "application/x-www-form-urlencoded"},
        },
        {"content": b"grant_type=%ff", "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"content": b"grant_type=%00", "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"content": b"grant_type=%0d%0aX:1", "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"content": b"grant_type=\xff", "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"content": b"nonsense", "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"data": {"grant_type": "password", "username": "x"}},
        {"data": {"grant_type": "client_credentials"}, "params": {"client_id": "agent-1"}},
        {"data": {}},
    ],
    ids=repr,
)
def test_a_request_that_is_no_clear_oauth_request_is_refused_and_never_a_server_error(
    request_: dict[str, Any], dev: Dev
) -> None:
    for path in ("/token", "/device/authorize"):
        assert dev.send("POST", path, **request_).status_code in {400, 401}
    for path in ("/device", f"/authorize?{dev.query()}"):
        assert dev.send("POST", path, **request_).status_code < 500


@pytest.mark.parametrize(
    "query",
    ["response_type=token", "a=%ff", "client_id=a&client_id=b", "x", "client_id=wicketgate-cli&redirect_uri=%22", "="],
)
def test_a_sign_in_request_that_cannot_be_read_gets_a_page_and_no_redirect(query: str, dev: Dev) -> None:
    answer = dev.send("GET", f"/authorize?{query}")
    assert (answer.status_code, "location" in answer.headers) == (400, False)


def test_refusals_of_the_gate_and_of_the_provider_are_told_apart(dev: Dev) -> None:
    with pytest.raises(BrokerError):
        dev.believe("x")
