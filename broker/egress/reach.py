"""Whether an origin can be reached: its name resolved and judged, a connection made, its certificate checked. Nothing is asked."""

import asyncio
import contextlib
import os
import socket
import ssl
from urllib.parse import urlsplit

from broker.egress.addresses import AddressRule, forbidden
from broker.egress.client import UpstreamSettings, system_resolve, tls
from broker.errors import Denied

PORTS = {"http": 80, "https": 443}


async def unreached(settings: UpstreamSettings) -> str:
    """Why ``settings`` cannot be reached, in words without its address; empty where it can."""
    try:
        async with asyncio.timeout(settings.connect_seconds):
            await _connect(settings)
    except TimeoutError:
        return f"no connection within {settings.connect_seconds:g} s"
    except OSError as error:
        return _words(error)
    except Denied:
        return "its address is in no network of allow_networks"
    return ""


async def _connect(settings: UpstreamSettings) -> None:
    if settings.unix_socket:
        await _closed(await asyncio.open_unix_connection(settings.unix_socket))
        return
    named = urlsplit(settings.proxy_url or settings.base_url)
    host, port = named.hostname or "", named.port or PORTS.get(named.scheme, 443)
    addresses = await system_resolve(host, port)
    rule = AddressRule(settings.allow_networks)
    if not all(rule.permits(address) for address in addresses):
        raise forbidden(settings.name)
    context = tls(settings.ca_file) if named.scheme == "https" else None
    streams = await asyncio.open_connection(addresses[0], port, ssl=context, server_hostname=host if context else None)
    await _closed(streams)


def _words(error: OSError) -> str:
    """What went wrong, without addresses."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not hold: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS is spoken there: {error.reason or 'the handshake failed'}"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    return (os.strerror(error.errno) if error.errno else type(error).__name__).lower()


async def _closed(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    streams[1].close()
    with contextlib.suppress(OSError):
        await streams[1].wait_closed()
