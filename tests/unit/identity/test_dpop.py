"""Tokens bound to a key work only with a fresh proof of that key, for this very request."""

import asyncio
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey

from broker.clock import SeededClock, seconds
from broker.errors import Unauthenticated
from broker.identity import Certificate, Credential, Verifier
from broker.identity.dpop import Expected, ProofChecker
from tests.sim.issuer import Issuer, compact, dpop_proof, sign, thumbprint

URL = "https://gate.example/v1/actions"
KEY, OTHER = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")


def ask(clock: SeededClock, *, scheme: str = "DPoP", url: str = URL, bound: Any = None, **changes: Any) -> str:
    issuer = Issuer(clock)
    cnf = {"jkt": thumbprint(KEY)} if bound is None else bound
    token = issuer.token(issuer.claims(cnf=cnf or None))
    key = changes.pop("key", KEY)
    proof = changes.pop("proof", None)
    if proof is None:
        proof = dpop_proof(
            key, clock, changes.pop("token", token), changes.pop("method", "POST"), changes.pop("htu", URL), **changes
        )
    verifier = Verifier([issuer.profile(sender_constraint="dpop")], issuer.fetch, clock)
    try:
        asyncio.run(verifier.authenticate(Credential(f"{scheme} {token}", proof, "POST", url)))
    except Unauthenticated as error:
        return error.error_code
    return "believed"


def test_a_bound_token_with_its_proof_is_believed(clock: SeededClock) -> None:
    assert ask(clock) == "believed"


@pytest.mark.parametrize("htu", [URL + "?wait=5", URL + "#x", "https://GATE.example:443/v1/actions"])
def test_the_target_is_compared_as_a_url_without_query_and_fragment(htu: str, clock: SeededClock) -> None:
    assert ask(clock, htu=htu) == "believed"


@pytest.mark.parametrize(
    "case",
    [
        {"scheme": "Bearer"},
        {"proof": ""},
        {"proof": "a.b.c"},
        {"bound": {}},
        {"bound": {"jkt": ""}},
        {"bound": {"x5t#S256": "x"}},
        {"bound": {"jkt": thumbprint(KEY), "x5t#S256": "x"}},
        {"key": OTHER},
        {"jwk": OTHER.as_dict(private=False)},
        {"jwk": KEY.as_dict(private=True)},
        {"jwk": "k"},
        {"typ": "at+jwt"},
        {"method": "GET"},
        {"method": "post"},
        {"htu": "https://gate.example/v1/sessions"},
        {"htu": "https://gate.example:8443/v1/actions"},
        {"htu": "http://gate.example/v1/actions"},
        {"htu": "https://evil.example/v1/actions"},
        {"htu": "https://gate.example:x/"},
        {"htu": 7},
        {"token": "another"},
        {"ath": None},
        {"jti": None},
        {"jti": "short"},
        {"jti": "j" * 256},
        {"iat": None},
        {"iat": "now"},
        {"iat": 1},
        {"iat": 2**40},
    ],
    ids=lambda case: "-".join(f"{name}:{type(value).__name__}" for name, value in case.items()),
)
def test_a_bound_token_without_exactly_its_proof_is_refused(case: dict[str, Any], clock: SeededClock) -> None:
    assert ask(clock, **case) == "identity.bound_unproven"


def test_a_proof_works_once_even_while_the_token_is_cached(clock: SeededClock) -> None:
    issuer = Issuer(clock)
    verifier = Verifier([issuer.profile(sender_constraint="dpop")], issuer.fetch, clock)
    token = issuer.token(issuer.claims(cnf={"jkt": thumbprint(KEY)}))

    def send(proof: str) -> None:
        asyncio.run(verifier.authenticate(Credential(f"DPoP {token}", proof, "POST", URL)))

    first = dpop_proof(KEY, clock, token, "POST", URL)
    send(first)
    with pytest.raises(Unauthenticated, match="used before"):
        send(first)
    send(dpop_proof(KEY, clock, token, "POST", URL, jti="proof-0002"))
    with pytest.raises(Unauthenticated):
        asyncio.run(verifier.authenticate(Credential(f"Bearer {token}")))


def test_recognising_a_token_before_its_request_is_read_does_not_use_up_the_proof(clock: SeededClock) -> None:
    issuer = Issuer(clock)
    verifier = Verifier([issuer.profile(sender_constraint="dpop")], issuer.fetch, clock)
    token = issuer.token(issuer.claims(cnf={"jkt": thumbprint(KEY)}))
    shown = Credential(f"DPoP {token}", dpop_proof(KEY, clock, token, "POST", URL), "POST", URL)

    async def main() -> None:
        await verifier.recognise(shown)
        await verifier.authenticate(shown)
        for wrong in ("", "DPoP x", f"DPoP {token[:-4]}AAAA"):
            with pytest.raises(Unauthenticated):
                await verifier.recognise(Credential(wrong))
        with pytest.raises(Unauthenticated, match="used before"):
            await verifier.authenticate(shown)

    asyncio.run(main())


def test_a_proof_signed_with_a_shared_secret_is_refused(clock: SeededClock) -> None:
    secret = OctKey.import_key("s" * 32)
    header = compact({"typ": "dpop+jwt", "alg": "HS256", "jwk": secret.as_dict(private=True)})
    assert ask(clock, proof=sign(header, b"{}", secret, "HS256")) == "identity.bound_unproven"


def test_a_full_memory_of_proofs_accepts_no_more_until_old_ones_expire(clock: SeededClock) -> None:
    checker = ProofChecker(proofs_max=2)

    def send(n: int) -> None:
        proof = dpop_proof(KEY, clock, "token", "POST", URL, jti=f"proof-{n:04}")
        asyncio.run(checker.check(proof, Expected("token", thumbprint(KEY), "POST", URL), seconds(clock), "default"))

    send(1)
    send(2)
    with pytest.raises(Unauthenticated):
        send(3)
    clock.advance(61)
    send(3)


def test_a_proof_from_before_the_start_counts_where_others_remember_it_alone(clock: SeededClock) -> None:
    """A process that was started again has forgotten what it saw; replicas that share a memory have not."""
    expected = Expected("token", thumbprint(KEY), "POST", URL)
    noted: list[tuple[str, int]] = []

    async def uses(tenant: str, proof: str, until: int) -> bool:
        noted.append((tenant, until))
        return len(noted) == 1

    proof = dpop_proof(KEY, clock, "token", "POST", URL)
    issued = seconds(clock)
    clock.advance(5)
    now = seconds(clock)
    alone = ProofChecker(since_s=now)
    with pytest.raises(Unauthenticated, match="before the gate's start"):
        asyncio.run(alone.check(proof, expected, now, "default"))
    asyncio.run(ProofChecker(since_s=now, uses=uses).check(proof, expected, now, "default"))
    with pytest.raises(Unauthenticated, match="used before"):
        asyncio.run(ProofChecker(since_s=now, uses=uses).check(proof, expected, now, "default"))
    assert noted == [("default", issued + 60)] * 2


def test_a_token_bound_to_a_certificate_needs_that_certificate_at_every_request(clock: SeededClock) -> None:
    issuer = Issuer(clock)
    verifier = Verifier([issuer.profile(sender_constraint="mtls")], issuer.fetch, clock)
    shown, other = Certificate(b"theirs"), Certificate(b"another's")
    bearer = f"Bearer {issuer.token(issuer.claims(cnf={'x5t#S256': shown.thumbprint}))}"
    assert asyncio.run(verifier.authenticate(Credential(bearer, certificate=shown))).subject.id == "corp:alice"
    for credential in (
        Credential(bearer),
        Credential(bearer, certificate=other),
        Credential("DPoP" + bearer[6:], certificate=shown),
    ):
        with pytest.raises(Unauthenticated) as refusal:
            asyncio.run(verifier.authenticate(credential))
        assert refusal.value.error_code == "identity.bound_unproven"
