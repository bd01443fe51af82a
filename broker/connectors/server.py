"""A server of somebody else's: where it is, how to reach it, and the credential that only its connector holds."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import with_config

from broker.connectors.base import STRICT
from broker.egress import UpstreamSettings
from broker.errors import BadRequest


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """One address. Seconds and bytes as the names say; ``credential_file`` is read once, at start."""

    name: str
    base_url: str
    credential: Literal["none", "bearer", "basic", "header"] = "none"
    credential_file: str = ""
    """``bearer`` and ``header``: the secret; ``basic``: ``user:password``. Trailing white space is dropped."""
    credential_header: str = ""
    allow_networks: tuple[str, ...] = ()
    unix_socket: str = ""
    ca_file: str = ""
    proxy_url: str = ""
    region: str = ""
    """Where the server keeps and handles what it is sent."""
    timeout_seconds: float = 20.0
    concurrency: int
    answer_bytes_max: int

    @property
    def upstream(self) -> UpstreamSettings:
        """The part that the egress enforces."""
        return UpstreamSettings(
            name=self.name,
            base_url=self.base_url,
            allow_networks=tuple(self.allow_networks),
            unix_socket=self.unix_socket,
            ca_file=self.ca_file,
            proxy_url=self.proxy_url,
            timeout_seconds=self.timeout_seconds,
            concurrency=self.concurrency,
            answer_bytes_max=self.answer_bytes_max,
        )

    def credential_headers(self) -> dict[str, str]:
        """As the function of this name, for this server."""
        return credential_headers(self.name, self.credential, self.credential_file, self.credential_header)


def credential_headers(name: str, kind: str, file: str, header: str) -> dict[str, str]:
    """The headers that prove who we are; raises ``BadRequest`` (``config.secret``), never with the value."""
    if kind == "none":
        return {}
    try:
        secret = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        secret = ""
    if not secret or not secret.isascii() or not secret.isprintable() or (kind == "header" and not header):
        raise BadRequest(
            f"the credential of connector `{name}` cannot be used",
            code="config.secret",
            remedy="`credential_file` must hold one line of visible ASCII; kind `header` also needs `credential_header`",
        )
    if kind == "header":
        return {header.lower(): secret}
    if kind == "basic":
        return {"authorization": "Basic " + base64.b64encode(secret.encode()).decode()}
    return {"authorization": f"Bearer {secret}"}
