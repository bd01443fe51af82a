"""The gate's own TLS: a client may show a certificate; ``wire`` puts what the handshake verified into its requests."""

import ssl
from asyncio import AbstractEventLoop
from functools import partial

from broker.config import GateSettings
from broker.errors import BadRequest

HANDSHAKE_SECONDS = 10


def context_of(gate: GateSettings) -> ssl.SSLContext:
    """TLS 1.2 or newer with the configured certificate; raises ``BadRequest`` (``config.invalid``) for its files.

    A certificate that no authority of ``client_ca_file`` issued ends the handshake; to show none is no fault.
    """
    assert gate.tls_certificate_file is not None
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    try:
        made.load_cert_chain(gate.tls_certificate_file, gate.tls_key_file)
        if gate.client_ca_file is not None:
            made.load_verify_locations(gate.client_ca_file)
            made.verify_mode = ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as error:
        raise BadRequest(
            f"the files of the gate's TLS cannot be used: {type(error).__name__}",
            code="config.invalid",
            remedy="check gate.tls_certificate_file, gate.tls_key_file and gate.client_ca_file (PEM, the key unencrypted)",
        ) from None
    return made


def bound_handshakes(loop: AbstractEventLoop, tls: ssl.SSLContext | None) -> None:
    """Where the gate speaks TLS, servers that ``loop`` makes from now on close what has not shaken hands in time.

    The server has no setting for it, and before the handshake is over a connection counts against no limit of its own.
    """
    if tls is not None:
        loop.create_server = partial(loop.create_server, ssl_handshake_timeout=HANDSHAKE_SECONDS)  # type: ignore[method-assign]
