"""``wicketgate serve``: the gate's process."""

import asyncio
import gc
import logging
import math
import os
import resource
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from broker.cli import places
from broker.cli.exits import Stop

if TYPE_CHECKING:
    import uvicorn

    from broker.config import Settings
    from broker.wiring import Wiring

KEEP_ALIVE_SECONDS = 75
CONNECTIONS_PER_REQUEST = 4
"""Idle connections count as much as busy ones."""
FILES_BESIDE = 512
"""Descriptors that the gate needs beside its clients' connections."""
GARBAGE_AFTER = 5_000
"""New objects after which cycles are looked for. The interpreter's 700 are made by every action, and hardly one in a cycle."""


@click.command()
@click.option("--config", type=click.Path(path_type=Path), envvar="WICKETGATE_CONFIG", help="Configuration (TOML).")
@click.option("--dev", is_flag=True, help="Embedded defaults and a development identity provider, on loopback only.")
@click.option("--data", type=click.Path(path_type=Path), help="Data folder.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.")
@click.option("--policies", type=click.Path(path_type=Path), help="With --dev: policy folder to sign and use.")
def serve(config: Path | None, dev: bool, data: Path | None, port: int | None, policies: Path | None) -> None:
    """Run the gate until it is told to end (SIGTERM, SIGINT)."""
    from broker import config as configuration

    if config is None and not dev:
        raise click.UsageError("give --config FILE, or --dev to try the gate on this machine")
    if policies is not None and not dev:
        raise click.UsageError("--policies goes with --dev: elsewhere the policy is a signed bundle")
    settings = configuration.load(config)
    if dev and settings.gate.tls_certificate_file is not None:
        raise Stop(
            "--dev speaks plain HTTP on this machine", "leave gate.tls_certificate_file out, or run without --dev"
        )
    chosen = {"data": data, "port": port}
    gate = settings.gate.model_copy(update={name: value for name, value in chosen.items() if value is not None})
    with _listener(gate.host, gate.port, dev=dev) as listener:
        gate = gate.model_copy(update={"port": listener.getsockname()[1], "data": gate.data.absolute()})
        _run(settings.model_copy(update={"gate": gate}), listener, dev=dev, policies=policies)


def _listener(host: str, port: int, *, dev: bool) -> socket.socket:
    """A bound socket, so that an occupied port is told before anything is opened; it listens when the gate is up."""
    from broker.identity.profiles import is_loopback

    if dev and not is_loopback(host):
        raise Stop(f"--dev does not listen on {host}", "leave gate.host at 127.0.0.1, or run without --dev")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Stop(f"gate.host {host}: {error.strerror}", "give an address of this machine") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise Stop(f"{host} port {port}: {error.strerror}", "end what listens there, or give another --port") from None
    return listener


def _run(settings: "Settings", listener: socket.socket, *, dev: bool, policies: Path | None) -> None:
    """Wire the gate and serve it on ``listener``."""
    from broker import wiring
    from broker.authenticators import Site
    from broker.clock import SystemClock
    from broker.identity.dev import new_code

    given = os.environ.get("WICKETGATE_DEV_CODE", "")
    code = given or new_code()
    try:
        development = wiring.Development(code=code, policies=policies or places.policies()) if dev else None
        gate = wiring.Wiring(settings, clock=SystemClock(), development=development)
    except ValueError as error:
        raise Stop(str(error), "mend gate.url or WICKETGATE_DEV_CODE") from None
    if dev:
        places.remember_agent_key(settings.url, settings.gate.data / "keys" / "agent-1.jwk")
    welcome = _welcome(settings, "" if given else code) if dev else [f"ready: {settings.url}"]
    if (fault := Site.of(settings.url).fault) is not None:
        welcome.append(f"warning: no approval can be signed here: {fault.detail}; {fault.error_remedy}")
    _serve(gate, settings, listener, welcome)


def _welcome(settings: "Settings", code: str) -> list[str]:
    """What a person does next in development; ``code`` only where it is not theirs already."""
    approve = "wicketgate approvals list --as security"
    url = "" if settings.url == places.DEFAULT_URL else f"export WICKETGATE_URL={settings.url}"
    return [
        f"wicketgate: {settings.url} (development: this machine only; never for production)",
        f"data:       {settings.gate.data}",
        *([f"code:       {code}    personas oncall, security, deputy and auditor sign in with it"] if code else []),
        "next:",
        *([f"  {url}"] if url else []),
        *([f"  export WICKETGATE_DEV_CODE={code}    only where you work, never where an agent runs"] if code else []),
        "  wicketgate token --as agent               a bearer token for an agent",
        f"  {approve}   what waits for a person",
        f"  wicketgate audit verify {settings.gate.data}/log --vkey {settings.gate.data}/log.vkey",
    ]


def _serve(gate: "Wiring", settings: "Settings", listener: socket.socket, welcome: list[str]) -> None:
    """Serve until a signal; failures of the start are raised as themselves, not as the server's traceback."""
    import importlib.util

    import uvicorn

    from broker.web.app import build
    from broker.web.tls import bound_handshakes, context_of
    from broker.web.wire import Bounds, look_for_ever, protocol_of

    tls = context_of(settings.gate) if settings.gate.tls_certificate_file else None
    failed: list[Exception] = []
    served = build(gate)
    most = _room_for(settings.web.concurrent_requests_max * CONNECTIONS_PER_REQUEST)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await served(scope, receive, send)
        except Exception as error:
            if scope["type"] == "lifespan":
                failed.append(error)
            raise

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            bound_handshakes(asyncio.get_running_loop(), tls)
            await super().startup(sockets)
            connections = self.server_state.connections
            gate.telemetry.queue(lambda: [("connections", len(connections), most, 0)])
            self.looking = asyncio.create_task(look_for_ever(connections))
            # What the start made lives as long as the process. A full collection that walks it, rare
            # as it is, holds the loop for a tenth of a second.
            gc.collect()
            gc.freeze()
            gc.set_threshold(GARBAGE_AFTER)
            click.echo("\n".join(welcome), err=True)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # Not ready, and no new work; the listener stays for a balancer that has not seen it yet.
            gate.stopping.set()
            await asyncio.sleep(settings.gate.stop_notice_seconds)
            # Streams have no end of their own, and the server waits for every answer under way.
            for let_go in gate.leaving:
                let_go()
            await gate.feed.aclose()
            # What is under way has until one moment, whether a client waits for it or not.
            self.config.timeout_graceful_shutdown = math.ceil(gate.stopping.left())
            await super().shutdown(sockets)
            self.looking.cancel()

    config = uvicorn.Config(
        app,
        http=protocol_of(Bounds.of(settings.web, most, gate.telemetry)),
        ssl_context_factory=(lambda *_: tls) if tls else None,
        loop="uvloop" if importlib.util.find_spec("uvloop") else "asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    _quiet_libraries(gate)
    _until_told(Server(config), listener, failed)


def _until_told(server: "uvicorn.Server", listener: socket.socket, failed: list[Exception]) -> None:
    """Run until a signal. Raises what the application's start ``failed`` with."""
    # The server raises the signal again when it is done; then, and before it starts, the process just ends.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    try:
        server.run(sockets=[listener])
    except SystemExit as ended:
        if ended.code and failed:
            raise failed[0] from None
        if ended.code:
            raise Stop("the gate did not start", "see the lines above") from None


def _room_for(connections: int) -> int:
    """As many of ``connections`` as this process may have files for, after it asked for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - FILES_BESIDE))


def _end(*_: object) -> None:
    raise SystemExit(0)


def _quiet_libraries(gate: "Wiring") -> None:
    """Libraries' warnings as place and class only: their texts may quote what they were given."""

    class Places(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[0] if record.exc_info else None
            at = f"{record.module}:{record.lineno}"
            gate.telemetry.warning("library.warned", logger=record.name, at=at, error=error.__name__ if error else "")

    logging.basicConfig(level=logging.WARNING, handlers=[Places()], force=True)
