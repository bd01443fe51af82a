"""Issuer profiles: what one identity provider's access tokens look like, and how they become parties of the gate.

A profile is configuration. The unverified ``iss`` of a token may pick one of them and nothing else: keys, algorithms,
audiences, claim paths and tenant all come from here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from broker.identity.certificates import ISSUER
from broker.identity.jose import ALGORITHMS

ROLES = frozenset({"alerts", "oncall", "security", "auditor", "agent", "operator"})
DEFAULT_ALGORITHMS = frozenset({"ES256", "ES384", "RS256", "PS256", "Ed25519", "EdDSA"})
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}\Z")


class SenderConstraint(StrEnum):
    """What a token must be bound to; a bound token whose binding is not proven is refused under every value."""

    NONE = "none"
    DPOP = "dpop"
    MTLS = "mtls"


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerProfile:
    """How to read one issuer's tokens. Claim paths are dotted (``realm_access.roles``). Times are seconds.

    ``own`` holds pairs of claim path and template: a claim equal to the template filled with the client id marks the
    client's own token (client credentials) as opposed to one that stands for a person.
    """

    name: str
    issuer: str
    audiences: frozenset[str]
    jwks_uri: str = ""
    """Empty: found by OpenID Connect discovery under the issuer."""
    algorithms: frozenset[str] = DEFAULT_ALGORITHMS
    header_types: frozenset[str] = frozenset({"at+jwt"})
    """Accepted header ``typ``, lower case, without ``application/``."""
    payload_type: str = ""
    """Required claim ``typ``; empty: the claim must not name another kind of token."""
    required: frozenset[str] = frozenset({"iss", "sub", "aud", "exp", "iat", "jti"})
    lifetime_seconds_max: int = 3600
    leeway_seconds: int = 30
    sender_constraint: SenderConstraint = SenderConstraint.NONE
    subject_path: str = "sub"
    client_paths: tuple[str, ...] = ("client_id",)
    roles_path: str = "groups"
    scope_path: str = "scope"
    tenant: str = ""
    tenant_path: str = ""
    roles: Mapping[str, str] = field(default_factory=dict)
    """The issuer's group or role -> a role of the gate. Unmapped ones are dropped."""
    agents: frozenset[str] = frozenset()
    """Client ids that are agents."""
    people: frozenset[str] = frozenset()
    """Client ids through which people sign in; empty: any client that is no agent."""
    own: tuple[tuple[str, str], ...] = (("sub", "{client}"),)
    person_path: str = ""
    """A claim that only people's tokens have; without it a token is its client's own. Empty: no such claim."""
    insecure_loopback: bool = False
    """Development only: http is accepted for addresses of this very machine."""

    def __post_init__(self) -> None:  # noqa: C901 - one rule after the other
        """Refuse a profile that could believe too much; raises ValueError naming the field."""
        if self.name in {"gate", ISSUER}:
            raise ValueError(f"issuer name: `{self.name}` is the gate's own")
        if not _NAME.match(self.name):
            raise ValueError("issuer name: lower-case letters, digits and hyphens, at most 31, no colon")
        if not self.audiences or "" in self.audiences:
            raise ValueError(f"issuer {self.name}: audiences must name this gate")
        if not self.algorithms or not self.algorithms <= set(ALGORITHMS):
            raise ValueError(f"issuer {self.name}: algorithms must be among {', '.join(ALGORITHMS)}")
        if bool(self.tenant) == bool(self.tenant_path):
            raise ValueError(f"issuer {self.name}: give exactly one of tenant and tenant_claim")
        if not set(self.roles.values()) <= ROLES:
            raise ValueError(f"issuer {self.name}: roles map to {', '.join(sorted(ROLES))} only")
        if not 0 < self.lifetime_seconds_max <= 86_400 or not 0 <= self.leeway_seconds <= 120:
            raise ValueError(f"issuer {self.name}: lifetime is at most 86400 s and leeway at most 120 s")
        if self.algorithms & {"Ed25519", "EdDSA"}:
            # One algorithm with two names (RFC 9864): tokens and keys may carry either.
            object.__setattr__(self, "algorithms", self.algorithms | {"Ed25519", "EdDSA"})
        for url in filter(None, (self.issuer, self.jwks_uri)):
            if not self.may_fetch(url):
                raise ValueError(f"issuer {self.name}: {url} must be an https URL without credentials or fragment")

    def may_fetch(self, url: str) -> bool:
        """Whether keys may come from ``url``: https, or http on loopback in development."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return False
        if not parts.hostname or parts.username is not None or parts.fragment:
            return False
        return parts.scheme == "https" or (
            parts.scheme == "http" and self.insecure_loopback and is_loopback(parts.hostname)
        )


def is_loopback(host: str) -> bool:
    """True for ``localhost`` and loopback addresses; other names are not resolved."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def issuer_profile(table: Mapping[str, Any], *, insecure_loopback: bool = False) -> IssuerProfile:
    """A profile from one ``[[identity.issuers]]`` table: the preset that ``profile`` names, the operator's values over it.

    Keys read: name, profile, issuer, audiences, jwks_uri, algorithms, roles, tenant, tenant_claim, roles_claim, agents,
    people, lifetime_seconds_max, sender_constraint. ``insecure_loopback`` is for development only (``serve --dev``).
    Raises ValueError naming the field when the table cannot be honoured.
    """
    name, preset_name = str(table.get("name", "")), str(table.get("profile", "rfc9068"))
    if preset_name not in PRESETS:
        raise ValueError(f"issuer {name}: profile must be one of {', '.join(PRESETS)}")
    if preset_name == "dev" and not is_loopback(urlsplit(table["issuer"]).hostname or ""):
        raise ValueError(f"issuer {name}: the profile dev is for an issuer on this machine only")
    values: dict[str, Any] = {
        "name": name,
        "issuer": table["issuer"],
        "audiences": frozenset(table["audiences"]),
        "jwks_uri": table.get("jwks_uri", ""),
        "tenant": table.get("tenant", ""),
        "tenant_path": table.get("tenant_claim", ""),
        "agents": frozenset(table.get("agents", ())),
        "people": frozenset(table.get("people", ())),
        "lifetime_seconds_max": table.get("lifetime_seconds_max", 3600),
        "sender_constraint": SenderConstraint(table.get("sender_constraint", "none")),
        "insecure_loopback": insecure_loopback,
        **PRESETS[preset_name],
    }
    if table.get("roles"):
        values["roles"] = dict(table["roles"])
    if table.get("algorithms"):
        values["algorithms"] = frozenset(table["algorithms"])
    if table.get("roles_claim"):
        values["roles_path"] = table["roles_claim"]
    return IssuerProfile(**values)


PRESETS: Mapping[str, Mapping[str, object]] = {
    # RFC 9068, to the letter.
    "rfc9068": {"required": frozenset({"iss", "sub", "aud", "exp", "iat", "jti", "client_id"})},
    # Keycloak: header typ JWT unless the client asks for at+jwt, so the claim typ tells access from ID tokens.
    "keycloak": {
        "header_types": frozenset({"jwt", "at+jwt"}),
        "payload_type": "Bearer",
        "client_paths": ("client_id", "azp"),
        "roles_path": "groups",
        "own": (("preferred_username", "service-account-{client}"), ("sub", "{client}")),
        "person_path": "sid",
    },
    # Our own development provider: RFC 9068 on loopback, roles under their own names.
    "dev": {
        "required": frozenset({"iss", "sub", "aud", "exp", "iat", "jti", "client_id"}),
        "algorithms": frozenset({"ES256"}),
        "roles": {role: role for role in sorted(ROLES)},
        "lifetime_seconds_max": 600,
        "insecure_loopback": True,
    },
}
