"""Sign-in to the console against a provider that lies: every check of the ID token, the two tokens and the logout token."""

import asyncio
import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from broker.clock import SeededClock, seconds
from broker.errors import BadRequest, BrokerError, Unauthenticated, Unavailable
from broker.identity import Client, SignedIn, SignIn, Verifier
from broker.identity.login import LOGOUT_EVENT
from tests.sim.issuer import AUDIENCE, Issuer, b64, compact

KEY = b"k" * 32
CLIENT = Client("console", "https://gate.example/console/callback", "https://gate.example/console/signedout")
Change = Callable[[dict[str, Any]], Mapping[str, Any]]


class Provider:
    """An issuer with a token endpoint; ``access`` and ``identity`` change the claims of what it gives."""

    def __init__(self, clock: SeededClock, client: Client = CLIENT, **metadata: Any) -> None:
        self.issuer = Issuer(clock)
        self.clock = clock
        self.client = client
        self.metadata = metadata
        self.access: dict[str, Any] = {}
        self.identity: dict[str, Any] = {}
        self.header: dict[str, Any] = {"typ": "JWT"}
        self.answer: dict[str, Any] | None = None
        self.posted: list[tuple[str, Mapping[str, str], str]] = []
        self.nonce = ""
        verifier = Verifier([self.issuer.profile()], self.fetch, clock)
        profile = verifier.profile("corp")
        assert profile is not None
        self.sign_in = SignIn(profile, client, verifier, fetch=self.fetch, post=self.post, clock=clock, key=KEY)

    async def fetch(self, url: str) -> bytes:
        if url.endswith("openid-configuration"):
            if self.issuer.down:
                raise self.issuer.down
            known = {
                "issuer": self.issuer.url,
                "authorization_endpoint": f"{self.issuer.url}/authorize",
                "token_endpoint": f"{self.issuer.url}/token",
                "end_session_endpoint": f"{self.issuer.url}/logout?x=1",
            }
            return compact({**known, **self.metadata})
        return await self.issuer.fetch(url)

    async def post(self, url: str, form: Mapping[str, str], authorization: str) -> tuple[int, bytes]:
        self.posted.append((url, form, authorization))
        if self.answer is not None:
            return 200, compact(self.answer)
        access = self.issuer.token(self.issuer.claims(**self.access))
        now = seconds(self.clock)
        claims = {
            "iss": self.issuer.url,
            "sub": "alice",
            "aud": self.client.client_id,
            "iat": now,
            "exp": now + 300,
            "nonce": self.nonce,
            "auth_time": now,
            "acr": "mfa",
            "sid": "s-1",
            "at_hash": b64(hashlib.sha256(access.encode()).digest()[:16]),
            **self.identity,
        }
        kept = {name: value for name, value in claims.items() if value is not None}
        return 200, compact({"access_token": access, "id_token": self.issuer.token(kept, **self.header)})

    async def begun(self, *, fresh: bool = False) -> tuple[dict[str, str], str]:
        """The parameters of the request, and what the browser keeps."""
        begun = await self.sign_in.begin("/console/inbox", fresh=fresh)
        asked = {name: one for name, (one,) in parse_qs(urlsplit(begun.url).query).items()}
        self.nonce = asked["nonce"]
        return asked, begun.kept

    async def signed_in(self, *, fresh: bool = False, query: str = "") -> SignedIn:
        asked, kept = await self.begun(fresh=fresh)
        return await self.sign_in.finish(query or f"code=c&state={asked['state']}", kept)

    def logout_token(self, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        now = seconds(self.clock)
        claims = {
            "iss": self.issuer.url,
            "aud": "console",
            "iat": now,
            "exp": now + 120,
            "jti": "l-1",
            "sub": "alice",
            "events": {LOGOUT_EVENT: {}},
            **changes,
        }
        kept = {name: value for name, value in claims.items() if value is not None}
        return self.issuer.token(kept, **{"typ": "logout+jwt", **(header or {})})


def refused(provider: Provider, *, fresh: bool = False, query: str = "") -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        asyncio.run(provider.signed_in(fresh=fresh, query=query))
    return caught.value


def test_the_person_is_who_the_access_token_says_with_the_presence_of_the_id_token(clock: SeededClock) -> None:
    provider = Provider(clock)
    provider.identity = {"auth_time": seconds(clock) - 30, "acr": "phishing-resistant"}
    done = asyncio.run(provider.signed_in())
    who = done.principal
    assert (done.to, done.sid) == ("/console/inbox", "s-1")
    assert (who.subject.id, sorted(who.subject.roles), who.tenant) == ("corp:alice", ["oncall"], "default")
    assert (who.auth_time, who.acr) == (seconds(clock) - 30, "phishing-resistant")


def test_the_code_is_redeemed_with_the_verifier_of_its_challenge_and_the_clients_secret(clock: SeededClock) -> None:
    provider = Provider(clock, replace(CLIENT, secret="s:/ %", resource=AUDIENCE))

    async def main() -> None:
        asked, kept = await provider.begun()
        await provider.sign_in.finish(f"code=c&state={asked['state']}", kept)
        ((url, form, authorization),) = provider.posted
        assert url == "https://id.example/token"
        assert b64(hashlib.sha256(form["code_verifier"].encode()).digest()) == asked["code_challenge"]
        assert (form["grant_type"], form["code"], form["resource"]) == ("authorization_code", "c", AUDIENCE)
        assert base64.b64decode(authorization.removeprefix("Basic ")) == b"console:s%3A%2F%20%25"
        assert "secret" not in repr(provider.client)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"nonce": "another"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"aud": "another"}, "another client"),
        ({"aud": ["console", "another"]}, "another client"),
        ({"aud": ["console", "another"], "azp": "another"}, "another client"),
        ({"azp": "another"}, "another client"),
        ({"exp": 1}, "not in force"),
        ({"exp": None}, "not in force"),
        ({"exp": "9"}, "not in force"),
        ({"iat": 1}, "not in force"),
        ({"iat": 10**10}, "not in force"),
        ({"sub": "bob"}, "different people"),
        ({"at_hash": "AAAA"}, "belong together"),
        ({"events": {}}, "no ID token"),
    ],
)
def test_an_id_token_that_does_not_fit_signs_nobody_in(clock: SeededClock, claims: dict[str, Any], said: str) -> None:
    provider = Provider(clock)
    provider.identity = claims
    error = refused(provider)
    assert (type(error), error.error_code) == (Unauthenticated, "login.mismatch")
    assert said in error.detail


@pytest.mark.parametrize("kind", ["at+jwt", "logout+jwt", "dpop+jwt"])
def test_another_kind_of_token_is_no_id_token(clock: SeededClock, kind: str) -> None:
    provider = Provider(clock)
    provider.header = {"typ": kind}
    assert refused(provider).error_code == "login.mismatch"


def test_an_id_token_of_another_key_or_another_issuer_signs_nobody_in(clock: SeededClock) -> None:
    provider, other = Provider(clock), Issuer(clock)
    asked: dict[str, str] = {}

    async def main() -> None:
        nonlocal asked
        asked, kept = await provider.begun()
        access = provider.issuer.token()
        forged = other.token({"iss": provider.issuer.url, "sub": "alice", "aud": "console", "nonce": asked["nonce"]})
        provider.answer = {"access_token": access, "id_token": forged}
        await provider.sign_in.finish(f"code=c&state={asked['state']}", kept)

    with pytest.raises(Unauthenticated) as caught:
        asyncio.run(main())
    assert caught.value.error_code == "identity.bad_signature"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"sub": "agent-1", "client_id": "agent-1"}, "login.not_a_person"),
        ({"client_id": "agent-1"}, "login.not_a_person"),
        ({"act": {"sub": "agent-1"}, "client_id": "agent-1"}, "login.not_a_person"),
        ({"aud": "https://other.example"}, "identity.wrong_audience"),
        ({"exp": 1, "iat": 0}, "identity.expired"),
    ],
)
def test_an_access_token_that_is_no_persons_own_signs_nobody_in(
    clock: SeededClock, claims: dict[str, Any], code: str
) -> None:
    provider = Provider(clock)
    provider.access = claims
    assert refused(provider).error_code == code


@pytest.mark.parametrize("answer", [{}, {"access_token": "x"}, {"id_token": "x"}, {"access_token": 1, "id_token": 2}])
def test_an_answer_without_both_tokens_signs_nobody_in(clock: SeededClock, answer: dict[str, Any]) -> None:
    provider = Provider(clock)
    provider.answer = answer
    assert refused(provider).error_code == "login.mismatch"


def test_the_answer_must_name_the_issuer_where_the_provider_promises_to(clock: SeededClock) -> None:
    promising = Provider(clock, authorization_response_iss_parameter_supported=True)
    assert "another provider" in refused(promising).detail


# -- step-up ---------------------------------------------------------------------------------------------------------------


def test_a_step_up_asks_for_presence_and_believes_only_what_was_done(clock: SeededClock) -> None:
    provider = Provider(clock, replace(CLIENT, step_up_acr=("hwk", "mfa")))
    asked, _ = asyncio.run(provider.begun(fresh=True))
    assert (asked["prompt"], asked["max_age"], asked["acr_values"]) == ("login", "0", "hwk mfa")
    assert asyncio.run(provider.signed_in(fresh=True)).principal.acr == "mfa"
    for claims, code in (
        ({"auth_time": seconds(clock) - 31}, "login.not_fresh"),
        ({"auth_time": None}, "login.not_fresh"),
        ({"acr": "pwd"}, "login.acr"),
        ({"acr": None}, "login.acr"),
    ):
        provider.identity = claims
        assert refused(provider, fresh=True).error_code == code
    provider.identity = {"acr": "pwd", "acrs": ["hwk"]}
    assert asyncio.run(provider.signed_in(fresh=True)).principal.acr == "hwk"


# -- what the browser carries ----------------------------------------------------------------------------------------------


def test_what_the_browser_carries_is_sealed_and_of_this_gate(clock: SeededClock) -> None:
    provider = Provider(clock)

    async def main() -> None:
        asked, kept = await provider.begun()
        raw = base64.urlsafe_b64decode(kept + "=" * (-len(kept) % 4))
        assert asked["nonce"].encode() not in raw
        flipped = base64.urlsafe_b64encode(raw[:-1] + bytes([raw[-1] ^ 1])).decode()
        for other in ("", "x", kept[:-4], flipped, "\u00e9"):
            with pytest.raises(Unauthenticated):
                await provider.sign_in.finish(f"code=c&state={asked['state']}", other)
        with pytest.raises(Unauthenticated):
            await provider.sign_in.finish(f"code=c&state={asked['state']}&state={asked['state']}", kept)
        await provider.sign_in.finish(f"code=c&state={asked['state']}", kept)

    asyncio.run(main())


# -- a provider that is away or another one --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://other.example"},
        {"authorization_endpoint": "http://id.example/authorize"},
        {"token_endpoint": None},
        {"token_endpoint": "https://user@id.example/token"},
    ],
)
def test_metadata_that_is_not_the_issuers_own_ends_the_sign_in(clock: SeededClock, metadata: dict[str, Any]) -> None:
    error = refused(Provider(clock, **metadata))
    assert (type(error), error.error_code) == (Unavailable, "login.provider")


def test_a_provider_that_is_away_is_unavailable_and_logs_nobody_out_remotely(clock: SeededClock) -> None:
    provider = Provider(clock)
    provider.issuer.down = OSError("away")
    assert refused(provider).error_code == "login.provider"
    assert asyncio.run(provider.sign_in.logout_url()) == ""
    provider.issuer.down = None
    url = asyncio.run(provider.sign_in.logout_url())
    assert url.startswith("https://id.example/logout?x=1&client_id=console&post_logout_redirect_uri=https%3A%2F%2Fgate")


# -- back-channel logout ---------------------------------------------------------------------------------------------------


def test_a_logout_token_names_person_session_or_both(clock: SeededClock) -> None:
    provider = Provider(clock)
    ended = asyncio.run(provider.sign_in.ended(provider.logout_token()))
    assert (ended.subject, ended.sid) == ("corp:alice", "")
    ended = asyncio.run(provider.sign_in.ended(provider.logout_token(sub=None, sid="s-1")))
    assert (ended.subject, ended.sid) == ("", "s-1")


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"typ": "JWT"}, {}),
        ({"typ": "at+jwt"}, {}),
        ({}, {"events": None}),
        ({}, {"events": {}}),
        ({}, {"events": {LOGOUT_EVENT: 1}}),
        ({}, {"nonce": "n"}),
        ({}, {"aud": "another"}),
        ({}, {"iat": 1}),
        ({}, {"iat": None}),
        ({}, {"exp": 1}),
        ({}, {"jti": None}),
        ({}, {"sub": None}),
        ({}, {"iss": "https://other.example"}),
    ],
)
def test_a_logout_token_with_anything_wrong_ends_nothing(
    clock: SeededClock, header: dict[str, Any], claims: dict[str, Any]
) -> None:
    provider = Provider(clock)
    with pytest.raises(BadRequest) as caught:
        asyncio.run(provider.sign_in.ended(provider.logout_token(header, **claims)))
    assert caught.value.error_code == "login.logout_token"
