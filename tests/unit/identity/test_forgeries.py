"""The table of tokens that must not be believed. Each row forges exactly one thing of a token that is otherwise good."""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.jwk import ECKey, OctKey

from broker.clock import SeededClock, seconds
from broker.errors import Unauthenticated
from broker.identity import Credential, Verifier
from broker.identity.jose import ALGORITHMS, take_apart, verify
from tests.sim.issuer import AUDIENCE, Issuer, b64, compact, rsa_key, sign

FAR = 10**300
Forge = Callable[[Issuer], str]


@dataclass(frozen=True)
class Row:
    name: str
    code: str
    forge: Forge


def segments(token: str) -> list[str]:
    return token.split(".")


def with_public_key_as_secret(issuer: Issuer, form: Callable[[Any], bytes]) -> str:
    """The classic confusion: HMAC keyed with the public key that the verifier holds."""
    secret = OctKey.import_key(form(issuer.keys[issuer.current]), {"kid": issuer.current})
    header = compact({"alg": "HS256", "typ": "at+jwt", "kid": issuer.current})
    return sign(header, compact(issuer.claims()), secret, "HS256")


def spelled_differently(issuer: Issuer) -> str:
    """The signature's last character changed in the bits that base64 drops: the same bytes, another text."""
    token = issuer.token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = token[:-1] + alphabet[alphabet.index(token[-1]) + 1]
    padding = "=" * (-len(segments(token)[2]) % 4)
    assert base64.urlsafe_b64decode(segments(twin)[2] + padding) == base64.urlsafe_b64decode(
        segments(token)[2] + padding
    )
    return twin


def twice(issuer: Issuer, name: str, first: str, then: str) -> bytes:
    body = json.dumps(issuer.claims())
    return f"{{{json.dumps(name)}:{first},{body[1:-1]},{json.dumps(name)}:{then}}}".encode()


def stranger(issuer: Issuer) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": issuer.current, "use": "sig"})


def changed(**claims: Any) -> Forge:
    return lambda issuer: issuer.token(issuer.claims(**claims))


def header(**members: Any) -> Forge:
    return lambda issuer: issuer.token(**members)


def at_time(name: str, delta: int) -> Forge:
    return lambda issuer: issuer.token(issuer.claims(**{name: seconds(issuer.clock) + delta}))


ROWS = [
    # Signature and algorithm
    Row(
        "alg none, no signature",
        "identity.malformed",
        lambda i: sign(i.header(alg="none"), compact(i.claims()), None, "none"),
    ),
    Row("alg none, a signature kept", "identity.bad_signature", header(alg="none")),
    Row("alg NONE in capitals", "identity.bad_signature", header(alg="NonE")),
    Row(
        "HS256 keyed with the public PEM",
        "identity.bad_signature",
        lambda i: with_public_key_as_secret(i, lambda k: k.as_pem(private=False)[:-1].replace(b"-----", b"")),
    ),
    Row(
        "HS256 keyed with the public JWK",
        "identity.bad_signature",
        lambda i: with_public_key_as_secret(i, lambda k: compact(k.as_dict(private=False))),
    ),
    Row("an algorithm the issuer may not use", "identity.bad_signature", header(alg="ES384")),
    Row("RS256 claimed for an EC key", "identity.bad_signature", header(alg="RS256")),
    Row(
        "another's key under the issuer's kid",
        "identity.bad_signature",
        lambda i: sign(i.header(), compact(i.claims()), stranger(i), "ES256"),
    ),
    Row(
        "payload changed",
        "identity.bad_signature",
        lambda i: ".".join([segments(i.token())[0], b64(compact(i.claims(sub="root"))), segments(i.token())[2]]),
    ),
    Row(
        "header changed",
        "identity.bad_signature",
        lambda i: ".".join([b64(i.header(cty="x")), *segments(i.token())[1:]]),
    ),
    Row(
        "signature cut short", "identity.bad_signature", lambda i: ".".join([*segments(i.token())[:2], b64(bytes(60))])
    ),
    Row("signature all zero", "identity.bad_signature", lambda i: ".".join([*segments(i.token())[:2], b64(bytes(64))])),
    Row(
        "signature in DER",
        "identity.bad_signature",
        lambda i: ".".join([*segments(i.token())[:2], b64(b"\x30\x44" + bytes(68))]),
    ),
    # Keys named by the token
    Row("no kid", "identity.malformed", header(kid=None)),
    Row("empty kid", "identity.malformed", header(kid="")),
    Row("kid not text", "identity.malformed", header(kid=7)),
    Row("kid is a path", "identity.unknown_key", header(kid="../../dev/null")),
    Row("kid is SQL", "identity.unknown_key", header(kid="' UNION SELECT 'k1")),
    Row("kid is a URL", "identity.unknown_key", header(kid="https://evil.example/k1")),
    Row("header jku", "identity.malformed", header(jku="https://evil.example/jwks")),
    Row("header x5u", "identity.malformed", header(x5u="https://evil.example/cert")),
    Row("header x5c", "identity.malformed", header(x5c=["MIIB"])),
    Row("header jwk", "identity.malformed", lambda i: i.token(jwk=i.keys[i.current].as_dict(private=False))),
    Row("header crit", "identity.malformed", header(crit=["exp"], exp=1)),
    Row("header b64 false", "identity.malformed", header(b64=False)),
    Row("header zip", "identity.malformed", header(zip="DEF")),
    # One reading only
    Row("empty", "identity.malformed", lambda i: "."),
    Row("two segments", "identity.malformed", lambda i: ".".join(segments(i.token())[:2])),
    Row("four segments", "identity.malformed", lambda i: i.token() + ".e30"),
    Row("JWE, five segments", "identity.malformed", lambda i: i.token() + ".e30.e30"),
    Row("empty signature", "identity.malformed", lambda i: ".".join([*segments(i.token())[:2], ""])),
    Row("padding kept", "identity.malformed", lambda i: i.token() + "="),
    Row("standard base64 alphabet", "identity.malformed", lambda i: i.token() + "+"),
    Row("signature spelled differently", "identity.malformed", spelled_differently),
    Row("white space inside", "identity.malformed", lambda i: i.token().replace(".", ". ", 1)),
    Row("line break at the end", "identity.malformed", lambda i: i.token() + "\n"),
    Row("not ASCII", "identity.malformed", lambda i: i.token() + "é"),
    Row("longer than the limit", "identity.malformed", lambda i: i.token(i.claims(pad="x" * 20_000))),
    Row("header longer than the limit", "identity.malformed", header(pad="x" * 2_000)),
    Row("header is a list", "identity.malformed", lambda i: i.raw(b"[]", compact(i.claims()))),
    Row("payload is a list", "identity.malformed", lambda i: i.raw(i.header(), b"[]")),
    Row("payload is not JSON", "identity.malformed", lambda i: i.raw(i.header(), b"foo")),
    Row(
        "payload with a byte-order mark",
        "identity.malformed",
        lambda i: i.raw(i.header(), b"\xef\xbb\xbf" + compact(i.claims())),
    ),
    Row(
        "payload not UTF-8",
        "identity.malformed",
        lambda i: i.raw(i.header(), compact(i.claims()).replace(b"alice", b"al\xffce")),
    ),
    Row(
        "payload nested deep",
        "identity.malformed",
        lambda i: i.raw(i.header(), b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"),
    ),
    Row(
        "duplicate alg", "identity.malformed", lambda i: i.raw(b'{"alg":"none",' + i.header()[1:], compact(i.claims()))
    ),
    Row("duplicate sub", "identity.malformed", lambda i: i.raw(i.header(), twice(i, "sub", '"alice"', '"root"'))),
    Row("duplicate exp", "identity.malformed", lambda i: i.raw(i.header(), twice(i, "exp", "1", "2"))),
    Row(
        "duplicate by escape",
        "identity.malformed",
        lambda i: i.raw(i.header(), b'{"s\\u0075b":"root",' + compact(i.claims())[1:]),
    ),
    # Whose token, for whom
    Row("no iss", "identity.unknown_issuer", changed(iss=None)),
    Row("another issuer", "identity.unknown_issuer", changed(iss="https://evil.example")),
    Row("issuer with a slash more", "identity.unknown_issuer", changed(iss="https://id.example/")),
    Row("issuer in capitals", "identity.unknown_issuer", changed(iss="https://ID.example")),
    Row("issuer a list", "identity.unknown_issuer", changed(iss=["https://id.example"])),
    Row("no aud", "identity.missing_claim", changed(aud=None)),
    Row("another audience", "identity.wrong_audience", changed(aud="https://other.example")),
    Row("audience as prefix", "identity.wrong_audience", changed(aud=AUDIENCE + "/admin")),
    Row("other audiences only", "identity.wrong_audience", changed(aud=["a", "b"])),
    Row("empty audience list", "identity.wrong_audience", changed(aud=[])),
    Row("audience an object", "identity.malformed", changed(aud={AUDIENCE: 1})),
    Row("audience list with an object", "identity.malformed", changed(aud=[AUDIENCE, {}])),
    # Kind of token
    Row("no typ", "identity.wrong_type", header(typ=None)),
    Row("typ JWT", "identity.wrong_type", header(typ="JWT")),
    Row("typ logout+jwt", "identity.wrong_type", header(typ="logout+jwt")),
    Row("typ dpop+jwt", "identity.wrong_type", header(typ="dpop+jwt")),
    Row("claim typ ID", "identity.wrong_type", changed(typ="ID")),
    Row("claim typ Refresh", "identity.wrong_type", changed(typ="Refresh")),
    Row("ID token by nonce", "identity.wrong_type", changed(nonce="n-1")),
    Row("ID token by at_hash", "identity.wrong_type", changed(at_hash="x")),
    Row(
        "logout token by events",
        "identity.wrong_type",
        changed(events={"http://schemas.openid.net/event/backchannel-logout": {}}),
    ),
    Row(
        "for certain details only",
        "identity.authorization_details",
        changed(authorization_details=[{"type": "payment", "limit": 1}]),
    ),
    # Time
    Row(
        "expired",
        "identity.expired",
        lambda i: i.token(i.claims(iat=seconds(i.clock) - 600, exp=seconds(i.clock) - 30)),
    ),
    Row("exp far away", "identity.lifetime", changed(exp=2**53)),
    Row(
        "exp 1e300",
        "identity.malformed",
        lambda i: i.raw(i.header(), compact(i.claims()).replace(b'"exp":', b'"exp":1e300,"was":')),
    ),
    Row(
        "exp infinite",
        "identity.malformed",
        lambda i: i.raw(i.header(), compact(i.claims()).replace(b'"exp":', b'"exp":Infinity,"was":')),
    ),
    Row("exp beyond 2^53", "identity.malformed", changed(exp=FAR)),
    Row("exp text", "identity.malformed", changed(exp="9999999999")),
    Row("exp true", "identity.malformed", changed(exp=True)),
    Row("exp negative", "identity.malformed", changed(exp=-1)),
    Row("no exp", "identity.missing_claim", changed(exp=None)),
    Row("no iat", "identity.missing_claim", changed(iat=None)),
    Row("exp before iat", "identity.lifetime", at_time("exp", -1)),
    Row("lives an hour and a second", "identity.lifetime", at_time("exp", 3_601)),
    Row(
        "iat in the future",
        "identity.not_yet_valid",
        lambda i: i.token(i.claims(iat=seconds(i.clock) + 31, exp=seconds(i.clock) + 600)),
    ),
    Row("nbf in the future", "identity.not_yet_valid", at_time("nbf", 31)),
    Row("nbf text", "identity.malformed", changed(nbf="0")),
    Row("auth_time in the future", "identity.malformed", at_time("auth_time", 31)),
    # Who
    Row("no sub", "identity.missing_claim", changed(sub=None)),
    Row("empty sub", "identity.missing_claim", changed(sub="")),
    Row("sub not text", "identity.malformed", changed(sub=7)),
    Row("sub with a line break", "identity.malformed", changed(sub="alice\nroot")),
    Row("sub with a bidi control", "identity.malformed", changed(sub="ali\u202eec")),
    Row("sub too long", "identity.malformed", changed(sub="a" * 256)),
    Row("no jti", "identity.missing_claim", changed(jti=None)),
    Row("no client", "identity.missing_claim", changed(client_id=None)),
    Row("groups as text", "identity.malformed", changed(groups="sre")),
    Row("groups with an object", "identity.malformed", changed(groups=[{}])),
    Row("too many groups", "identity.malformed", changed(groups=["g"] * 1_001)),
    Row("scope an object", "identity.malformed", changed(scope={})),
    Row("acr not text", "identity.malformed", changed(acr=1)),
    # Binding and delegation
    Row("bound by DPoP, unproven", "identity.bound_unproven", changed(cnf={"jkt": "x"})),
    Row("bound by certificate, unproven", "identity.bound_unproven", changed(cnf={"x5t#S256": "x"})),
    Row("bound by an unknown method", "identity.bound_unproven", changed(cnf={})),
    Row("act not an object", "identity.malformed", changed(act="agent-1")),
    Row("act without sub", "identity.malformed", changed(act={})),
    Row("act within act", "identity.delegation", changed(act={"sub": "agent-1", "act": {"sub": "agent-2"}})),
    Row("act of another issuer", "identity.delegation", changed(act={"sub": "agent-1", "iss": "https://evil.example"})),
    Row("act is not the client", "identity.delegation", changed(act={"sub": "agent-1"}, client_id="agent-2")),
    Row("act for an agent", "identity.delegation", changed(sub="agent-2", act={"sub": "agent-1"}, client_id="agent-1")),
    Row("act for a workload", "identity.delegation", changed(sub="ci", act={"sub": "agent-1"}, client_id="ci")),
]


def authenticate(issuer: Issuer, authorization: str) -> Any:
    verifier = Verifier([issuer.profile()], issuer.fetch, issuer.clock)
    return asyncio.run(verifier.authenticate(Credential(authorization)))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_forged_token_is_refused_with_its_code_and_repeats_nothing_of_it(row: Row, clock: SeededClock) -> None:
    issuer = Issuer(clock)
    token = row.forge(issuer)
    with pytest.raises(Unauthenticated) as refusal:
        authenticate(issuer, f"Bearer {token}")
    error = refusal.value
    assert error.error_code == row.code
    assert error.error_remedy
    assert error.__cause__ is None
    said = f"{error} {error.detail} {error.error_remedy}"
    for part in ("evil", "UNION", "null", "root", *(piece for piece in token.split(".") if len(piece) > 3)):
        assert part not in said


def test_the_token_that_every_row_forges_is_good(clock: SeededClock) -> None:
    issuer = Issuer(clock)
    assert authenticate(issuer, f"Bearer {issuer.token()}").subject.id == "corp:alice"


@pytest.mark.parametrize("details", [[], None])
def test_details_that_limit_nothing_refuse_nothing(details: object, clock: SeededClock) -> None:
    issuer = Issuer(clock)
    token = issuer.token({**issuer.claims(), "authorization_details": details})
    assert authenticate(issuer, f"Bearer {token}").subject.id == "corp:alice"


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("", "identity.missing"),
        ("Bearer", "identity.malformed"),
        ("Bearer ", "identity.malformed"),
        ("Basic YWxpY2U6eA==", "identity.malformed"),
        ("Bearer  {token}", "identity.malformed"),
        ("Bearer {token} ", "identity.malformed"),
        ("Bearer {token},Bearer {token}", "identity.malformed"),
        ("{token}", "identity.malformed"),
        ("DPoP {token}", "identity.malformed"),
    ],
)
def test_a_credential_in_another_form_is_refused(authorization: str, code: str, clock: SeededClock) -> None:
    issuer = Issuer(clock)
    with pytest.raises(Unauthenticated) as refusal:
        authenticate(issuer, authorization.format(token=issuer.token()))
    assert refusal.value.error_code == code


def test_the_scheme_is_read_in_any_case(clock: SeededClock) -> None:
    issuer = Issuer(clock)
    assert authenticate(issuer, f"bEARER {issuer.token()}")


def test_a_token_of_one_issuer_signed_by_the_key_of_another_is_refused(clock: SeededClock) -> None:
    corp, partner = Issuer(clock), Issuer(clock, "https://partner.example")

    async def fetch(url: str) -> bytes:
        return await (corp if url.startswith(corp.url) else partner).fetch(url)

    verifier = Verifier([corp.profile(), partner.profile(name="partner")], fetch, clock)
    forged = partner.token(partner.claims(iss=corp.url))
    with pytest.raises(Unauthenticated) as refusal:
        asyncio.run(verifier.authenticate(Credential(f"Bearer {forged}")))
    assert refusal.value.error_code == "identity.bad_signature"
    assert asyncio.run(verifier.authenticate(Credential(f"Bearer {partner.token()}"))).subject.id == "partner:alice"


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "RS256", "RS512", "PS256", "PS384", "Ed25519"])
def test_every_configured_algorithm_verifies_and_a_flipped_bit_does_not(algorithm: str, clock: SeededClock) -> None:
    issuer = Issuer(clock, algorithm=algorithm)
    if algorithm[:2] in ("RS", "PS"):
        issuer.publish(issuer.current, alg=algorithm)
    token = issuer.token()
    assert authenticate(issuer, f"Bearer {token}")
    first, second, third = segments(token)
    raw = bytearray(base64.urlsafe_b64decode(third + "=" * (-len(third) % 4)))
    raw[7] ^= 1
    with pytest.raises(Unauthenticated, match="does not hold"):
        authenticate(issuer, f"Bearer {first}.{second}.{b64(bytes(raw))}")


def test_an_rsa_issuer_does_not_take_pss_for_pkcs1_when_its_key_says_which(clock: SeededClock) -> None:
    issuer = Issuer(clock, algorithm="RS256")
    token = sign(issuer.header(alg="PS256"), compact(issuer.claims()), rsa_key("k1"), "PS256")
    verifier = Verifier([issuer.profile(algorithms=("RS256", "PS256"))], issuer.fetch, clock)
    with pytest.raises(Unauthenticated, match="another algorithm"):
        asyncio.run(verifier.authenticate(Credential(f"Bearer {token}")))


def test_an_issuer_may_call_its_ed25519_key_and_tokens_by_the_older_name(clock: SeededClock) -> None:
    issuer = Issuer(clock, algorithm="Ed25519")
    issuer.publish(issuer.current, alg="EdDSA")
    token = sign(issuer.header(alg="EdDSA"), compact(issuer.claims()), issuer.keys[issuer.current], "Ed25519")
    assert authenticate(issuer, f"Bearer {token}")


def test_the_signature_check_alone_holds_algorithm_key_and_curve_together() -> None:
    """Each of these would verify as mathematics; only the rules about names refuse them."""
    wide = ECKey.generate_key("P-384", {"kid": "k"})
    body = f"{b64(compact({'alg': 'ES256'}))}.{b64(b'{}')}"
    der = wide.private_key.sign(body.encode(), ECDSA(SHA256())) if wide.private_key else b""
    r, s = decode_dss_signature(der)
    on_wrong_curve = f"{body}.{b64(r.to_bytes(48, 'big') + s.to_bytes(48, 'big'))}"
    with pytest.raises(Unauthenticated, match="does not fit the key"):
        verify(take_apart(on_wrong_curve), wide, ALGORITHMS)
    good = ECKey.generate_key("P-256")
    token = take_apart(sign(compact({"alg": "ES256"}), b"{}", good, "ES256"))
    verify(token, good, ["ES256"])
    for allowed in ([], ["ES384"], ["none"]):
        with pytest.raises(Unauthenticated, match="not one this issuer may use"):
            verify(token, good, allowed)
