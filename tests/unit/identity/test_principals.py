"""From claims to parties: kinds, roles, delegation, tenants, and what each profile reads."""

import asyncio
from typing import Any

import pytest

from broker.clock import SeededClock, seconds
from broker.errors import Unauthenticated
from broker.identity import Credential, Verifier, issuer_profile
from broker.model import Party, PartyKind, Principal
from tests.sim.issuer import AUDIENCE, Issuer


def believe(issuer: Issuer, claims: dict[str, Any], profile: dict[str, Any] | None = None, **header: Any) -> Principal:
    verifier = Verifier([issuer.profile(**(profile or {}))], issuer.fetch, issuer.clock)
    return asyncio.run(verifier.authenticate(Credential(f"Bearer {issuer.token(claims, **header)}")))


@pytest.fixture
def issuer(clock: SeededClock) -> Issuer:
    return Issuer(clock)


def test_a_person_is_read_whole(issuer: Issuer, clock: SeededClock) -> None:
    who = believe(issuer, issuer.claims(groups=["sre", "sec", "golf"]))
    assert who == Principal(
        tenant="default",
        subject=Party("corp:alice", PartyKind.HUMAN, frozenset({"oncall", "security"})),
        issuer="https://id.example",
        expires_at=seconds(clock) + 600,
        client="cli",
        scopes=frozenset({"ops:act", "ops:read"}),
        auth_time=seconds(clock) - 5,
        acr="mfa",
        issued_at=seconds(clock),
        token_ref=who.token_ref,
    )
    assert len(who.token_ref) == 64


def test_an_agents_own_token_makes_an_agent_and_another_clients_own_token_a_workload(issuer: Issuer) -> None:
    assert believe(issuer, issuer.agent_claims()).subject == Party(
        "corp:agent-1", PartyKind.AGENT, frozenset({"agent"})
    )
    assert believe(issuer, issuer.agent_claims("ci")).subject.kind is PartyKind.WORKLOAD


def test_an_agent_on_behalf_brings_both_parties_each_with_its_own_roles(issuer: Issuer) -> None:
    who = believe(issuer, issuer.claims(client_id="agent-1", act={"sub": "agent-1", "groups": ["bots", "golf"]}))
    assert who.parties == (
        Party("corp:alice", PartyKind.HUMAN, frozenset({"oncall"})),
        Party("corp:agent-1", PartyKind.AGENT, frozenset({"agent"})),
    )
    assert who.acting.id == "corp:agent-1"


def test_an_actor_without_roles_has_none_and_does_not_borrow_the_persons(issuer: Issuer) -> None:
    who = believe(issuer, issuer.claims(client_id="agent-1", act={"sub": "agent-1"}))
    assert who.actor == Party("corp:agent-1", PartyKind.AGENT, frozenset())


def test_an_agent_that_merely_holds_a_persons_token_is_the_actor_and_not_the_person(issuer: Issuer) -> None:
    who = believe(issuer, issuer.claims(client_id="agent-1"))
    assert who.acting == Party("corp:agent-1", PartyKind.AGENT, frozenset())
    assert who.subject.kind is PartyKind.HUMAN


def test_an_actor_known_by_another_name_is_matched_through_its_client_id(issuer: Issuer) -> None:
    who = believe(issuer, issuer.claims(client_id="agent-1", act={"sub": "0b1e", "client_id": "agent-1"}))
    assert who.acting.id == "corp:0b1e"


def test_only_listed_sign_in_clients_make_people_where_such_a_list_is_given(issuer: Issuer) -> None:
    assert believe(issuer, issuer.claims(), {"people": ("cli",)}).subject.kind is PartyKind.HUMAN
    assert believe(issuer, issuer.claims(), {"people": ("console",)}).subject.kind is PartyKind.WORKLOAD


def test_equal_subjects_of_two_issuers_are_two_parties(issuer: Issuer) -> None:
    assert (
        believe(issuer, issuer.claims(), {"name": "a"}).subject.id
        != believe(issuer, issuer.claims(), {"name": "b"}).subject.id
    )


def test_unmapped_groups_give_no_role_even_when_they_are_called_like_one(issuer: Issuer) -> None:
    assert believe(issuer, issuer.claims(groups=["security", "oncall"])).subject.roles == frozenset()


def test_missing_groups_give_no_role(issuer: Issuer) -> None:
    assert believe(issuer, issuer.claims(groups=None)).subject.roles == frozenset()


TENANT_BY_CLAIM = {"tenant": "", "tenant_claim": "org.id"}


def test_a_fixed_tenant_is_not_changed_by_what_the_token_says(issuer: Issuer) -> None:
    assert believe(issuer, issuer.claims(tenant="other", org={"id": "other"})).tenant == "default"


def test_a_tenant_is_read_from_its_claim(issuer: Issuer) -> None:
    assert believe(issuer, issuer.claims(org={"id": "emea"}), TENANT_BY_CLAIM).tenant == "emea"


@pytest.mark.parametrize(
    "org",
    [
        None,
        {},
        "emea",
        {"id": ""},
        {"id": ["emea"]},
        {"id": "EMEA"},
        {"id": "a/b"},
        {"id": ".."},
        {"id": "a" * 64},
        {"id": "emea\n"},
    ],
)
def test_a_token_without_a_proper_tenant_is_refused(org: Any, issuer: Issuer) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        believe(issuer, issuer.claims(org=org), TENANT_BY_CLAIM)
    assert refusal.value.error_code == "identity.no_tenant"


def test_a_claim_named_by_a_url_is_found_before_its_dots_are_read_as_a_path(issuer: Issuer) -> None:
    claims = issuer.claims(**{"https://corp.example/groups": ["sre"]})
    assert believe(issuer, claims, {"roles_claim": "https://corp.example/groups"}).subject.roles == frozenset(
        {"oncall"}
    )


@pytest.mark.parametrize("delta", [-29, 0, 29])
def test_thirty_seconds_of_clock_difference_are_forgiven(delta: int, issuer: Issuer, clock: SeededClock) -> None:
    now = seconds(clock)
    assert believe(issuer, issuer.claims(iat=now + max(delta, -29), nbf=now + delta))
    assert believe(issuer, issuer.claims(iat=now - 300, exp=now - 29))


@pytest.mark.parametrize("kind", ["at+jwt", "AT+JWT", "application/at+jwt"])
def test_the_type_is_read_as_a_media_type(kind: str, issuer: Issuer) -> None:
    assert believe(issuer, issuer.claims(), typ=kind)


KEYCLOAK = {"profile": "keycloak", "algorithms": ()}


def keycloak(issuer: Issuer, **changes: Any) -> dict[str, Any]:
    """The shape of a Keycloak access token: azp, typ Bearer, opaque sub."""
    return issuer.claims(
        sub="7d4f0bd0-3a62-4f6b-8c41-2c2b7a8f5a10", client_id=None, azp="cli", typ="Bearer", sid="s", jti="onrtac:1",
        preferred_username="alice", aud=[AUDIENCE, "account"], realm_access={"roles": ["sre"]}, acr="1",
    ) | changes  # fmt: skip


def test_a_keycloak_person_is_read_from_azp_and_groups(issuer: Issuer) -> None:
    who = believe(issuer, keycloak(issuer), KEYCLOAK, typ="JWT")
    assert (who.client, who.subject.kind, who.subject.roles) == ("cli", PartyKind.HUMAN, frozenset({"oncall"}))


def test_a_keycloak_service_account_of_an_agent_client_is_that_agent(issuer: Issuer) -> None:
    claims = keycloak(issuer, azp="agent-1", preferred_username="service-account-agent-1", groups=["bots"])
    who = believe(issuer, claims, KEYCLOAK, typ="JWT")
    assert (who.subject.kind, who.actor, who.client) == (PartyKind.AGENT, None, "agent-1")


@pytest.mark.parametrize(("client", "kind"), [("agent-1", PartyKind.AGENT), ("ci", PartyKind.WORKLOAD)])
def test_a_keycloak_token_without_a_persons_login_is_never_a_person(
    client: str, kind: PartyKind, issuer: Issuer
) -> None:
    claims = keycloak(issuer, azp=client)
    del claims["preferred_username"], claims["sid"]
    who = believe(issuer, claims, KEYCLOAK, typ="JWT")
    assert (who.subject.kind, who.actor) == (kind, None)


def test_keycloak_realm_roles_are_read_when_their_path_is_configured(issuer: Issuer) -> None:
    who = believe(issuer, keycloak(issuer, groups=None), {**KEYCLOAK, "roles_claim": "realm_access.roles"}, typ="JWT")
    assert who.subject.roles == frozenset({"oncall"})


@pytest.mark.parametrize("kind", ["ID", "Refresh", "Offline", "Logout", "bearer", "", None, 1])
def test_keycloak_tokens_of_another_kind_are_refused(kind: Any, issuer: Issuer) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        believe(issuer, keycloak(issuer, typ=kind), KEYCLOAK, typ="JWT")
    assert refusal.value.error_code == "identity.wrong_type"


def test_a_keycloak_token_with_nobody_as_client_is_refused(issuer: Issuer) -> None:
    claims = keycloak(issuer)
    del claims["azp"]
    with pytest.raises(Unauthenticated) as refusal:
        believe(issuer, claims, KEYCLOAK, typ="JWT")
    assert refusal.value.error_code == "identity.missing_claim"


BASE = {
    "name": "corp",
    "profile": "rfc9068",
    "issuer": "https://id.example",
    "audiences": (AUDIENCE,),
    "tenant": "default",
}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "a:b"}, "name"),
        ({"name": "Corp"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "gate"}, "gate"),
        ({"roles": {"x": "gate"}}, "roles"),
        ({"profile": "auth0"}, "profile"),
        ({"issuer": "http://id.example"}, "https"),
        ({"issuer": "https://user:pw@id.example"}, "https"),
        ({"issuer": "https://id.example#x"}, "https"),
        ({"issuer": "http://127.0.0.1:9100"}, "https"),
        ({"jwks_uri": "http://id.example/jwks"}, "https"),
        ({"audiences": ()}, "audiences"),
        ({"audiences": ("",)}, "audiences"),
        ({"algorithms": ("HS256",)}, "algorithms"),
        ({"algorithms": ("none",)}, "algorithms"),
        ({"roles": {"x": "root"}}, "roles"),
        ({"tenant": ""}, "tenant"),
        ({"tenant_claim": "t"}, "tenant"),
        ({"lifetime_seconds_max": 86_401}, "lifetime"),
        ({"sender_constraint": "maybe"}, "maybe"),
        ({"profile": "dev"}, "dev"),
        ({"profile": "dev", "issuer": "http://10.0.0.1/dev-idp"}, "dev"),
    ],
)
def test_a_profile_that_could_believe_too_much_does_not_load(change: dict[str, Any], field: str) -> None:
    assert issuer_profile(BASE)
    with pytest.raises(ValueError, match=field):
        issuer_profile({**BASE, **change})


def test_plain_http_is_accepted_for_this_machine_in_development_only() -> None:
    local = {**BASE, "issuer": "http://127.0.0.1:9100"}
    assert issuer_profile(local, insecure_loopback=True)
    with pytest.raises(ValueError, match="https"):
        issuer_profile({**BASE, "issuer": "http://id.example"}, insecure_loopback=True)


def test_two_profiles_for_one_issuer_are_refused(issuer: Issuer) -> None:
    with pytest.raises(ValueError, match="once"):
        Verifier([issuer.profile(name="a"), issuer.profile(name="b")], issuer.fetch, issuer.clock)
    with pytest.raises(ValueError, match="once"):
        Verifier([issuer.profile(), issuer.profile(issuer="https://b.example")], issuer.fetch, issuer.clock)
