"""Five real issuers by their own wire shapes: who their tokens are, and what of theirs is refused, with code and remedy."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from broker.clock import SeededClock
from broker.errors import BrokerError
from broker.identity import Credential, IssuerProfile, Verifier, issuer_profile
from broker.model import Party, PartyKind, Principal
from tests.sim.issuer import AUDIENCE, Issuer
from tests.sim.real_issuers import (
    AGENT,
    CLI,
    EVERY,
    PERSON,
    SERVICE,
    Entra,
    GitHubActions,
    Kubernetes,
    Okta,
    Real,
    Spiffe,
)


def ask(issuer: Real, token: str, profile: IssuerProfile | None = None) -> Principal:
    verifier = Verifier([profile or issuer.believed()], issuer.fetch, issuer.clock)
    return asyncio.run(verifier.authenticate(Credential(f"Bearer {token}")))


def refused(issuer: Real, token: str, profile: IssuerProfile | None = None) -> BrokerError:
    with pytest.raises(BrokerError) as refusal:
        ask(issuer, token, profile)
    assert refusal.value.error_remedy
    return refusal.value


def human(name: str, *roles: str) -> Party:
    return Party(name, PartyKind.HUMAN, frozenset(roles))


def agent(name: str) -> Party:
    return Party(name, PartyKind.AGENT, frozenset({"agent"}))


def test_each_shape_is_the_party_that_configuration_says() -> None:
    clock = SeededClock()
    entra, okta = Entra(clock), Okta(clock)
    person = ask(entra, entra.mint())
    assert (person.subject, person.client) == (human(f"entra:{PERSON}", "oncall"), CLI)
    assert person.scopes == {"Gate.Act", "Gate.Read"}
    assert ask(entra, entra.first()).subject == person.subject, "v1.0 names the client in another claim"
    service = ask(entra, entra.service())
    assert (service.subject, service.actor) == (agent(f"entra:{SERVICE}"), None)
    behind = ask(entra, entra.mint(azp=AGENT))
    assert (behind.subject.id, behind.acting) == (f"entra:{PERSON}", Party(f"entra:{AGENT}", PartyKind.AGENT))
    assert ask(entra, entra.service(azp="another-app")).subject.kind is PartyKind.WORKLOAD
    signed_in = ask(okta, okta.mint())
    assert (signed_in.subject, signed_in.client) == (human("okta:alice@ops.example", "oncall"), "0oacli1")
    assert ask(okta, okta.service()).subject == agent("okta:0oaagent1")
    for issuer, name in ((GitHubActions(clock), "builds:deployer"), (Kubernetes(clock), "cluster:triage"), (Spiffe(clock), "spire:agents")):  # fmt: skip
        who = ask(issuer, issuer.mint())
        assert (who.subject, who.actor, who.tenant) == (agent(name), None, "default")


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize(("changes", "code"), [
    ({"aud": "https://other.example"}, "identity.wrong_audience"),
    ({"aud": None}, "identity.missing_claim"),
    ({"iat": 1, "exp": 1_000_000_000_000}, "identity.lifetime"),
    ({"nonce": "n-1"}, "identity.wrong_type"),
    ({"cnf": {"jkt": "a" * 43}}, "identity.bound_unproven"),
    ({"sub": None}, "identity.missing_claim"),
])  # fmt: skip
def test_what_no_issuer_may_write_is_refused(kind: type[Real], changes: dict[str, Any], code: str) -> None:
    issuer = kind(SeededClock())
    if kind is Spiffe and changes == {"sub": None}:
        code = "identity.unknown_issuer"  # without a trust domain nothing says whose it is
    assert refused(issuer, issuer.mint(**changes)).error_code == code


@pytest.mark.parametrize("kind", EVERY)
def test_times_and_signatures_count_for_every_issuer(kind: type[Real]) -> None:
    clock = SeededClock()
    issuer = kind(clock)
    token = issuer.mint()
    head, body, signature = token.split(".")
    assert (
        refused(issuer, f"{head}.{body}.{signature[4:8]}{signature[:4]}{signature[8:]}").error_code
        == "identity.bad_signature"
    )
    issuer.rotate(publish=False)
    assert refused(issuer, issuer.mint()).error_code == "identity.unknown_key"
    issuer.current = "k1"
    clock.advance(90_000)
    assert refused(issuer, token).error_code == "identity.expired"
    ahead = issuer.mint(nbf=issuer.now + 500, iat=issuer.now + 500, exp=issuer.now + 800)
    assert refused(issuer, ahead).error_code == "identity.not_yet_valid"


@pytest.mark.parametrize("kind", EVERY)
def test_another_issuers_key_signs_for_nobody_here(kind: type[Real]) -> None:
    """Every issuer's key set is its own: the same claims under another one's keys are refused."""
    clock = SeededClock()
    issuer, other = kind(clock), Issuer(clock, algorithm=kind.algorithm)
    other.rotate()  # another kid
    forged = other.token(issuer.body(), typ=issuer.typ)
    profiles = [issuer.believed(), other.profile()]

    async def fetch(url: str) -> bytes:
        return await (other if url.startswith(other.url) else issuer).fetch(url)

    async def main() -> None:
        await Verifier(profiles, fetch, clock).authenticate(Credential(f"Bearer {forged}"))

    with pytest.raises(BrokerError) as refusal:
        asyncio.run(main())
    assert refusal.value.error_code == "identity.unknown_key"


@pytest.mark.parametrize(("changes", "code"), [
    ({"azp": None}, "identity.missing_claim"),
    ({"oid": None}, "identity.missing_claim"),
    ({"tid": None}, "identity.missing_claim"),
    ({"iss": "https://login.microsoftonline.com/another-tenant/v2.0"}, "identity.unknown_issuer"),
    ({"acrs": "p1"}, "identity.malformed"),
    ({"roles": "Gate.OnCall"}, "identity.malformed"),
])  # fmt: skip
def test_what_is_no_access_token_of_entra_is_refused(changes: dict[str, Any], code: str) -> None:
    issuer = Entra(SeededClock())
    assert refused(issuer, issuer.mint(**changes)).error_code == code


@pytest.mark.parametrize("marks", [
    {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example/users/x/getMemberObjects"}}},
    {"hasgroups": True},
])  # fmt: skip
def test_groups_that_entra_left_out_are_a_refusal_that_says_what_to_do(marks: dict[str, Any]) -> None:
    issuer = Entra(SeededClock())
    by_groups = issuer.believed(roles_claim="groups")
    assert ask(issuer, issuer.mint(groups=["g-sre"]), by_groups).subject.roles == {"oncall"}
    told = refused(issuer, issuer.mint(**marks), by_groups)
    assert told.error_code == "identity.groups_overage"
    assert 'roles_claim = "roles"' in told.error_remedy
    assert ask(issuer, issuer.mint(**marks)).subject.roles == {"oncall"}, "application roles are whole"


def test_of_entras_authentication_contexts_the_strongest_configured_one_is_the_acr() -> None:
    issuer = Entra(SeededClock())
    assert ask(issuer, issuer.first(acrs=["c1", "p1"])).acr == "1"
    chosen = issuer.believed(acr_values=("c2", "c1"))
    assert ask(issuer, issuer.first(acrs=["p1", "c1"]), chosen).acr == "c1"
    assert ask(issuer, issuer.first(acrs=["p1"]), chosen).acr == "1"
    assert ask(issuer, issuer.mint(), chosen).acr == ""


def test_a_lifetime_of_entra_is_allowed_up_to_its_longest_and_an_operator_may_say_less() -> None:
    issuer = Entra(SeededClock())
    long = issuer.mint(exp=issuer.now - 300 + 5_700)
    assert ask(issuer, long)
    assert refused(issuer, long, issuer.believed(lifetime_seconds_max=3600)).error_code == "identity.lifetime"


@pytest.mark.parametrize(("changes", "code"), [
    ({"cid": None}, "identity.missing_claim"),
    ({"scp": None}, "identity.missing_claim"),
    ({"at_hash": "x"}, "identity.wrong_type"),
])  # fmt: skip
def test_what_is_no_access_token_of_okta_is_refused(changes: dict[str, Any], code: str) -> None:
    issuer = Okta(SeededClock())
    assert refused(issuer, issuer.mint(**changes)).error_code == code


@pytest.mark.parametrize("held", [["openid"], []])
def test_a_token_without_a_scope_that_configuration_asks_for_is_no_right(held: list[str]) -> None:
    issuer = Okta(SeededClock())
    asked = issuer.believed(scopes=("ops:act",))
    assert ask(issuer, issuer.mint(), asked)
    told = refused(issuer, issuer.mint(scp=held or ["other"]), asked)
    assert told.error_code == "identity.insufficient_scope"


@pytest.mark.parametrize("changes", [
    {"repository": "octo-org/shop-fork"},
    {"repository": "octo-org/shop/"},
    {"repository_owner_id": "1"},
    {"ref": "refs/heads/feature"},
    {"ref": "refs/tags/v1/x"},
    {"environment": "staging"},
    {"environment": None},
    {"environment": ["prod"]},
    {"job_workflow_ref": "octo-org/shop/.github/workflows/deploy.yml@refs/heads/main"},
    {"job_workflow_ref": "octo-org/ci/.github/workflows/deploy.yml@refs/heads/other"},
    {"event_name": "pull_request_target"},
    {"event_name": "issue_comment"},
])  # fmt: skip
def test_a_build_that_is_not_the_bound_one_is_nobody(changes: dict[str, Any]) -> None:
    issuer = GitHubActions(SeededClock())
    told = refused(issuer, issuer.mint(**changes))
    assert told.error_code == "identity.unbound"
    assert "identity.issuers.bound" in told.error_remedy


def test_a_star_stands_for_one_step_of_a_path_and_an_event_may_be_bound_by_name() -> None:
    issuer = GitHubActions(SeededClock())
    assert ask(issuer, issuer.mint(ref="refs/tags/v1.2.3")).subject.id == "builds:deployer"
    [bound] = issuer.table["bound"]
    named = {**bound, "claims": {**bound["claims"], "event_name": ("pull_request_target",)}}
    profile = issuer.believed(bound=(named,))
    assert ask(issuer, issuer.mint(event_name="pull_request_target"), profile)
    assert refused(issuer, issuer.mint(), profile).error_code == "identity.unbound"


@pytest.mark.parametrize(("path", "value", "code"), [
    (("namespace",), "default", "identity.unbound"),
    (("serviceaccount", "name"), "other", "identity.unbound"),
    (("pod",), None, "identity.missing_claim"),
    (("serviceaccount",), None, "identity.missing_claim"),
    (("pod", "uid"), "", "identity.missing_claim"),
])  # fmt: skip
def test_a_token_of_another_pod_or_of_none_is_refused(path: tuple[str, ...], value: Any, code: str) -> None:
    issuer = Kubernetes(SeededClock())
    inner = issuer.body()["kubernetes.io"]
    place = inner
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    kept = {name: item for name, item in inner.items() if item is not None}
    assert refused(issuer, issuer.mint(**{"kubernetes.io": kept})).error_code == code


def test_a_legacy_secret_token_of_a_cluster_is_of_no_issuer() -> None:
    issuer = Kubernetes(SeededClock())
    legacy = issuer.token({
        "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:agents:triage",
        "kubernetes.io/serviceaccount/namespace": "agents",
    }, typ=None)  # fmt: skip
    assert refused(issuer, legacy).error_code == "identity.unknown_issuer"


@pytest.mark.parametrize(("changes", "code"), [
    ({"sub": "spiffe://other.example/agent/sre-1"}, "identity.unknown_issuer"),
    ({"sub": "spiffe://ops.example/web/shop"}, "identity.unbound"),
    ({"sub": "spiffe://ops.example/agent/sre-1/deeper"}, "identity.unbound"),
    ({"sub": "spiffe://ops.example/agent/../sre-1"}, "identity.unknown_issuer"),
    ({"sub": "spiffe://ops.example/agent/"}, "identity.unknown_issuer"),
    ({"sub": "spiffe://ops.example"}, "identity.unknown_issuer"),
    ({"sub": "SPIFFE://ops.example/agent/sre-1"}, "identity.unknown_issuer"),
    ({"iss": "spiffe://ops.example", "sub": "alice"}, "identity.malformed"),
    ({"iat": None}, "identity.missing_claim"),
    ({"act": {"sub": "x"}}, "identity.delegation"),
])  # fmt: skip
def test_a_jwt_svid_counts_by_its_trust_domain_and_bound_path(changes: dict[str, Any], code: str) -> None:
    issuer = Spiffe(SeededClock())
    assert refused(issuer, issuer.mint(**changes)).error_code == code


def test_the_issuer_that_a_jwt_svid_may_name_changes_nothing() -> None:
    issuer = Spiffe(SeededClock())
    assert ask(issuer, issuer.mint(iss="https://spire.ops.example")).subject.id == "spire:agents"


def test_keys_of_a_trust_domain_that_are_for_x509_check_no_token() -> None:
    issuer = Spiffe(SeededClock())
    issuer.publish("k1", use="x509-svid")
    assert refused(issuer, issuer.mint()).error_code == "identity.unknown_key"
    other = Okta(SeededClock())
    other.publish("k1", use="jwt-svid")
    assert refused(other, other.mint()).error_code == "identity.unknown_key", "and the mark counts there alone"


def test_a_bundle_may_be_a_file_and_is_read_again_when_its_time_is_over(tmp_path: Path) -> None:
    clock = SeededClock()
    issuer, file = Spiffe(clock), tmp_path / "bundle.json"
    file.write_bytes(issuer.jwks())
    profile = issuer.believed(jwks_uri="", jwks_file=str(file))
    verifier = Verifier([profile], issuer.fetch, clock)

    async def main() -> None:
        assert (await verifier.authenticate(Credential(f"Bearer {issuer.mint()}"))).subject.id == "spire:agents"
        issuer.rotate()
        file.write_bytes(issuer.jwks())
        clock.advance(31)
        assert (await verifier.authenticate(Credential(f"Bearer {issuer.mint()}"))).subject.id == "spire:agents"
        assert issuer.asked == []
        file.unlink()
        clock.advance(86_400)
        with pytest.raises(BrokerError) as refusal:
            await verifier.authenticate(Credential(f"Bearer {issuer.mint()}"))
        assert refusal.value.error_code == "identity.keys_unavailable"

    asyncio.run(main())


def test_two_workloads_that_fit_one_token_are_nobody_and_a_workload_may_be_of_its_own_tenant() -> None:
    issuer = Spiffe(SeededClock())
    [first] = issuer.table["bound"]
    second = {**first, "name": "one", "claims": {"sub": ("spiffe://ops.example/agent/sre-1",)}, "tenant": "acme", "kind": "workload", "roles": ("alerts",)}  # fmt: skip
    assert refused(issuer, issuer.mint(), issuer.believed(bound=(first, second))).error_code == "identity.unbound"
    who = ask(issuer, issuer.mint(), issuer.believed(bound=(second,)))
    assert (who.tenant, who.subject) == ("acme", Party("spire:one", PartyKind.WORKLOAD, frozenset({"alerts"})))


LOOSE = {"name": "any", "kind": "agent", "roles": ("agent",), "tenant": ""}


@pytest.mark.parametrize(("kind", "bound", "said"), [
    (GitHubActions, (), "who comes"),
    (GitHubActions, ({**LOOSE, "claims": {"ref": ("refs/heads/main",)}},), "`repository` or `repository_id`"),
    (GitHubActions, ({**LOOSE, "claims": {"repository": ("octo-org/shop",)}},), "`ref` or `environment`"),
    (GitHubActions, ({**LOOSE, "claims": {"repository": ("*/*",), "ref": ("refs/heads/main",)}},), "fits everything"),
    (Kubernetes, ({**LOOSE, "claims": {"kubernetes.io.namespace": ("agents",)}},), "serviceaccount.name"),
    (Kubernetes, ({**LOOSE, "claims": {"kubernetes.io.namespace": ("*",), "kubernetes.io.serviceaccount.name": ("x",)}},), "fits everything"),
    (Spiffe, ({**LOOSE, "claims": {"aud": ("x",)}},), "`sub`"),
    (Spiffe, ({**LOOSE, "claims": {"sub": ()}},), "lists nothing"),
    (Spiffe, ({**LOOSE, "claims": {"sub": ("spiffe://ops.example/a b",)}},), "fits everything"),
    (Spiffe, ({**LOOSE, "roles": ("root",), "claims": {"sub": ("spiffe://ops.example/a",)}},), "roles map to"),
    (Spiffe, ({**LOOSE, "claims": {"sub": ("x",)}}, {**LOOSE, "claims": {"sub": ("y",)}}), "given once"),
    (Okta, ({**LOOSE, "claims": {"sub": ("x",)}},), "says who comes itself"),
])  # fmt: skip
def test_a_binding_that_could_believe_too_much_stops_the_start(
    kind: type[Real], bound: tuple[Any, ...], said: str
) -> None:
    with pytest.raises(ValueError, match=said.replace("`", ".")):
        kind(SeededClock()).believed(bound=bound)


@pytest.mark.parametrize(("table", "said"), [
    ({"profile": "spiffe", "issuer": "https://ops.example"}, "go together"),
    ({"profile": "rfc9068", "issuer": "spiffe://ops.example"}, "go together"),
    ({"profile": "spiffe", "issuer": "spiffe://ops.example"}, "jwks_uri or in jwks_file"),
    ({"profile": "rfc9068", "issuer": "https://a.example", "jwks_uri": "https://a.example/k", "jwks_file": "/k"}, "one of jwks_uri"),
])  # fmt: skip
def test_a_trust_domain_is_configured_as_one(table: dict[str, Any], said: str) -> None:
    bound = ({**LOOSE, "claims": {"sub": ("spiffe://ops.example/agent/x",)}},) if table["profile"] == "spiffe" else ()
    with pytest.raises(ValueError, match=said):
        issuer_profile({"name": "x", "audiences": (AUDIENCE,), "tenant": "default", "bound": bound, **table})


def test_each_issuers_documents_are_json_as_it_serves_them() -> None:
    """The simulators publish public keys alone."""
    for kind in EVERY:
        for key in json.loads(kind(SeededClock()).jwks())["keys"]:
            assert not {"d", "p", "q"} & set(key)
