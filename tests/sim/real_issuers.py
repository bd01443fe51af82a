"""Tokens as five real issuers write them: header, claims and key set by each one's own documentation, real keys, real JWKS.

A change to None removes a claim; ``header`` changes the header likewise.
"""

import json
from abc import ABC, abstractmethod
from typing import Any

from broker.clock import Clock, seconds
from broker.identity.profiles import IssuerProfile, issuer_profile
from tests.sim.issuer import AUDIENCE, Issuer

TENANT = "6a1f0c3e-5b0f-4f0e-9a36-0f6a3b1c9d10"
PERSON, SERVICE = "7f2a2d6e-1c1d-4f43-9f0b-5f6f0e0a1b2c", "0c9f7d7a-3f4b-4a77-8f57-6f0b6b1d2e3f"
CLI, AGENT = "3d1c4b5a-0000-4000-8000-0000000000c1", "3d1c4b5a-0000-4000-8000-0000000000a1"


class Real(Issuer, ABC):
    """One issuer; ``table`` is how an operator would configure it."""

    name = ""
    url = ""
    algorithm = "RS256"
    typ: str | None = "JWT"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, self.url, self.algorithm)

    @property
    def table(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "issuer": self.url,
            "jwks_uri": f"{self.web}/jwks",
            "audiences": (AUDIENCE,),
            "tenant": "default",
        }

    @property
    def web(self) -> str:
        """Where its documents are."""
        return self.url

    @abstractmethod
    def body(self) -> dict[str, Any]:
        """The claims of a token of today."""

    def mint(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        claims = {**self.body(), **changes}
        written = {"typ": self.typ, **(header or {})}
        return self.token({name: value for name, value in claims.items() if value is not None}, **written)

    def believed(self, **changes: Any) -> IssuerProfile:
        return issuer_profile({**self.table, **changes})

    @property
    def now(self) -> int:
        return seconds(self.clock)


class Entra(Real):
    """Microsoft identity platform, v2.0 access token of a person through a client of the tenant."""

    name = "entra"
    url = f"https://login.microsoftonline.com/{TENANT}/v2.0"

    @property
    def table(self) -> dict[str, Any]:
        return {**super().table, "profile": "entra", "agents": (AGENT,), "roles": {"Gate.OnCall": "oncall", "Gate.Agent": "agent", "g-sre": "oncall"}}  # fmt: skip

    def body(self) -> dict[str, Any]:
        return {
            "aud": AUDIENCE, "iss": self.url, "iat": self.now - 300, "nbf": self.now - 300, "exp": self.now + 4512,
            "aio": "AWQAm/8XAAAA", "azp": CLI, "azpacr": "0", "name": "Alice Sre", "oid": PERSON,
            "preferred_username": "alice@ops.example", "rh": "1.AXoA", "roles": ["Gate.OnCall"], "scp": "Gate.Act Gate.Read",
            "sid": "00a1b2c3-0000-4000-8000-000000000001", "sub": "pairwise-for-this-client", "tid": TENANT,
            "uti": "uniqueTokenIdentifier", "ver": "2.0",
        }  # fmt: skip

    def service(self, **changes: Any) -> str:
        """An application's own token (client credentials): no person, so no ``scp``."""
        own = {"azp": AGENT, "azpacr": "2", "oid": SERVICE, "sub": SERVICE, "roles": ["Gate.Agent"]}
        without = dict.fromkeys(("scp", "name", "preferred_username", "sid"))
        return self.mint(**{**own, **without, **changes})

    def first(self, **changes: Any) -> str:
        """A v1.0 token: another claim for the client."""
        return self.mint(
            **{"azp": None, "azpacr": None, "appid": CLI, "appidacr": "0", "acr": "1", "ver": "1.0", **changes}
        )


class Okta(Real):
    """A custom authorization server of Okta."""

    name = "okta"
    url = "https://ops.okta.example/oauth2/aus9o8wvkhockw9TL0h7"
    typ = None

    @property
    def table(self) -> dict[str, Any]:
        return {
            **super().table,
            "profile": "okta",
            "agents": ("0oaagent1",),
            "roles": {"sre": "oncall", "bots": "agent"},
        }

    def body(self) -> dict[str, Any]:
        return {
            "ver": 1, "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE", "iss": self.url, "aud": AUDIENCE,
            "iat": self.now, "exp": self.now + 3600, "cid": "0oacli1", "uid": "00ujmkLgagxeRrAg20g3", "scp": ["ops:act", "openid"],
            "auth_time": self.now - 40, "sub": "alice@ops.example", "groups": ["sre", "Everyone"],
        }  # fmt: skip

    def service(self, **changes: Any) -> str:
        return self.mint(
            **{"cid": "0oaagent1", "sub": "0oaagent1", "uid": None, "auth_time": None, "groups": ["bots"], **changes}
        )


class GitHubActions(Real):
    """A job's token."""

    name = "builds"
    url = "https://token.actions.githubusercontent.com"

    @property
    def table(self) -> dict[str, Any]:
        claims = {
            "repository": ("octo-org/shop",), "repository_owner_id": ("9919",), "ref": ("refs/heads/main", "refs/tags/v*"),
            "environment": ("prod",), "job_workflow_ref": ("octo-org/ci/.github/workflows/deploy.yml@refs/heads/main",),
        }  # fmt: skip
        deployer = {"name": "deployer", "claims": claims, "kind": "agent", "roles": ("agent",), "tenant": ""}
        return {**super().table, "profile": "github-actions", "bound": (deployer,)}

    def body(self) -> dict[str, Any]:
        return {
            "jti": "example-id", "sub": "repo:octo-org/shop:environment:prod", "environment": "prod", "aud": AUDIENCE,
            "ref": "refs/heads/main", "sha": "0" * 40, "repository": "octo-org/shop", "repository_owner": "octo-org",
            "actor_id": "12", "repository_visibility": "private", "repository_id": "74", "repository_owner_id": "9919",
            "run_id": "1", "run_number": "10", "run_attempt": "2", "runner_environment": "github-hosted", "actor": "octocat",
            "workflow": "deploy", "head_ref": "", "base_ref": "", "event_name": "push", "ref_type": "branch",
            "job_workflow_ref": "octo-org/ci/.github/workflows/deploy.yml@refs/heads/main", "iss": self.url,
            "nbf": self.now - 600, "exp": self.now + 300, "iat": self.now,
        }  # fmt: skip

    def mint(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        return super().mint({"x5t": self.current, **(header or {})}, **changes)


class Kubernetes(Real):
    """A projected service account token of a pod."""

    name = "cluster"
    url = "https://kubernetes.default.svc.cluster.local"
    typ = None

    @property
    def table(self) -> dict[str, Any]:
        claims = {"kubernetes.io.namespace": ("agents",), "kubernetes.io.serviceaccount.name": ("triage",)}
        bound = {"name": "triage", "claims": claims, "kind": "agent", "roles": ("agent",), "tenant": ""}
        return {**super().table, "profile": "kubernetes", "bound": (bound,)}

    def body(self) -> dict[str, Any]:
        return {
            "aud": [AUDIENCE], "exp": self.now + 3600, "iat": self.now, "iss": self.url,
            "jti": "ea28ed49-2e11-4280-9ec5-bc3d1d84661a",
            "kubernetes.io": {
                "namespace": "agents",
                "node": {"name": "node-1", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"},
                "pod": {"name": "triage-0", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
                "serviceaccount": {"name": "triage", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
            },
            "nbf": self.now, "sub": "system:serviceaccount:agents:triage",
        }  # fmt: skip


class Spiffe(Real):
    """A JWT-SVID of a trust domain; its keys are marked for JWT-SVIDs, among those of X.509-SVIDs."""

    name = "spire"
    url = "spiffe://ops.example"
    algorithm = "ES256"

    @property
    def web(self) -> str:
        return "https://bundle.ops.example"

    @property
    def table(self) -> dict[str, Any]:
        claims = {"sub": ("spiffe://ops.example/agent/*",)}
        bound = {"name": "agents", "claims": claims, "kind": "agent", "roles": ("agent",), "tenant": ""}
        return {**super().table, "profile": "spiffe", "bound": (bound,)}

    def body(self) -> dict[str, Any]:
        return {"aud": [AUDIENCE], "exp": self.now + 300, "iat": self.now, "sub": "spiffe://ops.example/agent/sre-1"}

    def publish(self, kid: str, **members: Any) -> None:
        super().publish(kid, **{"use": "jwt-svid", "alg": None, **members})

    def jwks(self) -> bytes:
        return json.dumps({**json.loads(super().jwks()), "spiffe_sequence": 2, "spiffe_refresh_hint": 300}).encode()

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        assert url == f"{self.web}/jwks"
        return self.jwks()


EVERY: tuple[type[Real], ...] = (Entra, Okta, GitHubActions, Kubernetes, Spiffe)
