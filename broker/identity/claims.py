"""From verified claims to a Principal, by the issuer's profile. Pure: the time is an argument.

The order is: is it an access token for us, is it in force, who is it about, who acts, for which tenant. Every refusal
has its own stable code; none repeats a value of the token.
"""

import re
from collections.abc import Mapping

from broker.errors import Denied, Unauthenticated
from broker.identity import bound
from broker.identity.jose import malformed
from broker.identity.profiles import IssuerProfile, trust_domain_of
from broker.model import Json, Party, PartyKind, Principal

GROUPS_MAX = 1_000
TEXT_MAX = 255
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+\Z")
_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_OTHER_KINDS = frozenset({"id", "refresh", "offline", "logout", "registrationaccesstoken", "initialaccesstoken"})
_FOREIGN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash", "s_hash", "events", "htm", "htu", "ath"})
"""Claims of ID tokens, logout tokens and DPoP proofs: an access token has none of them."""


def principal(
    profile: IssuerProfile, header: Mapping[str, Json], claims: Mapping[str, Json], now_s: int, token_ref: str
) -> Principal:
    """Who asks, or ``Unauthenticated``. The signature is already verified; the sender's proof is not."""
    _check_type(profile, header, claims)
    _check_audience(profile, claims)
    _check_times(profile, claims, now_s)
    tenant, client, (subject, actor) = _bound(profile, claims) if profile.bound else _named(profile, claims)
    return Principal(
        tenant=tenant,
        subject=subject,
        actor=actor,
        issuer=profile.issuer,
        client=client,
        expires_at=_seconds(claims, "exp"),
        issued_at=_seconds(claims, "iat"),
        scopes=_scopes(profile, claims),
        auth_time=_auth_time(profile, claims, now_s),
        acr=_acr(profile, claims),
        token_ref=token_ref,
    )


def at(claims: Mapping[str, Json], path: str) -> Json:
    """The value at a dotted path, or None. Of names that hold dots themselves (a URL, ``kubernetes.io``) the longest counts."""
    if path in claims:
        return claims[path]
    name = path.rpartition(".")[0]
    while name:
        inner = claims.get(name)
        if isinstance(inner, dict):
            return at(inner, path[len(name) + 1 :])
        name = name.rpartition(".")[0]
    return None


def _bound(profile: IssuerProfile, claims: Mapping[str, Json]) -> tuple[str, str, tuple[Party, Party | None]]:
    """Tenant, client and parties of a workload's token: what configuration binds its claims to, and nothing of its own."""
    if "act" in claims:
        raise _delegation("only a person can be acted for")
    if profile.trust_domain and trust_domain_of(claims["sub"]) != profile.trust_domain:
        raise malformed("the claim `sub` is no SPIFFE ID of this trust domain")
    found = bound.who(profile.bound, claims, at)
    party = Party(f"{profile.name}:{found.name}", found.kind, found.roles)
    return found.tenant or _tenant(profile, claims), found.name, (party, None)


def _named(profile: IssuerProfile, claims: Mapping[str, Json]) -> tuple[str, str, tuple[Party, Party | None]]:
    """Tenant, client and parties as the token itself says them."""
    client = _client(profile, claims)
    return _tenant(profile, claims), client, _parties(profile, claims, client)


def _check_type(profile: IssuerProfile, header: Mapping[str, Json], claims: Mapping[str, Json]) -> None:
    header_type = str(header.get("typ", "")).lower().removeprefix("application/")
    kind = claims.get("typ", "")
    wrong = (
        header_type not in profile.header_types
        or not isinstance(kind, str)
        or (profile.payload_types and kind not in profile.payload_types)
        or kind.lower() in _OTHER_KINDS
        or not _FOREIGN_CLAIMS.isdisjoint(claims)
    )
    if wrong:
        raise Unauthenticated(
            "the token is not an access token of its issuer",
            code="identity.wrong_type",
            remedy="send the access token, not the ID, refresh or logout token",
        )
    if claims.get("authorization_details"):
        raise Unauthenticated(
            "the token holds for certain details only (RFC 9396), which this gate does not read",
            code="identity.authorization_details",
            remedy="ask the identity provider for a token without `authorization_details`; policy says what it may do",
        )
    missing = sorted(name for name in profile.required if at(claims, name) in (None, ""))
    if missing:
        raise Unauthenticated(
            f"the token lacks the claim `{missing[0]}`",
            code="identity.missing_claim",
            remedy="configure the identity provider to put this claim into access tokens",
        )


def _check_audience(profile: IssuerProfile, claims: Mapping[str, Json]) -> None:
    audience = claims.get("aud")
    listed = [audience] if isinstance(audience, str) else audience
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise malformed("the claim `aud` is neither text nor a list of text")
    if profile.audiences.isdisjoint(listed):
        raise Unauthenticated(
            "the token is for another audience",
            code="identity.wrong_audience",
            remedy="ask the identity provider for a token with this gate as its audience",
        )


def _check_times(profile: IssuerProfile, claims: Mapping[str, Json], now_s: int) -> None:
    issued, expires = _seconds(claims, "iat"), _seconds(claims, "exp")
    begins = _seconds(claims, "nbf") if "nbf" in claims else issued
    leeway = profile.leeway_seconds
    if not 0 < expires - issued <= profile.lifetime_seconds_max:
        raise Unauthenticated(
            f"the token lives longer than the {profile.lifetime_seconds_max} s that its profile allows",
            code="identity.lifetime",
            remedy="shorten access tokens at the identity provider, or raise lifetime_seconds_max",
        )
    if max(issued, begins) > now_s + leeway:
        raise Unauthenticated(
            "the token is not valid yet", code="identity.not_yet_valid", remedy="check the clocks of issuer and gate"
        )
    if expires <= now_s - leeway:
        raise Unauthenticated(
            "the token has expired",
            code="identity.expired",
            remedy="get a fresh token from your identity provider (wicketgate login)",
        )


def _client(profile: IssuerProfile, claims: Mapping[str, Json]) -> str:
    for path in profile.client_paths:
        if at(claims, path) is not None:
            return _text(claims, path)
    raise Unauthenticated(
        f"the token lacks the claim `{profile.client_paths[0]}`",
        code="identity.missing_claim",
        remedy="configure the identity provider to name the client in access tokens",
    )


def _parties(profile: IssuerProfile, claims: Mapping[str, Json], client: str) -> tuple[Party, Party | None]:
    """Subject, and the agent that acts for it.

    An agent that holds a person's token without ``act`` still is the one who acts: it becomes the actor with no
    roles, so that holding the token does not make it the person.
    """
    subject_id = _text(claims, profile.subject_path)
    own = any(at(claims, path) == template.format(client=client) for path, template in profile.own)
    own = own or bool(profile.person_path and at(claims, profile.person_path) is None)
    kind = _kind(profile, client, subject_id, own=own)
    subject = Party(f"{profile.name}:{subject_id}", kind, _roles(profile, claims))
    act = claims.get("act")
    if act is None:
        if own or client not in profile.agents:
            return subject, None
        return subject, Party(f"{profile.name}:{client}", PartyKind.AGENT)
    if kind is not PartyKind.HUMAN:
        raise _delegation("only a person can be acted for")
    return subject, _actor(profile, act, client)


def _kind(profile: IssuerProfile, client: str, subject_id: str, *, own: bool) -> PartyKind:
    if own:
        return PartyKind.AGENT if client in profile.agents else PartyKind.WORKLOAD
    if subject_id in profile.agents:
        return PartyKind.AGENT
    if profile.people and client not in profile.people and client not in profile.agents:
        return PartyKind.WORKLOAD
    return PartyKind.HUMAN


def _actor(profile: IssuerProfile, act: Json, client: str) -> Party:
    """The claim ``act`` (RFC 8693 section 4.1): one actor, of this issuer, the client that holds the token."""
    if not isinstance(act, dict):
        raise malformed("the claim `act` is not an object")
    if "act" in act:
        raise _delegation("a chain of actors is not accepted")
    if act.get("iss", profile.issuer) != profile.issuer:
        raise _delegation("the actor is of another issuer")
    actor_id = _text(act, "sub")
    if client in profile.agents and client not in (actor_id, act.get("client_id"), act.get("azp")):
        raise _delegation("the actor is not the client that the token was issued to")
    return Party(f"{profile.name}:{actor_id}", PartyKind.AGENT, _roles(profile, act))


def _roles(profile: IssuerProfile, claims: Mapping[str, Json]) -> frozenset[str]:
    _check_complete(profile, claims)
    groups = at(claims, profile.roles_path)
    if groups is None:
        return frozenset()
    if not isinstance(groups, list) or len(groups) > GROUPS_MAX or not all(isinstance(item, str) for item in groups):
        raise malformed(f"the claim `{profile.roles_path}` is not a list of at most {GROUPS_MAX} names")
    return frozenset(profile.roles[group] for group in groups if group in profile.roles)


def _check_complete(profile: IssuerProfile, claims: Mapping[str, Json]) -> None:
    """A token that says its groups elsewhere (OpenID Connect Core 5.6.2; Entra's overage) does not say who somebody is."""
    elsewhere = claims.get("_claim_names")
    if (isinstance(elsewhere, dict) and profile.roles_path in elsewhere) or (
        profile.roles_path == "groups" and claims.get("hasgroups") not in (None, False)
    ):
        raise Unauthenticated(
            f"the token leaves out its `{profile.roles_path}`, because there are too many",
            code="identity.groups_overage",
            remedy="at the identity provider, put only groups assigned to the application into tokens, or use "
            'application roles: roles_claim = "roles"',
        )


def _tenant(profile: IssuerProfile, claims: Mapping[str, Json]) -> str:
    tenant = profile.tenant or at(claims, profile.tenant_path)
    if not isinstance(tenant, str) or not _TENANT.match(tenant):
        raise Unauthenticated(
            "the token names no tenant of this gate",
            code="identity.no_tenant",
            remedy=f"put the tenant into the claim `{profile.tenant_path}`: lower-case letters, digits, dot, hyphen",
        )
    return tenant


def _scopes(profile: IssuerProfile, claims: Mapping[str, Json]) -> frozenset[str]:
    value = at(claims, profile.scope_path)
    listed = value.split() if isinstance(value, str) else [] if value is None else value
    if not isinstance(listed, list) or len(listed) > GROUPS_MAX or not all(isinstance(item, str) for item in listed):
        raise malformed(f"the claim `{profile.scope_path}` is neither text nor a list of text")
    if not profile.scopes <= set(listed):
        raise Denied(
            f"the token lacks a scope of {', '.join(sorted(profile.scopes))}",
            code="identity.insufficient_scope",
            remedy="ask the identity provider for a token with all of these scopes",
        )
    return frozenset(listed)


def _acr(profile: IssuerProfile, claims: Mapping[str, Json]) -> str:
    """How the person signed in: the strongest configured method among ``acr`` and Entra's ``acrs``, else ``acr``."""
    said = _text(claims, "acr") if "acr" in claims else ""
    listed = claims.get("acrs", [])
    if not isinstance(listed, list) or len(listed) > GROUPS_MAX or not all(isinstance(item, str) for item in listed):
        raise malformed("the claim `acrs` is not a list of text")
    return next((value for value in profile.acr_values if value in {said, *listed}), said)


def _auth_time(profile: IssuerProfile, claims: Mapping[str, Json], now_s: int) -> int | None:
    if "auth_time" not in claims:
        return None
    signed_in = _seconds(claims, "auth_time")
    if signed_in > now_s + profile.leeway_seconds:
        raise malformed("the claim `auth_time` lies in the future")
    return signed_in


def _seconds(claims: Mapping[str, Json], name: str) -> int:
    """A NumericDate in whole seconds; fractions, booleans and text are refused."""
    value = claims.get(name)
    if type(value) is not int or value < 0:
        raise malformed(f"the claim `{name}` is not a whole number of seconds")
    return value


def _text(claims: Mapping[str, Json], path: str) -> str:
    value = at(claims, path)
    if not isinstance(value, str) or len(value) > TEXT_MAX or not _PRINTABLE.match(value):
        raise malformed(f"the claim `{path}` is not printable text of 1 to {TEXT_MAX} characters")
    return value


def _delegation(why: str) -> Unauthenticated:
    return Unauthenticated(
        f"the token's delegation is not accepted: {why}",
        code="identity.delegation",
        remedy="exchange the person's own token (RFC 8693) with the agent itself as the actor",
    )
