"""How a person or an agent gets a bearer token: device flow (RFC 8628), or a persona of the development provider.

The only requests that do not go through the client library: they go to an identity provider, not to the gate.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.cli.exits import NOT_AUTHENTICATED, UNREACHABLE, Stop

CLIENTS: Mapping[str, str] = {"agent": "agent-1", "alerts": "alerts-1"}
"""Programs of the development provider -> their client ids; each has a key of its own in the gate's keys folder."""
PERSONAS = ("oncall", "security", "deputy", "auditor", *CLIENTS)
CLIENT = "wicketgate-cli"
DEV_PATH = "/dev-idp"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
PERSONA_GRANT = "urn:wicketgate:dev:persona"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
POLL_SECONDS, SLOW_DOWN_SECONDS = 5, 5
SECONDS_MAX = 10.0


@dataclass(frozen=True, slots=True)
class Provider:
    """An identity provider by its published metadata (OpenID Connect Discovery 1.0)."""

    issuer: str
    token: str
    device: str


def discover(issuer: str) -> Provider:
    """Read the provider's metadata; it must name the issuer that was asked."""
    status, found = _exchange("GET", issuer.rstrip("/") + "/.well-known/openid-configuration")
    if status != 200 or found.get("issuer") != issuer:
        raise Stop(
            f"{issuer} is no identity provider under this name (status {status})",
            "check the address; the development provider (serve --dev) answers only to the gate's own URL",
            NOT_AUTHENTICATED,
        )
    return Provider(issuer, str(found.get("token_endpoint", "")), str(found.get("device_authorization_endpoint", "")))


def persona_token(url: str, persona: str, code: str) -> str:
    """A person's token from the development provider of the gate at ``url``."""
    provider = discover(url + DEV_PATH)
    asked = {"grant_type": PERSONA_GRANT, "persona": persona, "code": code, "client_id": CLIENT}
    return _token(provider, asked, "the code is the one that `wicketgate serve --dev` printed or was given")


def agent_token(url: str, key: Path, client_id: str) -> str:
    """A program's own token from the development provider, against a signed assertion (RFC 7523)."""
    from joserfc.jwk import ECKey

    from broker.clock import SystemClock, seconds
    from broker.identity.dev.signing import client_assertion

    try:
        private = ECKey.import_key(json.loads(key.read_bytes()))
    except (OSError, ValueError) as error:
        raise Stop(
            f"the key {key} cannot be read ({type(error).__name__})",
            "give --data the data folder of the gate, or --key the file",
            NOT_AUTHENTICATED,
        ) from None
    provider = discover(url + DEV_PATH)
    assertion = client_assertion(private, client_id, provider.issuer, seconds(SystemClock()))
    asked = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
    return _token(provider, asked, "is this the key of the gate at this address?")


def device_token(provider: Provider, client_id: str, scope: str, tell: Callable[[str], None]) -> str:
    """Wait until a person let this device in; ``tell`` shows where to go."""
    if not provider.device:
        raise Stop(
            "the identity provider has no device flow", "enable it there, or set WICKETGATE_TOKEN", NOT_AUTHENTICATED
        )
    status, begun = _exchange("POST", provider.device, {"client_id": client_id, "scope": scope})
    if status != 200:
        raise _refused(begun, "check --client-id and --scope")
    tell(f"open {begun.get('verification_uri_complete') or begun['verification_uri']}")
    tell(f"and check that it shows the code {begun['user_code']}")
    interval = int(begun.get("interval", POLL_SECONDS))
    asked = {"grant_type": DEVICE_GRANT, "device_code": str(begun["device_code"]), "client_id": client_id}
    for _ in range(int(begun["expires_in"]) // max(interval, 1) + 1):
        time.sleep(interval)
        status, answer = _exchange("POST", provider.token, asked)
        if status == 200:
            return str(answer["access_token"])
        if answer.get("error") not in {"authorization_pending", "slow_down"}:
            raise _refused(answer, "run wicketgate login again")
        interval += SLOW_DOWN_SECONDS if answer["error"] == "slow_down" else 0
    raise Stop("nobody signed in before the code expired", "run wicketgate login again", NOT_AUTHENTICATED)


def _token(provider: Provider, asked: Mapping[str, str], remedy: str) -> str:
    status, answer = _exchange("POST", provider.token, asked)
    if status != 200:
        raise _refused(answer, remedy)
    return str(answer["access_token"])


def _refused(answer: Mapping[str, Any], remedy: str) -> Stop:
    said = answer.get("error_description") or answer.get("error") or "no reason given"
    return Stop(f"the identity provider refused: {said}", remedy, NOT_AUTHENTICATED)


def _exchange(method: str, url: str, form: Mapping[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    """Status and JSON object of one exchange; anything else than an object reads as empty."""
    import httpx
    from wicketgate import is_loopback

    try:
        with httpx.Client(trust_env=not is_loopback(url), timeout=SECONDS_MAX) as client:
            answer = client.request(method, url, data=form)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Stop(
            f"no answer from {url} ({type(error).__name__})",
            "check that it runs and that the address is right (--url, --issuer)",
            UNREACHABLE,
        ) from None
    try:
        body = answer.json()
    except ValueError:
        body = {}
    return answer.status_code, body if isinstance(body, dict) else {}
