"""What each kind of issuer really writes into its tokens: the values under the operator's own.

Sources: RFC 9068; Keycloak 26; Microsoft identity platform, access token claims reference (v1.0 and v2.0); Okta, custom
authorization servers; GitHub Actions, OpenID Connect reference; Kubernetes, service account token volume projection;
SPIFFE JWT-SVID.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

ROLES = frozenset({"alerts", "oncall", "security", "auditor", "agent", "operator", "pep"})
_RFC9068 = frozenset({"iss", "sub", "aud", "exp", "iat", "jti", "client_id"})
_TRUSTED_EVENTS = ("push", "schedule", "workflow_dispatch", "release", "deployment", "merge_group")


@dataclass(frozen=True, slots=True)
class Preset:
    """``values`` are fields of ``IssuerProfile``. Those of workloads have ``least``: groups of claims to bind one of."""

    values: Mapping[str, Any]
    least: tuple[tuple[str, ...], ...] = ()
    also: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Bound to these texts where the operator's binding does not name the claim."""


PRESETS: Mapping[str, Preset] = {
    # RFC 9068, to the letter.
    "rfc9068": Preset({"required": _RFC9068}),
    # Header typ JWT unless the client asks for at+jwt, so the claim typ tells access from ID tokens.
    "keycloak": Preset({
        "header_types": frozenset({"jwt", "at+jwt"}),
        "payload_types": frozenset({"Bearer", "DPoP"}),
        "client_paths": ("client_id", "azp"),
        "own": (("preferred_username", "service-account-{client}"), ("sub", "{client}")),
        "person_path": "sid",
    }),
    # typ is always JWT and there is no jti; `azp` (v2.0) or `appid` (v1.0) stands in access tokens alone. `sub` differs from
    # client to client, `oid` does not. `scp` is there exactly when a person stands behind. Lifetimes are 60 to 90 minutes,
    # counted from five minutes before.
    "entra": Preset({
        "header_types": frozenset({"jwt"}),
        "required": frozenset({"iss", "sub", "oid", "tid", "aud", "exp", "iat", "ver"}),
        "algorithms": frozenset({"RS256"}),
        "subject_path": "oid",
        "client_paths": ("azp", "appid"),
        "roles_path": "roles",
        "scope_path": "scp",
        "own": (),
        "person_path": "scp",
        "lifetime_seconds_max": 5_700,
    }),
    # A custom authorization server: no header typ, `cid` for the client, `uid` exactly when a person stands behind.
    "okta": Preset({
        "header_types": frozenset({"", "jwt", "at+jwt"}),
        "required": frozenset({"iss", "sub", "aud", "exp", "iat", "jti", "cid", "scp"}),
        "algorithms": frozenset({"RS256"}),
        "client_paths": ("cid",),
        "scope_path": "scp",
        "own": (("sub", "{client}"),),
        "person_path": "uid",
    }),
    # One issuer for every repository of the world. A build that others' changes can start (pull_request_target and the like)
    # counts only where its event is bound by name.
    "github-actions": Preset(
        {
            "header_types": frozenset({"jwt"}),
            "required": frozenset({"iss", "sub", "aud", "exp", "iat", "jti", "repository", "event_name"}),
            "algorithms": frozenset({"RS256"}),
            "lifetime_seconds_max": 900,
        },
        (("repository", "repository_id"), ("ref", "environment", "job_workflow_ref")),
        MappingProxyType({"event_name": _TRUSTED_EVENTS}),
    ),
    # Projected tokens: no header typ; bound to a pod, so that they end with it.
    "kubernetes": Preset(
        {
            "header_types": frozenset({"", "jwt"}),
            "required": frozenset({
                "iss", "sub", "aud", "exp", "iat", "kubernetes.io.pod.uid", "kubernetes.io.serviceaccount.uid",
            }),
            "algorithms": frozenset({"RS256", "ES256"}),
        },
        (("kubernetes.io.namespace",), ("kubernetes.io.serviceaccount.name",)),
    ),
    # No `iss` that counts: the trust domain of `sub` picks the profile. Keys are marked for JWT-SVIDs.
    "spiffe": Preset(
        {
            "header_types": frozenset({"", "jwt", "jose"}),
            "required": frozenset({"sub", "aud", "exp", "iat"}),
            "key_use": "jwt-svid",
            "algorithms": frozenset({"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"}),
        },
        (("sub",),),
    ),
    # Our own development provider: RFC 9068 on loopback, roles under their own names.
    "dev": Preset({
        "required": _RFC9068,
        "algorithms": frozenset({"ES256"}),
        "roles": {role: role for role in sorted(ROLES)},
        "lifetime_seconds_max": 600,
        "insecure_loopback": True,
    }),
}  # fmt: skip
