"""Settings to a running gate by constructor arguments: the only composition root."""

import asyncio
import fcntl
import os
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from audit.keyfile import create_key, read_key
from audit.log import Log
from audit.payload import LocalKey
from audit.postgres import PostgresStore
from audit.publisher import Publisher
from audit.signer import FileSigner
from audit.sqlite import SqliteStore
from audit.store import Store as LogStore
from broker.acts import Acts
from broker.approvals import Approvals, Proposal
from broker.background import Background
from broker.clock import Clock
from broker.config import IssuerSettings, Settings
from broker.connectors.base import Connector
from broker.connectors.registry import build_connector, read_settings
from broker.egress import Egress, UpstreamSettings
from broker.errors import BadRequest, Conflict
from broker.identity import Fetch, Verifier, issuer_profile
from broker.identity.dev import PERSONAS, DevProvider, Persona, agent_key
from broker.killswitch import KillSwitch
from broker.leases import Leases
from broker.limits import Limits
from broker.obligations import Obligations
from broker.pipeline import Pipeline
from broker.policy import keys as policy_keys
from broker.policy.activations import ActivationFiles
from broker.policy.bundle import build_bundle, revision_number
from broker.policy.delivery import BundleShelf
from broker.policy.engine import EngineHost
from broker.policy.opa import OpaHost, OpaSettings
from broker.policy.pdp import PolicyDecisionPoint
from broker.policy.regorus import Bounds, RegorusHost
from broker.reading import Reader
from broker.records import Records
from broker.redaction import Profile, Redactor, Vault, VaultRow, profiles_from
from broker.sessions import Sessions
from broker.store import Store
from broker.store.vault import VaultTable
from broker.streams import Streams
from broker.telemetry import Telemetry
from broker.web import app as web
from broker.web.api import Api
from broker.web.guard import App
from broker.web.llm import ModelApi

DEV_ISSUER = "dev"
DEV_PATH = "/dev-idp"
AUDIENCE_SUFFIX = "/v1"


@dataclass(frozen=True, slots=True)
class Development:
    """What ``serve --dev`` adds: our identity provider, and the policy folder signed with a key of its own."""

    code: str
    policies: Path
    people: Mapping[str, Persona] = field(default_factory=lambda: PERSONAS)


@dataclass(frozen=True, slots=True)
class Gate:
    """A wired gate; ``app`` is served, everything else belongs to its lifespan."""

    app: App
    pipeline: Pipeline
    log: Log
    policy: PolicyDecisionPoint
    telemetry: Telemetry


def build(settings: Settings, *, clock: Clock, development: Development | None = None) -> Gate:
    """Wire everything; opens no connection yet. Raises ``BadRequest`` that names the wrong setting."""
    data = settings.gate.data
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = Keys(data / "keys")
    telemetry = Telemetry()
    egress = Egress()

    shared = bool(settings.store.url)
    store = Store(settings.store.url or f"sqlite:///{data / 'gate.db'}", threads=settings.store.threads)
    log_store: LogStore = PostgresStore(_libpq(settings.store.url)) if shared else SqliteStore(data / "audit.db")
    signer = keys.signer()
    log = Log(log_store, name=settings.audit.origin, signer=signer, keys=LocalKey(keys.secret("payload.key")), random=os.urandom)
    publisher = Publisher(log_store, signer, settings.audit.publish_dir or data, log.origin(settings.gate.default_tenant))
    records = Records(log, clock=clock, pseudonym_key=keys.secret("pseudonym.key"))

    shelf = BundleShelf()
    bundles = ActivationFiles(data / "policy")
    policy = PolicyDecisionPoint(signers=_signers(settings, keys, development), rows=bundles, host=_engine(settings, shelf), clock=clock)
    vault = Vault(VaultTable(store, VaultRow), {settings.redaction.region: keys.secret(f"vault-{settings.redaction.region}.key")})
    redactor = Redactor(vault=vault, profiles=ActiveProfiles(policy), clock=clock)

    provider = _provider(settings, keys, clock, development) if development else None
    identity = Verifier(_profiles(settings, development), _fetch(settings, egress, provider), clock)
    sessions, approvals = Sessions(store, clock), Approvals(store, clock)
    approved: asyncio.Queue[Proposal] = asyncio.Queue()
    acts = Acts(
        sessions=sessions,
        approvals=approvals,
        kills=KillSwitch(store, clock, roles=settings.kill.roles, roles_for_all=("security", "operator")),
        policy=policy,
        bundles=bundles,
        records=records,
        log=log,
        store=store,
        inventory=settings.resource,
        clock=clock,
        session_seconds=settings.sessions.seconds_max,
        budgets={"actions": settings.sessions.actions_max, "tokens": settings.sessions.tokens_max},
        approved=approved,
    )
    connectors: dict[str, Connector] = {"gate": acts}
    for one in settings.connectors:
        connectors[one.name] = build_connector(read_settings(one.adapter, one.name, one.settings), egress, clock)
    reader = Reader(
        catalog=lambda: policy.catalog,
        store=store,
        sessions=sessions,
        records=records,
        redactor=redactor,
        inventory=settings.resource,
        clock=clock,
        id_key=keys.secret("id.key"),
        region=settings.redaction.region,
    )
    pipeline = Pipeline(
        identity=identity,
        reader=reader,
        sessions=sessions,
        approvals=approvals,
        policy=policy,
        obligations=Obligations(limits=Limits(store), approvals=approvals, leases=Leases(store, clock), redactor=redactor, clock=clock),
        records=records,
        redactor=redactor,
        connectors=connectors,
        clock=clock,
        approval_grace_seconds=settings.sessions.approval_grace_seconds,
    )
    background = Background(
        pipeline=pipeline,
        acts=acts,
        approvals=approvals,
        approved=approved,
        records=records,
        log=log,
        publisher=publisher,
        policy=policy,
        identity=identity,
        connectors=connectors,
        clock=clock,
        telemetry=telemetry,
        publish_seconds=settings.audit.publish_seconds,
        shared=shared,
    )

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        with _alone(data, shared=shared):
            await asyncio.to_thread(store.migrate)
            await log.start()
            await policy.start()
            if development is not None:
                await _activate_folder(policy, bundles, keys, development)
            elif policy.active is None and settings.policy.bundle is not None:
                await _activate_file(policy, settings.policy.bundle)
            with suppress(BadRequest):
                await identity.refresh()
            await background.start()
            telemetry.event("gate.started", port=settings.gate.port, engine=policy.engine_label, dev=development is not None)
            try:
                yield
            finally:
                await background.aclose()
                for connector in connectors.values():
                    await connector.aclose()
                await policy.aclose()
                await log.aclose()
                await egress.aclose()
                store.close()

    async def ready() -> dict[str, str]:
        missing: dict[str, str] = {}
        if policy.active is None:
            missing["policy"] = policy.problem
        if not await log.healthy():
            missing["log"] = "the audit log cannot be written"
        if not await store.ready():
            missing["store"] = "the database does not answer"
        if not identity.ready:
            missing["identity"] = "the key set of an issuer is missing or too old"
        return missing

    api = Api(pipeline=pipeline, acts=acts, identity=identity, settings=settings)
    models = ModelApi(api=api, pipeline=pipeline, streams=Streams(pipeline=pipeline, records=records, redactor=redactor), settings=settings)
    mounts: dict[str, ASGIApp] = {DEV_PATH: provider} if provider else {}
    app = web.build(
        settings=settings, api=api, models=models, health=web.Health(ready, telemetry), telemetry=telemetry, lifespan=lifespan, clock=clock, mounts=mounts
    )
    return Gate(app, pipeline, log, policy, telemetry)


class Keys:
    """Secret key files of the data folder, made at first use; replicas are given the same folder."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is made with mode 0700."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder

    def secret(self, name: str) -> bytes:
        """32 bytes; raises ``audit.errors.KeyRefused`` for a file that others can read."""
        path = self.folder / name
        if not path.exists():
            create_key(path, secrets.token_bytes(32))
        return read_key(path, 32)

    def signer(self) -> FileSigner:
        """The log's signer."""
        self.secret("log.key")
        return FileSigner.from_file(self.folder / "log.key")


class ActiveProfiles(Mapping[str, Profile]):
    """Redaction profiles of whatever bundle is active now."""

    def __init__(self, policy: PolicyDecisionPoint) -> None:
        """Follow ``policy``; profiles are read once a bundle."""
        self._policy = policy
        self._digest = ""
        self._profiles: Mapping[str, Profile] = {}

    def _current(self) -> Mapping[str, Profile]:
        active = self._policy.active
        if active is None:
            return {}
        if active.digest != self._digest:
            self._profiles, self._digest = profiles_from(active.content.config.get("redaction", {})), active.digest
        return self._profiles

    def __getitem__(self, name: str) -> Profile:
        return self._current()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._current())

    def __len__(self) -> int:
        return len(self._current())


def _engine(settings: Settings, shelf: BundleShelf) -> EngineHost:
    """The embedded engine, or OPA beside the gate with the embedded one for trials."""
    chosen = settings.policy
    embedded = RegorusHost(Bounds(cpu_seconds=chosen.cpu_milliseconds_max / 1000, wall_seconds=chosen.wall_milliseconds_max / 1000))
    if chosen.engine == "regorus":
        return embedded
    if not chosen.opa_socket:
        raise BadRequest("policy.opa_socket is empty", code="config.invalid", remedy="name OPA's unix socket")
    return OpaHost(OpaSettings(socket=chosen.opa_socket, timeout_seconds=chosen.opa_milliseconds_max / 1000), shelf, embedded)


def _signers(settings: Settings, keys: Keys, development: Development | None) -> dict[str, Any]:
    """Public keys of whoever may sign bundles; development adds the pair that it made itself."""
    texts = {name: path.read_text(encoding="utf-8") for name, path in settings.policy.signers.items()}
    signers = policy_keys.read_signers(texts)
    if development is not None:
        key = policy_keys.dev_key(keys.folder, dev=True)
        signers[key.id] = key.public
    return signers


async def _activate_folder(policy: PolicyDecisionPoint, bundles: ActivationFiles, keys: Keys, development: Development) -> None:
    """Development: sign the policy folder as it is and put it into force where it differs from what is active."""
    history = await bundles.history()
    newest = max((revision_number(one.revision) for one in history), default=0)
    key = policy_keys.dev_key(keys.folder, dev=True)
    same = build_bundle(development.policies, key, str(newest)) if history else None
    if same is not None and policy.active is not None and policy.active.digest == same.digest:
        return
    bundle = build_bundle(development.policies, key, str(newest + 1))
    await policy.activate(bundle.archive, bundle.signature, by="dev:serve")


async def _activate_file(policy: PolicyDecisionPoint, path: Path) -> None:
    """First start: the bundle that the configuration names, with its detached signature beside it (``.sig``)."""
    signature = path.with_name(path.name + ".sig").read_text(encoding="utf-8")
    await policy.activate(path.read_bytes(), signature, by="config:policy.bundle")


def audience(settings: Settings) -> str:
    """What tokens for this gate name as their audience in development."""
    return settings.url + AUDIENCE_SUFFIX


def dev_issuer(settings: Settings) -> str:
    """Address of the development identity provider."""
    return settings.url + DEV_PATH


def _provider(settings: Settings, keys: Keys, clock: Clock, development: Development) -> DevProvider:
    """The development identity provider; the agent's private key lies in the keys folder."""
    return DevProvider(
        dev_issuer(settings),
        dev=True,
        audience=audience(settings),
        clock=clock,
        code=development.code,
        agent=agent_key(keys.folder / "agent-1.jwk"),
        people=development.people,
    )


def _profiles(settings: Settings, development: Development | None) -> list[Any]:
    """Issuer profiles of the configuration; development adds its own."""
    tables: list[dict[str, Any]] = [{**one.model_dump(exclude={"allow_networks", "ca_file"})} for one in settings.identity.issuers]
    if development is not None:
        own = IssuerSettings(name=DEV_ISSUER, profile="dev", issuer=dev_issuer(settings), jwks_uri=dev_issuer(settings) + "/jwks", audiences=(audience(settings),), tenant_claim="tenant", agents=("agent-1",), lifetime_seconds_max=600)
        tables.append(own.model_dump(exclude={"allow_networks", "ca_file"}))
    try:
        return [issuer_profile(table, insecure_loopback=development is not None) for table in tables]
    except ValueError as error:
        raise BadRequest(str(error), code="config.invalid", remedy="see docs/settings.md, section identity") from None


def _fetch(settings: Settings, egress: Egress, provider: DevProvider | None) -> Fetch:
    """Key sets through egress; those of the development provider straight from it."""
    by_prefix = {one.issuer.rstrip("/"): one for one in settings.identity.issuers}

    async def fetch(url: str) -> bytes:
        if provider is not None and url.startswith(provider.issuer):
            return provider.jwks()
        origin, slash, rest = url.partition("://")[2].partition("/")
        base = url[: url.index("://") + 3] + origin
        issuer = next((one for prefix, one in by_prefix.items() if url.startswith(prefix) or one.jwks_uri == url), None)
        upstream = egress.upstream(
            UpstreamSettings(
                name="identity",
                base_url=base,
                allow_networks=issuer.allow_networks if issuer else (),
                ca_file=issuer.ca_file if issuer else "",
                answer_bytes_max=1_048_576,
                timeout_seconds=5.0,
            )
        )
        answer = await upstream.request("GET", slash + rest)
        if answer.status != 200:
            raise OSError(f"key set: status {answer.status}")
        return answer.body

    return fetch


def _libpq(url: str) -> str:
    """The database's URL as libpq reads it."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


@contextmanager
def _alone(data: Path, *, shared: bool) -> Iterator[None]:
    """One gate a data folder on SQLite: the lock falls with the process, however it ends."""
    if shared:
        yield
        return
    with (data / "gate.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("another gate uses this data folder", code="gate.data_in_use", remedy="stop it, or give --data another folder") from None
        yield
