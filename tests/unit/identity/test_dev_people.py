"""People at the development identity provider: by printed code, by browser, by device."""

from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from broker.clock import SeededClock, seconds
from broker.errors import Unauthenticated
from broker.identity.dev import Persona
from broker.model import PartyKind
from tests.sim.dev_idp import CODE, DEVICE, ISSUER, Dev, a_code, access, error, redeem


@pytest.fixture
def dev(clock: SeededClock) -> Dev:
    return Dev(clock)


@pytest.mark.parametrize(
    ("name", "role"),
    [("oncall", "oncall"), ("security", "security"), ("deputy", "security"), ("auditor", "auditor")],
)
def test_a_persona_gets_a_token_for_the_printed_code(name: str, role: str, dev: Dev) -> None:
    who = dev.believe(access(dev.persona(name)))
    assert (who.subject.id, who.subject.kind, who.subject.roles) == (f"dev:{name}", PartyKind.HUMAN, frozenset({role}))
    assert (who.auth_time, who.acr, who.actor) == (seconds(dev.clock), "dev-code", None)
    assert who.expires_at == seconds(dev.clock) + 600


@pytest.mark.parametrize(
    "form",
    [
        {"code": "WRONGCODE1"},
        {"code": ""},
        {"code": CODE.lower()},
        {"persona": "root"},
        {"persona": "agent-1"},
        {"persona": "", "code": ""},
    ],
    ids=repr,
)
def test_a_wrong_code_and_a_wrong_persona_get_the_same_answer(form: dict[str, str], dev: Dev) -> None:
    wrong, other = dev.persona(**form), dev.persona(code="WRONGCODE2")
    assert error(wrong) == error(other) == "invalid_grant"
    assert wrong.json() == other.json()


def test_after_five_wrong_codes_the_right_one_is_refused_for_half_a_minute(dev: Dev) -> None:
    for n in range(5):
        assert error(dev.persona(code=f"WRONGCODE{n}")) == "invalid_grant"
    assert error(dev.persona()) == "invalid_grant"
    dev.clock.advance(29)
    assert error(dev.persona()) == "invalid_grant"
    dev.clock.advance(1)
    assert dev.persona().status_code == 200


def test_guessing_persona_names_counts_as_guessing_codes(dev: Dev) -> None:
    for n in range(5):
        dev.persona(name=f"nobody-{n}")
    assert error(dev.persona()) == "invalid_grant"


def test_people_of_another_tenant_are_in_that_tenant(clock: SeededClock) -> None:
    dev = Dev(clock, people={"eva": Persona("eva", ("oncall",), "emea")})
    assert dev.believe(access(dev.persona("eva"))).tenant == "emea"


def test_a_wrong_code_on_the_page_shows_the_page_again_and_no_code_leaves(dev: Dev) -> None:
    answer = dev.sign_in(dev.query(), code="WRONGCODE1")
    assert (answer.status_code, "location" in answer.headers) == (403, False)


def test_the_code_flow_ends_at_the_client_with_code_state_and_issuer(dev: Dev) -> None:
    answer = dev.sign_in(dev.query(nonce="n-1"))
    assert answer.status_code == 303
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert (query["state"], query["iss"]) == (["s-1"], [ISSUER])
    tokens = redeem(dev, query["code"][0])
    assert dev.believe(access(tokens)).subject.id == "dev:oncall"
    with pytest.raises(Unauthenticated):
        dev.believe(tokens.json()["id_token"])


@pytest.mark.parametrize(
    "change",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"redirect_uri": "http://127.0.0.1:5001/callback"},
        {"client_id": "wicketgate-console"},
        {"client_id": "agent-1"},
        {"code": "guess"},
    ],
    ids=repr,
)
def test_a_code_in_other_hands_is_worth_nothing_and_is_used_up_by_the_attempt(change: dict[str, str], dev: Dev) -> None:
    code = a_code(dev)
    assert error(redeem(dev, code, **change)) in {
        "invalid_grant",
        "invalid_request",
        "invalid_client",
        "unauthorized_client",
    }
    if change.keys() & {"code_verifier", "redirect_uri"}:
        assert error(redeem(dev, code)) == "invalid_grant"


def test_a_code_expires_after_a_minute_and_works_once(dev: Dev) -> None:
    late, used = a_code(dev), a_code(dev)
    assert redeem(dev, used).status_code == 200
    assert error(redeem(dev, used)) == "invalid_grant"
    dev.clock.advance(60)
    assert error(redeem(dev, late)) == "invalid_grant"


@pytest.mark.parametrize(
    "change",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"code_challenge": "short"},
        {"scope": "openid root"},
    ],
    ids=repr,
)
def test_a_request_without_pkce_or_with_unknown_scopes_goes_back_to_the_client_with_an_error(
    change: dict[str, str | None], dev: Dev
) -> None:
    answer = dev.send("GET", f"/authorize?{dev.query(**change)}")
    assert answer.status_code == 303
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query["error"][0] in {"invalid_request", "invalid_scope"}
    assert query["state"] == ["s-1"]


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://evil.example/callback",
        "http://evil.example/callback",
        "http://127.0.0.1.evil.example/callback",
        "http://127.0.0.1@evil.example/callback",
        "http://localhost:5000/callback",
        "http://127.0.0.1:5000/other",
        "http://127.0.0.1:5000/callback/../x",
        "http://127.0.0.1:5000/callback?x=1",
        "http://127.0.0.1:5000/callback#x",
        "HTTP://127.0.0.1:5000/callback",
        "wicketgate://callback",
        "javascript:alert(1)",
        "//127.0.0.1/callback",
        "",
    ],
)
def test_nothing_is_ever_sent_to_a_redirect_uri_that_is_not_the_clients(redirect_uri: str, dev: Dev) -> None:
    query = dev.query(redirect_uri=redirect_uri)
    for answer in (dev.send("GET", f"/authorize?{query}"), dev.sign_in(query)):
        assert (answer.status_code, "location" in answer.headers) == (400, False)


def test_the_console_has_exactly_its_configured_redirect_uri(clock: SeededClock) -> None:
    uri = "http://localhost:8480/login/callback"
    dev = Dev(clock, console_redirect_uris=(uri,))
    query = dev.query(client_id="wicketgate-console", redirect_uri=uri)
    assert dev.send("GET", f"/authorize?{query}").status_code == 200
    query = dev.query(client_id="wicketgate-console", redirect_uri="http://127.0.0.1:5000/callback")
    assert dev.send("GET", f"/authorize?{query}").status_code == 400


@pytest.mark.parametrize("client", ["nobody", "agent-1", None])
def test_only_clients_for_people_may_ask_people_to_sign_in(client: str | None, dev: Dev) -> None:
    assert dev.send("GET", f"/authorize?{dev.query(client_id=client)}").status_code == 400


def test_a_person_who_denies_sends_the_client_away(dev: Dev) -> None:
    answer = dev.sign_in(dev.query(), verdict="deny")
    assert parse_qs(urlsplit(answer.headers["location"]).query)["error"] == ["access_denied"]


def test_what_a_request_says_is_shown_as_text_and_the_page_runs_no_script(dev: Dev) -> None:
    attack = "<script>alert(1)</script>"
    answer = dev.send("GET", f"/authorize?{dev.query(state=attack)}")
    assert "<script" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "<script" not in dev.send("GET", f"/device?{urlencode({'user_code': attack})}").text


# Devices


def start_device(dev: Dev) -> dict[str, Any]:
    answer = dev.send("POST", "/device/authorize", data={"client_id": "wicketgate-cli", "scope": "gate"})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def poll(dev: Dev, device: dict[str, Any], **changes: str) -> httpx.Response:
    form = {"grant_type": DEVICE, "device_code": device["device_code"], "client_id": "wicketgate-cli"}
    return dev.token(**{**form, **changes})


def let_in(dev: Dev, device: dict[str, Any], **changes: str) -> httpx.Response:
    form = {"user_code": device["user_code"], "persona": "security", "code": CODE, "verdict": "allow"}
    return dev.send("POST", "/device", data={**form, **changes})


def test_a_device_waits_for_its_person_and_gets_one_token(dev: Dev) -> None:
    device = start_device(dev)
    assert device["verification_uri"] == f"{ISSUER}/device"
    assert error(poll(dev, device)) == "authorization_pending"
    assert device["user_code"] in dev.send("GET", f"/device?user_code={device['user_code']}").text
    assert let_in(dev, device).status_code == 200
    assert dev.believe(access(poll(dev, device))).subject.id == "dev:security"
    assert error(poll(dev, device)) == "invalid_request"


def test_a_device_that_asks_too_often_is_told_to_slow_down(dev: Dev) -> None:
    device = start_device(dev)
    assert error(poll(dev, device)) == "authorization_pending"
    dev.clock.advance(4)
    assert error(poll(dev, device)) == "slow_down"
    dev.clock.advance(9)
    assert error(poll(dev, device)) == "slow_down"
    dev.clock.advance(16)
    assert error(poll(dev, device)) == "authorization_pending"


def test_a_device_is_let_in_only_with_the_printed_code(dev: Dev) -> None:
    device = start_device(dev)
    assert let_in(dev, device, code="WRONGCODE1").status_code == 403
    assert let_in(dev, device, user_code="BBBB-BBBB").status_code == 403
    assert error(poll(dev, device)) == "authorization_pending"


def test_a_refused_device_hears_it_once(dev: Dev) -> None:
    device = start_device(dev)
    let_in(dev, device, verdict="deny")
    assert error(poll(dev, device)) == "access_denied"
    assert error(poll(dev, device)) == "invalid_request"


def test_a_refusal_of_a_device_needs_the_code_too(dev: Dev) -> None:
    device = start_device(dev)
    assert let_in(dev, device, verdict="deny", code="").status_code == 403
    assert error(poll(dev, device)) == "authorization_pending"


def test_a_device_code_expires_and_belongs_to_its_client(dev: Dev) -> None:
    device = start_device(dev)
    assert error(poll(dev, device, client_id="wicketgate-console")) == "unauthorized_client"
    dev.clock.advance(600)
    assert error(poll(dev, device)) == "invalid_request"
    assert let_in(dev, device).status_code == 403


def test_waiting_devices_are_bounded(dev: Dev) -> None:
    waiting = dev.provider.server.devices
    for n in range(waiting._entries_max):
        waiting.put(str(n), None, 600)  # type: ignore[arg-type]
    answer = dev.send("POST", "/device/authorize", data={"client_id": "wicketgate-cli"})
    assert answer.status_code == 503
    dev.clock.advance(600)
    assert start_device(dev)
