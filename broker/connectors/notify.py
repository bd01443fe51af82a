"""Notifications to people's systems: one signed POST a message, by the Standard Webhooks specification (v1).

``webhook-id`` is the id of the event that is told, the same however often and by whom it is sent, so a receiver knows a
repetition (the action's own where no event is named); ``webhook-timestamp`` is in seconds;
``webhook-signature`` is ``v1,`` and the base64 of HMAC-SHA256 over ``<id>.<timestamp>.<body>`` under the secret
(``whsec_`` and base64). Source: https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import orjson
from pydantic import with_config

from broker.catalog import Action
from broker.clock import Clock, seconds
from broker.connectors.base import STRICT, EffectStatus
from broker.egress import Egress, Upstream, UpstreamSettings
from broker.errors import BadRequest, NotFound, UpstreamFailed
from broker.model import ActionRequest, Grant, Plan, Result, ResultStatus

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - a prefix that every secret has
SECRET_BYTES: Final = range(24, 65)
"""Length of a secret, by the specification."""


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One receiver."""

    url: str
    secret_file: str
    """File with the signing secret: ``whsec_`` and base64."""
    region: str = ""
    allow_networks: tuple[str, ...] = ()
    ca_file: str = ""
    proxy_url: str = ""
    timeout_seconds: float = 10.0


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class NotifySettings:
    """Receivers by the id of their resource (type ``webhook``)."""

    name: str
    hooks: Mapping[str, Hook] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Receiver:
    upstream: Upstream
    target: str
    secret: bytes
    region: str


class NotifyConnector:
    """The adapter; one instance for all receivers."""

    def __init__(self, settings: NotifySettings, egress: Egress, clock: Clock) -> None:
        """Read the secrets; raises ``BadRequest`` (``config.secret``, ``config.invalid``)."""
        self.name = settings.name
        self._clock = clock
        self._receivers = {name: _receiver(name, hook, egress) for name, hook in settings.hooks.items()}

    def endpoint(self, request: ActionRequest) -> Mapping[str, str]:
        """Where the message goes."""
        found = self._receivers.get(request.resource.id)
        return {"region": found.region if found else "", "provider": self.name}

    async def plan(self, request: ActionRequest, action: Action) -> Plan:  # noqa: ARG002 - the contract's
        """Who would be told."""
        digest = hashlib.sha256(orjson.dumps(dict(request.arguments), option=orjson.OPT_SORT_KEYS)).hexdigest()
        return Plan(f"tell {request.resource.id}", digest, affected=(request.resource.id,))

    async def execute(self, grant: Grant, action: Action) -> Result:
        """Send once; any 2xx is delivery. Raises ``UpstreamFailed``."""
        receiver = self._receivers.get(grant.request.resource.id)
        if receiver is None:
            raise NotFound("no such receiver is configured", code="notify.unknown_receiver")
        now = seconds(self._clock)
        about = action.name.split(".")[1]
        message = {"type": f"{about}.{grant.arguments['kind']}", "timestamp": now, "data": dict(grant.arguments)}
        body = orjson.dumps(message)
        answer = await receiver.upstream.request(
            "POST",
            receiver.target,
            headers=signed(receiver.secret, str(grant.arguments.get("event") or grant.id), now, body),
            body=body,
        )
        if not 200 <= answer.status < 300:
            raise UpstreamFailed(
                f"the receiver `{grant.request.resource.id}` answered {answer.status}", code="upstream.refused"
            )
        return Result(ResultStatus.OK, {"status": answer.status})

    async def status_of(self, action_id: str, action: Action | None = None) -> EffectStatus:  # noqa: ARG002 - the contract's
        """A receiver cannot be asked; it knows a repetition by its id."""
        return EffectStatus("unknown", "a receiver cannot be asked what it got")

    async def aclose(self) -> None:
        """Give back connections."""
        for receiver in self._receivers.values():
            await receiver.upstream.aclose()


def signed(secret: bytes, message_id: str, at: int, body: bytes) -> dict[str, str]:
    """The three headers of the specification, and the media type."""
    content = f"{message_id}.{at}.".encode() + body
    signature = base64.b64encode(hmac.digest(secret, content, "sha256")).decode()
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{signature}",
    }


def _receiver(name: str, hook: Hook, egress: Egress) -> _Receiver:
    parts = urlsplit(hook.url)
    upstream = egress.upstream(
        UpstreamSettings(
            name=f"webhook-{name}",
            base_url=f"{parts.scheme}://{parts.netloc}",
            allow_networks=tuple(hook.allow_networks),
            ca_file=hook.ca_file,
            proxy_url=hook.proxy_url,
            timeout_seconds=hook.timeout_seconds,
            answer_bytes_max=65_536,
        )
    )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Receiver(upstream, target, _secret(name, hook.secret_file), hook.region)


def _secret(name: str, file: str) -> bytes:
    """The key; raises ``BadRequest`` (``config.secret``), never with the value."""
    try:
        text = Path(file).read_text(encoding="utf-8").strip()
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (OSError, UnicodeDecodeError, binascii.Error):
        text, secret = "", b""
    if not text.startswith(SECRET_PREFIX) or len(secret) not in SECRET_BYTES:
        raise BadRequest(
            f"the secret of the receiver `{name}` cannot be used",
            code="config.secret",
            remedy="`secret_file` must hold `whsec_` and the base64 of 24 to 64 random bytes",
        )
    return secret
