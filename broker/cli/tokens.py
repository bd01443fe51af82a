"""``wicketgate login`` and ``wicketgate token``."""

import base64
import binascii
import json
from pathlib import Path

import click

from broker.cli import places, signin
from broker.cli.caller import Caller, as_client, identity_options, url_option


@click.command()
@click.option(
    "--issuer", envvar="WICKETGATE_ISSUER", help="Your OIDC provider; default: the gate's development provider."
)
@click.option("--client-id", envvar="WICKETGATE_CLIENT_ID", default=signin.CLIENT, show_default=True)
@click.option("--scope", default="openid", show_default=True, help="Scopes to ask for.")
@as_client
def login(caller: Caller, issuer: str | None, client_id: str, scope: str) -> None:
    """Sign in, in a browser on any device; the token is kept for your user only (0600)."""
    if caller.persona:
        token = caller.token()
    else:
        provider = signin.discover(issuer or caller.url + signin.DEV_PATH)
        token = signin.device_token(provider, client_id, scope, lambda line: click.echo(line, err=True))
    claims = _claims(token)
    path = places.token_file(caller.url)
    stored = {"url": caller.url, "token": token, "expires_at": claims.get("exp", 0)}
    places.private(path, json.dumps(stored))
    who = {"subject": claims.get("sub", ""), "expires_at": stored["expires_at"], "file": str(path)}
    caller.show(who, f"signed in as {who['subject']} at {caller.url}")


@click.command()
@url_option
@identity_options
@click.option("--headers", is_flag=True, help="As a JSON object of HTTP headers, as MCP clients take it.")
def token(url: str, persona: str | None, data: Path | None, key: Path | None, headers: bool) -> None:
    """Print a bearer token and nothing else."""
    found = Caller(url.rstrip("/"), persona, data, key, as_json=False).token()
    click.echo(json.dumps({"Authorization": f"Bearer {found}"}) if headers else found)


def _claims(token: str) -> dict[str, object]:
    """The claims of a JWT, unverified: to show who signed in and until when. Empty for an opaque token."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, binascii.Error):
        return {}
    return claims if isinstance(claims, dict) else {}
