"""Issuer profiles: what one identity provider's access tokens look like, and how they become parties of the gate.

A profile is configuration. The unverified ``iss`` of a token may pick one of them and nothing else: keys, algorithms,
audiences, claim paths and tenant all come from here.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from broker.identity.bound import Bound, bindings
from broker.identity.certificates import ISSUER
from broker.identity.jose import ALGORITHMS
from broker.identity.presets import PRESETS, ROLES

DEFAULT_ALGORITHMS = frozenset({"ES256", "ES384", "RS256", "PS256", "Ed25519", "EdDSA"})
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}\Z")
_TRUST_DOMAIN = re.compile(r"spiffe://([a-z0-9._-]{1,255})\Z")
_SPIFFE_ID = re.compile(r"(spiffe://[a-z0-9._-]{1,255})((?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)+)\Z")


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
    jwks_file: str = ""
    """A file with the keys, instead of an address."""
    key_use: str = "sig"
    """The ``use`` of keys that count; one without ``use`` counts too."""
    algorithms: frozenset[str] = DEFAULT_ALGORITHMS
    header_types: frozenset[str] = frozenset({"at+jwt"})
    """Accepted header ``typ``, lower case, without ``application/``."""
    payload_types: frozenset[str] = frozenset()
    """Accepted claim ``typ``, one of which must be there; empty: the claim must not name another kind of token."""
    required: frozenset[str] = frozenset({"iss", "sub", "aud", "exp", "iat", "jti"})
    lifetime_seconds_max: int = 3600
    leeway_seconds: int = 30
    sender_constraint: SenderConstraint = SenderConstraint.NONE
    subject_path: str = "sub"
    client_paths: tuple[str, ...] = ("client_id",)
    roles_path: str = "groups"
    scope_path: str = "scope"
    scopes: frozenset[str] = frozenset()
    """Every token must hold all of them."""
    acr_values: tuple[str, ...] = ()
    """Of the methods that a token names in ``acr`` or ``acrs``, the first of these is its ``acr``."""
    bound: tuple[Bound, ...] = ()
    """Who comes, where the issuer is one of workloads; no other token of it is believed."""
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
        granted = set(self.roles.values()).union(*(one.roles for one in self.bound))
        if not granted <= ROLES:
            raise ValueError(f"issuer {self.name}: roles map to {', '.join(sorted(ROLES))} only")
        if not 0 < self.lifetime_seconds_max <= 86_400 or not 0 <= self.leeway_seconds <= 120:
            raise ValueError(f"issuer {self.name}: lifetime is at most 86400 s and leeway at most 120 s")
        if self.algorithms & {"Ed25519", "EdDSA"}:
            # One algorithm with two names (RFC 9864): tokens and keys may carry either.
            object.__setattr__(self, "algorithms", self.algorithms | {"Ed25519", "EdDSA"})
        if self.trust_domain and not (self.jwks_uri or self.jwks_file):
            raise ValueError(f"issuer {self.name}: a trust domain's keys are at jwks_uri or in jwks_file")
        if self.jwks_uri and self.jwks_file:
            raise ValueError(f"issuer {self.name}: give one of jwks_uri and jwks_file")
        for url in filter(None, ("" if self.trust_domain else self.issuer, self.jwks_uri)):
            if not self.may_fetch(url):
                raise ValueError(
                    f"issuer {self.name}: {url} must be an https URL without credentials or fragment"
                    " (http on loopback: `serve --dev` alone)"
                )

    @property
    def trust_domain(self) -> str:
        """The SPIFFE trust domain (``spiffe://<name>``) whose workloads this issuer names; empty for any other kind."""
        return self.issuer if _TRUST_DOMAIN.match(self.issuer) else ""

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


def trust_domain_of(subject: Any) -> str:
    """The trust domain of a SPIFFE ID with a path (SPIFFE-ID section 2), or empty."""
    found = _SPIFFE_ID.match(subject) if isinstance(subject, str) else None
    return found.group(1) if found else ""


def issuer_profile(table: Mapping[str, Any], *, insecure_loopback: bool = False) -> IssuerProfile:
    """A profile from one ``[[identity.issuers]]`` table: the preset that ``profile`` names, the operator's values over it.

    Keys read: those of ``IssuerSettings`` but for the way to the keys. ``insecure_loopback`` is for development only
    (``serve --dev``). Raises ValueError naming the field when the table cannot be honoured.
    """
    name, chosen = str(table.get("name", "")), str(table.get("profile", "rfc9068"))
    preset = PRESETS.get(chosen)
    if preset is None:
        raise ValueError(f"issuer {name}: profile must be one of {', '.join(PRESETS)}")
    if chosen == "dev" and not is_loopback(urlsplit(table["issuer"]).hostname or ""):
        raise ValueError(f"issuer {name}: the profile dev is for an issuer on this machine only")
    if (chosen == "spiffe") != bool(_TRUST_DOMAIN.match(str(table["issuer"]))):
        raise ValueError(f"issuer {name}: `spiffe://<trust domain>` and the profile spiffe go together")
    values: dict[str, Any] = {
        "name": name,
        "issuer": table["issuer"],
        "audiences": frozenset(table["audiences"]),
        "insecure_loopback": insecure_loopback,
        **preset.values,
        **{
            field: made(table[key])
            for key, (field, made) in _OWN.items()
            if table.get(key)  # what is empty stays the preset's
        },
    }
    if preset.least:
        values["bound"] = bindings(name, tuple(table.get("bound", ())), preset.least, preset.also)
    elif table.get("bound"):
        raise ValueError(
            f"issuer {name}: bound is for issuers of workloads; the profile {chosen} says who comes itself"
        )
    return IssuerProfile(**values)


_OWN: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "jwks_uri": ("jwks_uri", str),
    "jwks_file": ("jwks_file", str),
    "tenant": ("tenant", str),
    "tenant_claim": ("tenant_path", str),
    "agents": ("agents", frozenset),
    "people": ("people", frozenset),
    "scopes": ("scopes", frozenset),
    "acr_values": ("acr_values", tuple),
    "lifetime_seconds_max": ("lifetime_seconds_max", int),
    "sender_constraint": ("sender_constraint", SenderConstraint),
    "roles": ("roles", dict),
    "algorithms": ("algorithms", frozenset),
    "roles_claim": ("roles_path", str),
}
"""Key of the table -> field of the profile."""
