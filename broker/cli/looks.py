"""What the doctor looks at on the host itself. A look returns how it is, or raises ``Skipped``, ``Doubtful`` or ``Stop``."""

import asyncio
import os
import resource
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from broker.cli import local
from broker.cli.exits import Stop

if TYPE_CHECKING:
    from broker.config import Settings
    from broker.egress import UpstreamSettings
    from broker.wiring import Wiring

T = TypeVar("T")
DISK_LOW, DISK_OUT = 2 * 1024**3, 256 * 1024**2
SKEW_DOUBTFUL, SKEW_MAX = 2.0, 30.0
"""Seconds between two clocks: tokens and leases bear the first, and not the second."""
DAYS_LEFT = 21
DESCRIPTORS = 4096
"""What a gate under load holds open: clients' connections, those to targets, and the databases' files."""


class Skipped(Exception):
    """There is nothing to look at."""


class Doubtful(Exception):
    """The gate runs so, and something will not work; with the remedy."""


def check(chosen: "Settings") -> None:
    """What the gate refuses at its start, without starting anything; raises ``BrokerError`` or ``Stop``."""
    from broker.connectors.registry import read_settings
    from broker.egress import Upstream
    from broker.egress.client import system_resolve
    from broker.identity import issuer_profile

    for one in chosen.connectors:
        read_settings(one.adapter, one.name, one.settings)
        for address in addresses(one.name, one.settings):
            Upstream(address, system_resolve)
    for issuer in chosen.identity.issuers:
        try:
            issuer_profile(issuer.model_dump(exclude=set(local.NOT_OF_THE_PROFILE)))
        except ValueError as error:
            raise Stop(f"identity.issuers {issuer.name}: {error}", "see docs/settings.md") from None
    local.signers(chosen)
    if chosen.gate.tls_certificate_file is not None:
        from broker.web.tls import context_of

        context_of(chosen.gate)


def addresses(name: str, table: Mapping[str, Any]) -> Iterator["UpstreamSettings"]:
    """Every origin of one connector's settings, those inside lists with the bounds of what is around them."""
    from broker.egress import UpstreamSettings

    for key in ("base_url", "supervisor_url", "url"):
        url = table.get(key)
        if isinstance(url, str) and urlsplit(url).hostname:
            yield UpstreamSettings(
                name=name,
                base_url=url,
                allow_networks=tuple(table.get("allow_networks", ())),
                unix_socket=str(table.get("unix_socket", "")),
                ca_file=str(table.get("ca_file", "")),
                proxy_url=str(table.get("proxy_url", "")),
            )
    around = {key: table[key] for key in ("allow_networks", "ca_file", "proxy_url", "unix_socket") if key in table}
    for item in table.values():
        for one in item if isinstance(item, list | tuple) else ():
            if isinstance(one, Mapping):
                yield from addresses(name, {**around, **one})


def signing(chosen: "Settings") -> str:
    """Browsers ask for security keys at the gate's address."""
    from broker.authenticators import Site

    site = Site.of(chosen.url)
    if (fault := site.fault) is not None:
        raise Doubtful(f"no approval can be signed: {fault.detail}", fault.error_remedy)
    return f"security keys sign for {site.rp_id}"


def open_files(_: "Settings") -> str:
    """How many files and connections the process may hold."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS:
        raise Doubtful(
            f"a process may open {soft} files here", f"give the gate {DESCRIPTORS} or more: LimitNOFILE, or ulimit -n"
        )
    return "any number" if soft == resource.RLIM_INFINITY else f"{soft} files may be open"


def disk(chosen: "Settings") -> str:
    """Room for records where the gate writes."""
    free = min(shutil.disk_usage(folder).free for folder in _written(chosen))
    text = f"{free / 1024**3:.1f} GiB free"
    if free < DISK_OUT:
        raise Stop(text, "make room: without it nothing is recorded, and nothing executes")
    if free < DISK_LOW:
        raise Doubtful(text, "make room, or move audit.publish_dir")
    return text


def _written(chosen: "Settings") -> Iterator[Path]:
    """Folders that the gate writes to, or those above that exist."""
    for folder in (chosen.gate.data, chosen.audit.publish_dir or chosen.gate.data):
        yield next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())


def keys(chosen: "Settings") -> str:
    """Modes and lengths of the gate's own keys."""
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


def secrets(chosen: "Settings") -> str:
    """Files with credentials that the configuration names: there, and not for everybody."""
    files = sorted(set(_named(chosen.model_dump(mode="json"))))
    if not files:
        raise Skipped("the configuration names no file with a credential")
    for path in files:
        mode = path.stat().st_mode
        if not os.access(path, os.R_OK):
            raise Stop(f"{path} cannot be read by this user", f"let the gate's user read {path}")
        if mode & 0o007:
            raise Stop(f"{path} can be read by everybody", f"chmod o= {path}, and consider a new credential")
    return f"{len(files)} files with credentials, none for everybody"


def _named(value: Any, key: str = "") -> Iterator[Path]:
    """Every path under a key that ends in a secret's file."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _named(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _named(item, key)
    elif isinstance(value, str) and value and key in SECRET_FILES:
        yield Path(value)


SECRET_FILES = frozenset(
    {
        "credential_file",
        "token_file",
        "secret_file",
        "key_file",
        "client_secret_file",
        "bundle_token_file",
        "tls_key_file",
    }
)


def certificate(chosen: "Settings") -> str:
    """How long the gate's own certificate holds."""
    from datetime import UTC, datetime

    from cryptography import x509

    from broker.clock import SystemClock, seconds

    if chosen.gate.tls_certificate_file is None:
        raise Skipped("TLS ends in front of the gate")
    read = x509.load_pem_x509_certificates(chosen.gate.tls_certificate_file.read_bytes())
    now = datetime.fromtimestamp(seconds(SystemClock()), UTC)
    left = (min(one.not_valid_after_utc for one in read) - now).days
    if left < 0:
        raise Stop("the certificate is over", "put a new one at gate.tls_certificate_file and restart the gate")
    if left < DAYS_LEFT:
        raise Doubtful(f"the certificate ends in {left} days", "renew it and restart the gate")
    return f"the certificate holds {left} days more"


def store(chosen: "Settings") -> str:
    """The database answers and has the newest form."""
    from broker.store import Store

    _made(chosen)
    database = Store(local.database(chosen))
    try:
        if not asyncio.run(database.ready()):
            raise Stop("the database has an older form", "run wicketgate migrate, or restart the gate")
    finally:
        database.close()
    return f"{database.dialect} answers and is current"


def _made(chosen: "Settings") -> None:
    if not chosen.store.url and not (chosen.gate.data / "gate.db").exists():
        raise Skipped("the gate makes its database at its first start")


def clock(chosen: "Settings") -> str:
    """This host's clock against the database's, which other replicas share."""
    from broker.clock import SystemClock
    from broker.store import Store
    from broker.store.skew import database_time

    _made(chosen)
    database, ours = Store(local.database(chosen)), SystemClock()
    try:
        theirs = asyncio.run(database.read(database_time))
    finally:
        database.close()
    if theirs is None:
        return "the database is on this host"
    return apart(theirs - ours.now_ns() / 1e9, "the database")


def apart(difference: float, whose: str) -> str:
    """How far two clocks are apart; raises ``Doubtful`` or ``Stop`` where it matters."""
    text, remedy = f"the clocks of this host and {whose} are {abs(difference):.1f} s apart", "set both by NTP"
    if abs(difference) > SKEW_MAX:
        raise Stop(text, remedy)
    if abs(difference) > SKEW_DOUBTFUL:
        raise Doubtful(text, remedy)
    return text


def wired(chosen: "Settings", use: "Callable[[Wiring], T]") -> T:
    """What ``use`` finds with the gate's own parts, which are not started."""
    from broker.clock import SystemClock
    from broker.wiring import Wiring

    if not (chosen.gate.data / "keys" / "log.key").exists():
        raise Skipped("the gate was not started yet")
    parts = Wiring(chosen, clock=SystemClock())
    try:
        return use(parts)
    finally:
        parts.store.close()


def policy(chosen: "Settings") -> str:
    """The newest activation still verifies under the configured signers."""
    from broker.policy.bundle import open_bundle

    async def newest(parts: "Wiring") -> tuple[bytes, str, int]:
        latest = await parts.bundles.latest()
        if latest is None:
            raise Stop("no policy was activated yet", "name policy.bundle, or run wicketgate policy activate")
        days = (parts.clock.now_ns() - latest.at_ns) // (86_400 * 10**9)
        return (*await parts.bundles.bundle(latest.digest), int(days))

    archive, signature, days = wired(chosen, lambda parts: asyncio.run(newest(parts)))
    bundle = open_bundle(archive, signature, local.signers(chosen))
    return f"revision {bundle.revision}, {bundle.digest[:16]}, verified, in force for {days} days"


def opa(chosen: "Settings") -> str:
    """OPA answers on its socket, to the gate alone, and only what it should."""
    if chosen.policy.engine != "opa":
        raise Skipped("the embedded engine decides")
    path = Path(chosen.policy.opa_socket)
    status = _asked(path, "/health?bundles")
    if status == 500:
        raise Stop(
            "OPA holds no bundle yet", "look at OPA's own output: the token, the gate's address and the public key"
        )
    if status != 200:
        raise Stop(f"OPA is not healthy: it answers {status}", "look at OPA's own output")
    if _asked(path, "/v1/policies") != 401:
        raise Stop("OPA answers whoever asks", "start it with --authorization=basic and the bundle deploy/opa/authz")
    if path.stat().st_mode & 0o007:
        raise Stop("OPA's socket is for everybody", "start OPA with --unix-socket-perm=660")
    return "OPA holds a bundle and answers the gate's question alone"


def _asked(path: Path, target: str) -> int:
    """OPA's status for one GET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(path))
            probe.sendall(f"GET {target} HTTP/1.1\r\nHost: opa\r\nConnection: close\r\n\r\n".encode())
            said = probe.recv(64)
        except OSError as error:
            told = error.strerror or type(error).__name__
            raise Stop(f"OPA on {path}: {told}", "start OPA as deploy/opa says") from None
    words = said.split(b" ", 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def log(chosen: "Settings") -> str:
    """The published log verifies under its own key, and the database holds what was published, unchanged."""
    from audit import merkle
    from audit.checkpoint import parse_checkpoint
    from audit.note import parse_vkey
    from audit.source import open_source
    from audit.verify import verify

    folder = chosen.audit.publish_dir or chosen.gate.data
    if not (folder / "log" / "checkpoint").exists():
        raise Skipped("nothing was published yet")
    report = verify(open_source(str(folder / "log")), parse_vkey((folder / "log.vkey").read_text("utf-8")), [], None)
    if not report.ok:
        raise Stop(report.verdict, f"run wicketgate audit verify {folder / 'log'} --vkey {folder / 'log.vkey'}")
    published, _ = parse_checkpoint((folder / "log" / "checkpoint").read_bytes())

    def held(parts: "Wiring") -> tuple[int, bytes]:
        """How many records the database has, and the root over as many as were published."""
        session = parts.log_store.connect()
        try:
            size = session.size(published.origin)
            return size, merkle.root(min(size, published.size), partial(session.hashes, published.origin))
        finally:
            session.close()

    size, root = wired(chosen, held)
    if size < published.size or root != published.root:
        raise Stop(
            "the database does not hold what was published",
            "stop the gate and keep every copy; an older database was restored, or somebody changed it: docs/operations.md",
        )
    return f"{published.size} records are published and verify; {size - published.size} wait to be"
