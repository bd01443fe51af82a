"""What the doctor tries to reach: issuers, targets, and the gate as its clients do."""

import asyncio
from collections.abc import Collection
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from broker.cli import local
from broker.cli.exits import Stop
from broker.cli.looks import Doubtful, Skipped, addresses, apart

if TYPE_CHECKING:
    from broker.config import Settings
    from broker.egress import Egress, UpstreamSettings
    from broker.identity import IssuerProfile
    from broker.sections import IssuerSettings

NETWORKS = "name its network in allow_networks, its authority in ca_file, and open the way to it"
OK, WRONG_HOST = 200, 421


def issuers(chosen: "Settings") -> str:
    """Each issuer's key set is there and holds keys, or the metadata that names it is; its clock agrees with ours."""
    if not chosen.identity.issuers:
        raise Skipped("no issuer is configured")

    async def ask() -> list[str]:
        from broker.egress import Egress

        egress, told = Egress(), []
        doubtful: Doubtful | None = None
        for one in chosen.identity.issuers:
            try:
                told.append(await _issuer(one, egress))
            except Doubtful as raised:  # whoever fails is told of first
                doubtful = doubtful or raised
        if doubtful is not None:
            raise doubtful
        return told

    return ", ".join(asyncio.run(ask()))


async def _issuer(one: "IssuerSettings", egress: "Egress") -> str:
    """One issuer's keys, from where the gate has them; raises ``Stop`` or ``Doubtful`` with its name."""
    from broker.identity import issuer_profile

    try:
        profile = issuer_profile(one.model_dump(exclude=set(local.NOT_OF_THE_PROFILE)))
        dated = ""
        if profile.jwks_file:
            document = await asyncio.to_thread(Path(profile.jwks_file).read_bytes)
        else:
            url = profile.jwks_uri or profile.issuer.rstrip("/") + "/.well-known/openid-configuration"
            document, dated = await _answer(one, url, egress)
    except (OSError, ValueError) as error:
        raise Stop(f"issuer {one.name}: {error}", "identity.issuers: see docs/settings.md") from None
    if (profile.jwks_file or profile.jwks_uri) and not _keys(document, profile):
        raise Stop(
            f"issuer {one.name}: no usable key is there", "check jwks_file or jwks_uri: no token of it is believed"
        )
    _same_time(dated, one.name)
    return f"{one.name} is there, in its file" if profile.jwks_file else f"{one.name} answers"


def _keys(document: bytes, profile: "IssuerProfile") -> Collection[str]:
    """Names of the keys in a set that the gate could use; none where it is no set."""
    from broker.errors import BrokerError
    from broker.identity.keys import import_jwks

    try:
        return import_jwks(document, profile.algorithms, profile.key_use)
    except BrokerError:
        return ()


async def _answer(one: "IssuerSettings", url: str, egress: "Egress") -> tuple[bytes, str]:
    """What is at ``url`` over the gate's own egress, shown the token that the gate shows there; and when it was said."""
    from broker.egress import UpstreamSettings
    from broker.errors import BrokerError

    token = await asyncio.to_thread(Path(one.token_file).read_text, "ascii") if one.token_file else ""
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    settings = UpstreamSettings(
        name=one.name, base_url=origin, allow_networks=one.allow_networks, ca_file=one.ca_file, timeout_seconds=10
    )
    upstream = egress.upstream(settings)
    try:
        answer = await upstream.request(
            "GET", url, headers={"Authorization": f"Bearer {token.strip()}"} if token else {}
        )
    except BrokerError as error:
        why = await _why(settings) or error.detail
        raise Stop(f"issuer {one.name}: {why}", f"identity.issuers: {NETWORKS}") from None
    finally:
        await upstream.aclose()
    if answer.status != OK or not answer.body.lstrip().startswith(b"{"):
        shown = "jwks_uri, and token_file, which is shown there" if token else "jwks_uri"
        raise Stop(f"issuer {one.name} answers {answer.status}", f"check {shown}: no token of it is believed")
    return answer.body, answer.headers.get("Date", "")


def _same_time(dated: str, name: str) -> None:
    """An issuer's clock against ours; one that does not say the time in RFC 9110's form says nothing."""
    from broker.clock import SystemClock

    try:
        theirs = parsedate_to_datetime(dated)
        said = (theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return
    apart(said - SystemClock().now_ns() / 1e9, f"issuer {name}")


def targets(chosen: "Settings") -> str:
    """A connection to each connector's system; nothing is asked there."""

    async def reach() -> tuple[int, list[str]]:
        wanted = [one for row in chosen.connectors for one in addresses(row.name, row.settings)]
        whys = [f"{settings.name}: {why}" for settings in wanted if (why := await _why(settings))]
        return len(wanted), whys

    many, unreached = asyncio.run(reach())
    if unreached:
        raise Stop("; ".join(unreached), NETWORKS)
    if not many:
        raise Skipped("no connector has an address")
    return f"{many} addresses can be reached"


async def _why(settings: "UpstreamSettings") -> str:
    from broker.egress.reach import unreached

    return await unreached(settings)


def front(chosen: "Settings") -> str:
    """The gate as its clients reach it: the proxy passes Host on, and keeps what is for the inside."""
    import httpx

    try:
        with httpx.Client(base_url=chosen.url, timeout=5, trust_env=False, follow_redirects=False) as client:
            alive, measured = client.get("/livez"), client.get("/metrics")
    except httpx.HTTPError as error:
        raise Doubtful(
            f"nothing answers at gate.url from here ({type(error).__name__})",
            "start the gate and the proxy before it; run the doctor where clients are",
        ) from None
    if alive.status_code == WRONG_HOST:
        raise Stop(
            "the gate is asked under another Host", "let the proxy pass Host on, and name it in gate.allowed_hosts"
        )
    if alive.status_code != OK or alive.text != "ok\n":
        raise Stop(
            f"something else answers at gate.url ({alive.status_code})", "check gate.url and the proxy's backend"
        )
    if measured.status_code == OK and chosen.url.startswith("https://"):
        raise Doubtful("/metrics can be read from outside", "hide /metrics, /readyz and /bundles/ as deploy/proxy does")
    return f"{chosen.url} is this gate"
