"""``wicketgate config``, ``migrate`` and ``doctor``: for whoever runs the gate."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker.cli import local
from broker.cli.caller import json_option
from broker.cli.exits import ERROR, Stop

if TYPE_CHECKING:
    from broker.config import Settings

_config = click.option("--config", type=click.Path(path_type=Path), envvar="WICKETGATE_CONFIG", help="TOML file.")
_data = click.option("--data", type=click.Path(path_type=Path), help="Data folder.")


@click.group("config")
def configuration() -> None:
    """The gate's configuration."""


@configuration.command()
@_config
@_data
@json_option
def check(config: Path | None, data: Path | None, as_json: bool) -> None:
    """Read the configuration as the gate would, and stop at the first thing it would refuse."""
    chosen = local.settings(config, data)
    _check(chosen)
    warnings = _warnings(chosen)
    shown = {"ok": True, "url": chosen.url, "connectors": [one.name for one in chosen.connectors], "warnings": warnings}
    lines = [f"ok: {chosen.url}, {len(chosen.connectors)} connectors", *(f"warning: {one}" for one in warnings)]
    click.echo(json.dumps(shown) if as_json else "\n".join(lines))


@configuration.command("print")
@_config
@_data
@json_option
def print_settings(config: Path | None, data: Path | None, as_json: bool) -> None:
    """Every setting with its value in force, environment included; secrets are hidden."""
    from broker.config import hidden

    shown = hidden(local.settings(config, data).model_dump(mode="json"))
    click.echo(json.dumps(shown, indent=None if as_json else 2))


@click.command()
@_config
@_data
@json_option
def migrate(config: Path | None, data: Path | None, as_json: bool) -> None:
    """Make or renew the database's tables; the gate does it at its start, too."""
    from broker.store import Store

    chosen = local.settings(config, data)
    chosen.gate.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = Store(_url(chosen))
    try:
        store.migrate()
    finally:
        store.close()
    click.echo(json.dumps({"ok": True, "database": store.dialect}) if as_json else f"ok: {store.dialect} is current")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: what was looked at, how it is, and what to do about it."""

    part: str
    state: str
    text: str
    remedy: str = ""


class Skipped(Exception):
    """There is nothing to look at."""


class Doubtful(Exception):
    """The gate runs so, and something will not work; with the remedy."""


@click.command()
@_config
@_data
@json_option
def doctor(config: Path | None, data: Path | None, as_json: bool) -> None:
    """Look at every part that the gate needs; each line says what to do."""
    chosen: list[Settings] = []

    def read() -> str:
        chosen.append(local.settings(config, data))
        _check(chosen[0])
        return chosen[0].url

    found = [_look("config", read)]
    for part, look in _PARTS.items() if chosen else ():
        found.append(_look(part, lambda look=look: look(chosen[0])))  # type: ignore[misc]
    for one in found:
        line = f"{one.state:4}  {one.part:8}  {one.text}" + (f"\n      do: {one.remedy}" if one.remedy else "")
        shown = {"part": one.part, "state": one.state, "detail": one.text, "remedy": one.remedy}
        click.echo(json.dumps(shown) if as_json else line)
    click.get_current_context().exit(ERROR if any(one.state == "FAIL" for one in found) else 0)


def _look(part: str, look: Callable[[], str]) -> Finding:
    """The finding of one check; every failure that has words becomes a line."""
    from broker.cli import exits

    try:
        return Finding(part, "ok", look())
    except Skipped as skipped:
        return Finding(part, "skip", str(skipped))
    except Doubtful as doubtful:
        return Finding(part, "warn", *doubtful.args)
    except Exception as error:
        failure = exits.read(error)
        if failure is None:
            raise
        return Finding(part, "FAIL", failure.text, failure.remedy or "mend it and run wicketgate doctor again")


def _check(chosen: "Settings") -> None:
    """What the gate refuses at its start, without starting anything; raises ``BrokerError`` or ``Stop``."""
    from broker.connectors.registry import read_settings
    from broker.identity import issuer_profile

    for one in chosen.connectors:
        read_settings(one.adapter, one.name, one.settings)
    for issuer in chosen.identity.issuers:
        try:
            issuer_profile(issuer.model_dump(exclude={"allow_networks", "ca_file"}))
        except ValueError as error:
            raise Stop(f"identity.issuers {issuer.name}: {error}", "see docs/settings.md") from None
    local.signers(chosen)
    if chosen.gate.tls_certificate_file is not None:
        from broker.web.tls import context_of

        context_of(chosen.gate)


def _warnings(chosen: "Settings") -> list[str]:
    """What the gate takes at its start and cannot live up to."""
    try:
        _signing(chosen)
    except Doubtful as doubtful:
        return ["; ".join(doubtful.args)]
    return []


def _signing(chosen: "Settings") -> str:
    """Browsers ask for security keys at the gate's address."""
    from broker.authenticators import Site

    site = Site.of(chosen.url)
    if (fault := site.fault) is not None:
        raise Doubtful(f"no approval can be signed: {fault.detail}", fault.error_remedy)
    return f"security keys sign for {site.rp_id}"


def _keys(chosen: "Settings") -> str:
    """Modes and lengths of the secret files."""
    from audit.keyfile import read_key

    folder = chosen.gate.data / "keys"
    if not folder.is_dir():
        raise Skipped("the gate makes its keys at its first start")
    if folder.stat().st_mode & 0o077:
        raise Stop(f"{folder} can be read by others", f"chmod 700 {folder}")
    files = sorted(folder.glob("*.key"))
    for path in files:
        if path.name != local.DEV_KEY:
            read_key(path, 32)
        elif path.stat().st_mode & 0o077:
            raise Stop(f"{path} can be read by others", f"chmod 600 {path}")
    return f"{len(files)} key files, for their owner only"


def _policy(chosen: "Settings") -> str:
    """The newest activation still verifies under the configured signers."""
    from broker.clock import SystemClock
    from broker.policy.bundle import open_bundle
    from broker.wiring import Wiring

    if not (chosen.gate.data / "keys").is_dir():
        raise Skipped("the gate loads its policy at its first start")

    async def newest() -> tuple[bytes, str]:
        parts = Wiring(chosen, clock=SystemClock())
        try:
            latest = await parts.bundles.latest()
            if latest is None:
                raise Stop("no policy was activated yet", "name policy.bundle, or run wicketgate policy activate")
            return await parts.bundles.bundle(latest.digest)
        finally:
            parts.store.close()

    bundle = open_bundle(*asyncio.run(newest()), local.signers(chosen))
    return f"revision {bundle.revision}, {bundle.digest[:16]}, verified"


def _store(chosen: "Settings") -> str:
    """The database answers and has the newest form."""
    from broker.store import Store

    if not chosen.store.url and not (chosen.gate.data / "gate.db").exists():
        raise Skipped("the gate makes its database at its first start")
    store = Store(_url(chosen))
    try:
        if not asyncio.run(store.ready()):
            raise Stop("the database has an older form", "run wicketgate migrate, or restart the gate")
    finally:
        store.close()
    return f"{store.dialect} answers and is current"


def _opa(chosen: "Settings") -> str:
    """OPA answers on its socket."""
    import socket

    if chosen.policy.engine != "opa":
        raise Skipped("the embedded engine decides")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(chosen.policy.opa_socket)
            probe.sendall(b"GET /health HTTP/1.1\r\nHost: opa\r\nConnection: close\r\n\r\n")
            status = probe.recv(64).split(b"\r\n")[0].decode("ascii", "replace")
        except OSError as error:
            said = error.strerror or type(error).__name__
            raise Stop(f"OPA on {chosen.policy.opa_socket}: {said}", "start OPA as deploy/opa says") from None
    if " 200 " not in f"{status} ":
        raise Stop(f"OPA is not healthy: {status}", "look at OPA's own output")
    return "OPA is healthy"


def _log(chosen: "Settings") -> str:
    """The published log verifies under its own key."""
    from audit.note import parse_vkey
    from audit.source import open_source
    from audit.verify import verify

    root = chosen.audit.publish_dir or chosen.gate.data
    if not (root / "log" / "checkpoint").exists():
        raise Skipped("nothing was published yet")
    report = verify(open_source(str(root / "log")), parse_vkey((root / "log.vkey").read_text("utf-8")), [], None)
    if not report.ok:
        raise Stop(report.verdict, f"run wicketgate audit verify {root / 'log'} --vkey {root / 'log.vkey'}")
    return "the published log verifies"


_PARTS: Mapping[str, Callable[["Settings"], str]] = {
    "signing": _signing,
    "keys": _keys,
    "policy": _policy,
    "store": _store,
    "opa": _opa,
    "log": _log,
}


def _url(chosen: "Settings") -> str:
    """Address of the database, as the gate composes it."""
    return chosen.store.url or f"sqlite:///{chosen.gate.data / 'gate.db'}"
