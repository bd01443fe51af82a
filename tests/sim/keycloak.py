"""A real Keycloak with one realm: the clients, groups and people that the matrix of identity providers needs.

Fetched by ``bash .ci/parts.sh drill``; it takes half a minute to start and half a gigabyte, so the drill alone runs it.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import httpx
from joserfc.jwk import ECKey

from broker.clock import SystemClock
from demo.wire import free_port
from tests.parts import ROOT
from tests.sim import started
from tests.sim.identity_providers import AUDIENCE, PagesWorld

KEYCLOAK = ROOT / ".parts" / "keycloak"
PASSWORD = "pw-of-a-test"


def realm(agent: ECKey, gate: ECKey) -> dict[str, Any]:
    """The realm file; ids are given so that tokens name people as the matrix does."""
    audience = _mapper(
        "aud", "oidc-audience-mapper", {"included.custom.audience": AUDIENCE, "access.token.claim": "true"}
    )
    groups = _mapper("groups", "oidc-group-membership-mapper", {
        "claim.name": "groups", "full.path": "false", "access.token.claim": "true", "id.token.claim": "true",
    })  # fmt: skip
    mappers = [audience, groups]
    people = [("alice", "sre"), ("bob", "security")]
    return {
        "realm": "ops", "enabled": True, "sslRequired": "none", "accessTokenLifespan": 600, "attributes": {"oauth2DevicePollingInterval": "0"},
        "groups": [{"name": name} for name in ("sre", "security", "bots")],
        "clients": [
            _by_key("agent-1", agent, mappers),
            _by_key("wicketgate", gate, [_mapper("aud", "oidc-audience-mapper", {"included.custom.audience": "https://crm.example", "access.token.claim": "true"})]),
            {
                "clientId": "cli", "enabled": True, "publicClient": True, "standardFlowEnabled": True,
                "redirectUris": ["http://127.0.0.1:45678/cb"], "protocolMappers": mappers,
                "attributes": {"oauth2.device.authorization.grant.enabled": "true"},
            },
        ],
        "users": [
            *(
                {
                    "id": name, "username": name, "enabled": True, "email": f"{name}@ops.example", "emailVerified": True,
                    "firstName": name, "lastName": "Test", "groups": [group],
                    "credentials": [{"type": "password", "value": PASSWORD, "temporary": False}],
                }
                for name, group in people
            ),
            {"id": "agent-1", "username": "service-account-agent-1", "enabled": True, "serviceAccountClientId": "agent-1", "groups": ["bots"]},
        ],
    }  # fmt: skip


def _by_key(name: str, key: ECKey, mappers: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "clientId": name, "enabled": True, "publicClient": False, "serviceAccountsEnabled": True, "standardFlowEnabled": False,
        "clientAuthenticatorType": "client-jwt", "protocolMappers": mappers,
        "attributes": {
            "use.jwks.url": "false", "use.jwks.string": "true", "token.endpoint.auth.signing.alg": "ES256",
            "jwks.string": json.dumps({"keys": [key.as_dict(private=False)]}), "standard.token.exchange.enabled": "true",
        },
    }  # fmt: skip


def _mapper(name: str, kind: str, config: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "protocol": "openid-connect", "protocolMapper": kind, "config": config}


class KeycloakWorld(PagesWorld):
    people = ("alice", "bob")
    table: ClassVar[dict[str, Any]] = {
        "name": "corp", "profile": "keycloak", "audiences": (AUDIENCE,), "tenant": "default", "agents": ("agent-1",),
        "roles": {"sre": "oncall", "security": "security", "bots": "agent"},
    }  # fmt: skip
    client = "cli"
    redirect = "http://127.0.0.1:45678/cb"
    scope = "openid profile"
    gate: ECKey
    """Of the client that exchanges tokens."""

    def filled(self, page: str, person: str) -> dict[str, str]:
        if 'name="username"' in page:
            return {"username": person, "password": PASSWORD}
        return {"accept": "Yes"} if 'name="accept"' in page else {}


@contextmanager
def running(folder: Path) -> Iterator[tuple[str, ECKey, ECKey]]:
    """The provider as a process of its own: its issuer, and the keys of the agent and of the gate's client."""
    agent, gate = (
        ECKey.generate_key("P-256", {"kid": name, "use": "sig", "alg": "ES256"}) for name in ("agent-1", "gate-1")
    )
    # It writes below its own folder, so each has one: two at once share nothing, and what is installed stays as it was.
    home = shutil.copytree(KEYCLOAK, folder / "keycloak", symlinks=True, ignore=shutil.ignore_patterns("data"))
    imports = home / "data" / "import"
    imports.mkdir(parents=True)
    (imports / "ops.json").write_text(json.dumps(realm(agent, gate)))
    port = free_port()
    known = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    said = folder / "keycloak.out"
    with said.open("wb") as out:
        process = subprocess.Popen(
            ["sh", home / "bin" / "kc.sh", "start-dev", "--import-realm", "--http-host=127.0.0.1", f"--http-port={port}"],
            env={**known, "JAVA_OPTS_KC_HEAP": "-Xms128m -Xmx512m"}, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    issuer = f"http://127.0.0.1:{port}/realms/ops"
    try:
        metadata = f"{issuer}/.well-known/openid-configuration"
        started.until(lambda: started.answers(metadata), process, said.read_text)
        yield issuer, agent, gate
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@asynccontextmanager
async def world(issuer: str, agent: ECKey, gate: ECKey) -> AsyncIterator[KeycloakWorld]:
    """A visitor of a running one, without cookies."""
    async with httpx.AsyncClient(trust_env=False, timeout=90) as http:
        made = KeycloakWorld(issuer, agent, http, SystemClock())
        made.gate = gate
        await made.discover()
        yield made
