"""Whatever arrives, the answer is a principal or a refusal with a code, never a crash; and a changed token never passes."""

import asyncio
import string
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.clock import SeededClock
from broker.errors import BadRequest, Unauthenticated
from broker.identity import Credential, Verifier
from broker.identity.jose import ALGORITHMS
from broker.identity.keys import import_jwks
from broker.model import Principal
from tests.sim.issuer import Issuer, compact

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
CLAIMS = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "jti",
    "client_id",
    "groups",
    "scope",
    "acr",
    "auth_time",
    "act",
    "cnf",
]
HEADERS = ["alg", "typ", "kid", "cty", "crit", "jwk", "x5t"]
ISSUER = Issuer(SeededClock())
TOKEN = ISSUER.token(ISSUER.claims(org={"unit": "emea"}))


def answer(authorization: str) -> Principal | Unauthenticated:
    verifier = Verifier([ISSUER.profile(tenant="", tenant_claim="org.unit")], ISSUER.fetch, ISSUER.clock)
    try:
        return asyncio.run(verifier.authenticate(Credential(authorization)))
    except Unauthenticated as refusal:
        found = refusal
    assert found.error_code.startswith("identity.")
    return found


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_token_with_any_character_changed_added_or_removed_is_refused(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(TOKEN) - 1))
    put = data.draw(st.sampled_from([*string.ascii_letters, *string.digits, *"-_.=+/~", ""]))
    kept = data.draw(st.booleans())
    changed = TOKEN[:place] + put + TOKEN[place + (0 if kept else 1) :]
    if changed != TOKEN:
        assert isinstance(answer(f"Bearer {changed}"), Unauthenticated)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([*CLAIMS, "org", "typ"]), JSON, min_size=1, max_size=3))
def test_signed_nonsense_in_claims_is_refused_or_read_and_never_breaks_the_gate(claims: dict[str, Any]) -> None:
    believed = answer("Bearer " + ISSUER.token({**ISSUER.claims(org={"unit": "emea"}), **claims}))
    if isinstance(believed, Principal):
        assert believed.tenant
        assert believed.subject.id.startswith("corp:")


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(HEADERS), JSON, min_size=1, max_size=3))
def test_signed_nonsense_in_headers_is_refused_or_read_and_never_breaks_the_gate(header: dict[str, Any]) -> None:
    written = {"alg": "ES256", "typ": "at+jwt", "kid": ISSUER.current, **header}
    answer("Bearer " + ISSUER.raw(compact(written), compact(ISSUER.claims())))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_signed_bytes_that_are_no_json_are_refused(header: bytes, payload: bytes) -> None:
    if header and payload:
        assert isinstance(answer("Bearer " + ISSUER.raw(header, payload)), Unauthenticated)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_in_place_of_a_credential_is_refused(text: str) -> None:
    assert isinstance(answer(text), Unauthenticated)
    assert isinstance(answer("Bearer " + text), Unauthenticated)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "use", "alg", "key_ops"]), JSON, max_size=8
        ),
        max_size=3,
    )
)
def test_nonsense_in_a_key_set_never_breaks_the_gate_and_gives_no_key(keys: list[dict[str, Any]]) -> None:
    with suppress(BadRequest):
        assert import_jwks(compact({"keys": keys}), ALGORITHMS) == {}


def test_the_unchanged_token_passes_so_that_the_refusals_above_mean_something() -> None:
    assert isinstance(answer("Bearer " + TOKEN), Principal)


@pytest.mark.parametrize("text", ["Bearer \udc80", "Bearer " + "a" * 20_000, "Bearer a.b.c\r\nX: y", "\x00"])
def test_odd_transport_text_is_refused(text: str) -> None:
    assert isinstance(answer(text), Unauthenticated)
