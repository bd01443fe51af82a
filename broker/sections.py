"""A table of the configuration file, and those tables that say whom the gate believes."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """A frozen table of the file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BoundSettings(Section):
    """A workload of an issuer of workloads: the token whose claims say all of this is this party. Exactly one must fit."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")
    """The party is `<issuer name>:<name>`."""
    claims: Mapping[str, tuple[str, ...]]
    """Dotted path of a claim -> texts of which it must be one; a `*` in a text stands for any run of characters but `/`. The
    profile says which claims must be bound at least."""
    kind: Literal["agent", "workload"] = "agent"
    roles: tuple[str, ...] = ()
    """Roles of the gate that it holds; nothing of the token adds one."""
    tenant: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9._-]{0,62})?$")
    """Empty: the issuer's."""


class IssuerSettings(Section):
    """One OIDC issuer that the gate believes, by profile."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")
    profile: Literal["rfc9068", "keycloak", "entra", "okta", "github-actions", "kubernetes", "spiffe"] = "rfc9068"
    issuer: str
    """The tokens' `iss`; of the profile `spiffe` the trust domain, `spiffe://<name>`."""
    jwks_uri: str = ""
    """Where its keys are; empty: found by discovery under the issuer."""
    jwks_file: str = ""
    """A file with its keys instead, read again as often as they would be fetched: a SPIFFE bundle, or a cluster's keys."""
    token_file: str = ""
    """A file with a bearer token that is shown where the keys are fetched, read each time: a cluster wants its own. Needs
    `jwks_uri`, and goes nowhere else."""
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...] = ()
    roles: Mapping[str, str] = Field(default_factory=dict)
    """Group or role of the issuer -> role of the gate; what is not named here is dropped."""
    tenant: str = ""
    tenant_claim: str = ""
    roles_claim: str = ""
    """Dotted path of the claim that lists groups or roles; empty: the profile's own."""
    scopes: tuple[str, ...] = ()
    """Scopes that every token must hold, all of them; else 403 `identity.insufficient_scope`."""
    acr_values: tuple[str, ...] = ()
    """Sign-in methods that policy asks for, the strongest first: of those that a token says in `acr` or `acrs`, this is its
    `acr`."""
    sender_constraint: Literal["none", "dpop", "mtls"] = "none"
    """Every token of this issuer must be bound, and every request must prove it: ``dpop`` to a key (RFC 9449), ``mtls``
    to the client's certificate (RFC 8705)."""
    people: tuple[str, ...] = ()
    """Client ids through which people sign in; empty: every client that is no agent."""
    agents: tuple[str, ...] = ()
    """Client ids that are agents; other clients without a person are workloads."""
    bound: tuple[BoundSettings, ...] = ()
    """Of the profiles `github-actions`, `kubernetes` and `spiffe`: who comes."""
    lifetime_seconds_max: int = Field(default=0, ge=0, le=86_400)
    """A token that lives longer is refused; 0: the profile's own limit."""
    allow_networks: tuple[str, ...] = ()
    """Networks that the key set may be fetched from beyond public addresses."""
    ca_file: str = ""

    @model_validator(mode="after")
    def _shown(self) -> Self:
        """A token goes to the one address that is named."""
        if self.token_file and not self.jwks_uri:
            raise ValueError("token_file is shown at jwks_uri, so that must be named")
        return self


class CertificateSettings(Section):
    """A sender of alerts that shows a client certificate and no token: a workload with the role ``alerts`` alone."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")
    """The party is ``mtls:<name>``."""
    tenant: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    thumbprint: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """SHA-256 of the certificate (DER) in hex; either this or ``san``."""
    san: str = Field(default="", pattern=r"^((dns|uri|email):[\x21-\x29\x2b-\x7e]{1,255})?$")
    """An alternative name in any certificate of ``gate.client_ca_file``: ``dns:…``, ``uri:…`` or ``email:…``."""
    authority: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """SHA-256 (DER) in hex of the authority's certificate in ``gate.client_ca_file`` that must have issued it; needed beside
    ``san`` where mappings name more than one tenant, since any authority of the file can issue any name."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        """One way to know it."""
        if bool(self.thumbprint) == bool(self.san):
            raise ValueError("give exactly one of thumbprint and san")
        return self


class IdentitySettings(Section):
    """Who is believed."""

    issuers: tuple[IssuerSettings, ...] = ()
    certificates: tuple[CertificateSettings, ...] = ()
    keyset_seconds: int = Field(default=600, ge=1)
    """Age at which requests fetch an issuer's key set again; the background does so every minute while it can."""
    keyset_stale_seconds_max: int = Field(default=86_400, ge=1)
    """Age at which a key set is believed no more, and with it no token of its issuer."""
    first_administrators: tuple[str, ...] = ()
    """People (party ids, ``<issuer name>:<sub>``) who hold the role ``security`` whatever their token says; for the
    time before the identity provider knows who does."""
