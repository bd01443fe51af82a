"""The lower parts of a gate: state and log, policy, redaction and identity."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson

from audit.log import Log
from audit.payload import LocalKey
from audit.publisher import Publisher
from audit.signer import FileSigner
from audit.sqlite import SqliteStore
from audit.store import Store as LogStore
from broker.approvals import Due
from broker.background import Stopping
from broker.clock import Clock, seconds
from broker.config import Settings
from broker.datafolder import Keys
from broker.egress import Egress, Upstream, UpstreamSettings
from broker.errors import BadRequest
from broker.identity import Certificates, Client, KeySetTimes, Sender, SignIn, Verifier, issuer_profile
from broker.identity.dev import PERSONAS, DevProvider, Persona, agent_key
from broker.logins import Limits, Logins
from broker.model import Principal
from broker.parties import Parties
from broker.policy import keys as policy_keys
from broker.policy.activations import ActivationFiles, ActivationRows
from broker.policy.bundle import build_bundle, revision_number
from broker.policy.delivery import BundleShelf
from broker.policy.engine import EngineHost
from broker.policy.pdp import PolicyDecisionPoint
from broker.policy.regorus import Bounds, RegorusHost
from broker.policy.shared import ActivationTable
from broker.profiles import ActiveProfiles
from broker.records import Records
from broker.redaction import Redactor, Vault, VaultRow
from broker.sections import IssuerSettings
from broker.store import Store, proofs
from broker.store.vault import VaultTable
from broker.telemetry import Telemetry

DEV_ISSUER = "dev"
DEV_PATH = "/dev-idp"
AUDIENCE_SUFFIX = "/v1"
CONSOLE_CALLBACK = "/console/callback"
CONSOLE_SIGNED_OUT = "/console/signedout"
ALERTS_CLIENT = "alerts-1"
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Development:
    """What ``serve --dev`` adds: our identity provider, and the policy folder signed with a key of its own."""

    code: str
    policies: Path
    people: Mapping[str, Persona] = field(default_factory=lambda: PERSONAS)
    agents: Sequence[str] = ()
    """Further agents beside `agent-1`."""


class Foundations:
    """What every part stands on: state, log, policy, redaction, identity."""

    def __init__(self, settings: Settings, *, clock: Clock, development: Development | None = None) -> None:
        """``development`` is given by ``serve --dev`` alone."""
        settings.gate.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.settings = settings
        self.clock = clock
        self.development = development
        self.shared = bool(settings.store.url)
        """Several replicas on one database; else one process owns the data folder."""
        self.telemetry = Telemetry(clock.monotonic)
        self.stopping = Stopping(
            clock, notice_seconds=settings.gate.stop_notice_seconds, seconds_max=settings.gate.stop_seconds_max
        )
        marked = settings.telemetry.hand_on_to if settings.telemetry.traces_url else ()
        self.egress = Egress(marked=marked, mark=self.telemetry.traceparent)
        self.shelf = BundleShelf()
        self.keys = Keys(settings.gate.data / "keys")
        self.approved = Due()

    # -- state and log ------------------------------------------------------------------------------------------------

    @cached_property
    def store(self) -> Store:
        """The gate's own state."""
        url = self.settings.store.url or f"sqlite:///{self.settings.gate.data / 'gate.db'}"
        return Store(url, threads=self.settings.store.threads)

    @cached_property
    def log_store(self) -> LogStore:
        """The log's storage: beside the state on PostgreSQL, a file of its own on SQLite (one writer lock each)."""
        if self.shared:
            from audit.postgres import PostgresStore

            return PostgresStore(self.settings.store.url.replace("postgresql+psycopg://", "postgresql://", 1))
        return SqliteStore(self.settings.gate.data / "audit.db")

    @cached_property
    def signer(self) -> FileSigner:
        """Signs checkpoints."""
        return self.keys.signer()

    @cached_property
    def log(self) -> Log:
        """The audit log."""
        payload_key = LocalKey(self.keys.secret("payload.key"))
        return Log(
            self.log_store,
            name=self.settings.audit.origin,
            signer=self.signer,
            keys=payload_key,
            random=os.urandom,
            timed=self.telemetry.committing,
        )

    @cached_property
    def publisher(self) -> Publisher:
        """Publishes tiles and checkpoints."""
        folder = self.settings.audit.publish_dir or self.settings.gate.data
        return Publisher(self.log_store, self.signer, folder, self.log.origin(self.settings.gate.default_tenant))

    @cached_property
    def records(self) -> Records:
        """The only caller of the log."""
        key = self.keys.secret("pseudonym.key")
        return Records(
            self.log,
            clock=self.clock,
            pseudonym_key=key,
            is_action=lambda name: self.policy.catalog.find(name) is not None,
        )

    # -- policy, redaction, identity ----------------------------------------------------------------------------------

    @cached_property
    def bundles(self) -> ActivationRows:
        """What was active when."""
        return ActivationTable(self.store) if self.shared else ActivationFiles(self.settings.gate.data / "policy")

    @cached_property
    def policy(self) -> PolicyDecisionPoint:
        """Decides."""
        return PolicyDecisionPoint(signers=self._signers(), rows=self.bundles, host=self._engine(), clock=self.clock)

    @cached_property
    def redactor(self) -> Redactor:
        """Hides what a model must not see."""
        region = self.settings.redaction.region
        vault = Vault(VaultTable(self.store, VaultRow), {region: self.keys.secret(f"vault-{region}.key")})
        found = self.telemetry.found
        return Redactor(vault=vault, profiles=ActiveProfiles(self.policy), clock=self.clock, found=found)

    @cached_property
    def provider(self) -> DevProvider | None:
        """The development identity provider; the private keys of the agent and of the alerts' sender lie in the keys folder."""
        if self.development is None:
            return None
        provider = DevProvider(
            dev_issuer(self.settings),
            dev=True,
            audience=audience(self.settings),
            clock=self.clock,
            code=self.development.code,
            agent=agent_key(self.keys.folder / "agent-1.jwk"),
            people=self.development.people,
            console_redirect_uris=(self.settings.url + CONSOLE_CALLBACK,),
            signed_out_uris=(self.settings.url + CONSOLE_SIGNED_OUT,),
        )
        # A workload, because the gate's configuration does not name it as an agent: it may report alerts, nothing else.
        provider.add_agent(ALERTS_CLIENT, agent_key(self.keys.folder / f"{ALERTS_CLIENT}.jwk"), groups=("alerts",))
        for name in self.development.agents:
            provider.add_agent(name, agent_key(self.keys.folder / f"{name}.jwk"))
        return provider

    @cached_property
    def identity(self) -> Verifier:
        """Believes the configured issuers; development adds its own."""
        left_out = {"allow_networks", "ca_file"}
        tables = [one.model_dump(exclude=left_out) for one in self.settings.identity.issuers]
        if self.development is not None:
            own = _dev_issuer_settings(self.settings, self.development.agents)
            tables.append({**own.model_dump(exclude=left_out), "profile": DEV_ISSUER})
        chosen = self.settings.identity
        try:
            profiles = [issuer_profile(table, insecure_loopback=self.development is not None) for table in tables]
            authorities = self.settings.gate.client_ca_file
            certificates = Certificates(
                authorities.read_bytes() if authorities else b"",
                [Sender(**one.model_dump()) for one in chosen.certificates],
                self.settings.gate.client_crl_file,
            )
        except (ValueError, OSError) as error:
            raise BadRequest(
                str(error), code="config.invalid", remedy="see docs/settings.md, sections gate and identity"
            ) from None
        return Verifier(
            profiles,
            self._fetch,
            self.clock,
            times=KeySetTimes(ttl=chosen.keyset_seconds, stale_max=chosen.keyset_stale_seconds_max),
            administrators=chosen.first_administrators,
            login=self._signed_in,
            certificates=certificates,
            uses=self._proof_used if self.shared else None,
        )

    async def _proof_used(self, tenant: str, proof: str, until: int) -> bool:
        """Note a proof of possession for all replicas; False where one of them has seen it."""
        now = seconds(self.clock)
        return await self.store.write(lambda c: proofs.use(c, tenant, proof, until=until, now_s=now))

    @cached_property
    def parties(self) -> Parties:
        """Roles as they were last seen."""
        return Parties(self.store, self.clock)

    @cached_property
    def logins(self) -> Logins:
        """Who is signed in to the console."""
        chosen = self.settings.console
        limits = Limits(idle=chosen.idle_seconds, absolute=chosen.absolute_seconds)
        return Logins(self.store, self.clock, limits, self.keys.secret("console.key"))

    async def _signed_in(self, value: str, passive: bool) -> Principal:
        """Whoever signed in keeps no role that a later token of theirs does not say."""
        return await self.parties.bounded(await self.logins.principal(value, passive=passive))

    @cached_property
    def sign_in(self) -> SignIn | None:
        """Sign-in to the console; None where no issuer is named for it."""
        chosen = self.settings.console
        name = chosen.issuer or (DEV_ISSUER if self.development is not None else "")
        if not name:
            return None
        profile = self.identity.profile(name)
        if profile is None:
            raise BadRequest(
                f"console.issuer: there is no [[identity.issuers]] called `{name}`",
                code="config.invalid",
                remedy="name one of the configured issuers",
            )
        secret = chosen.client_secret_file
        client = Client(
            client_id=chosen.client_id,
            redirect_uri=self.settings.url + CONSOLE_CALLBACK,
            signed_out_uri=self.settings.url + CONSOLE_SIGNED_OUT,
            secret=secret.read_text(encoding="utf-8").strip() if secret else "",
            scopes=(*chosen.scopes, "gate") if name == DEV_ISSUER and self.development is not None else chosen.scopes,
            resource=chosen.resource,
            step_up_acr=chosen.step_up_acr,
        )
        return SignIn(
            profile,
            client,
            self.identity,
            fetch=self._fetch,
            post=self._post,
            clock=self.clock,
            key=self.keys.secret("console.key"),
        )

    async def _load_policy(self) -> None:
        """Load what was active last; else development signs its folder, and production takes the configured bundle."""
        await self.policy.start()
        if self.development is not None:
            await self._activate_folder(self.development.policies)
        elif self.policy.active is None and self.settings.policy.bundle is not None:
            path = self.settings.policy.bundle
            archive = await asyncio.to_thread(path.read_bytes)
            signature = await asyncio.to_thread(path.with_name(path.name + ".sig").read_text, "utf-8")
            await self.policy.activate(archive, signature, by="config:policy.bundle")

    async def _activate_folder(self, folder: Path) -> None:
        """Put the folder into force where it differs from what is active."""
        history = await self.bundles.history()
        newest = max((revision_number(one.revision) for one in history), default=0)
        key = policy_keys.dev_key(self.keys.folder, dev=True)
        active = self.policy.active
        if active is not None and build_bundle(folder, key, active.revision).digest == active.digest:
            return
        bundle = build_bundle(folder, key, str(newest + 1))
        await self.policy.activate(bundle.archive, bundle.signature, by="dev:serve")

    def _engine(self) -> EngineHost:
        """The embedded engine, or OPA beside the gate with the embedded one for trials."""
        chosen = self.settings.policy
        embedded = RegorusHost(
            Bounds(cpu_seconds=chosen.cpu_milliseconds_max / 1000, wall_seconds=chosen.wall_milliseconds_max / 1000)
        )
        if chosen.engine == "regorus":
            return embedded
        if not chosen.opa_socket:
            raise BadRequest("policy.opa_socket is empty", code="config.invalid", remedy="name OPA's unix socket")
        from broker.policy.opa import OpaHost, OpaSettings

        return OpaHost(
            OpaSettings(socket=chosen.opa_socket, timeout_seconds=chosen.opa_milliseconds_max / 1000),
            self.shelf,
            embedded,
        )

    def _signers(self) -> dict[str, Any]:
        """Public keys of whoever may sign bundles; development adds the pair that it made itself."""
        texts = {name: path.read_text(encoding="utf-8") for name, path in self.settings.policy.signers.items()}
        signers = policy_keys.read_signers(texts)
        if self.development is not None:
            key = policy_keys.dev_key(self.keys.folder, dev=True)
            signers[key.id] = key.public
        return signers

    async def _fetch(self, url: str) -> bytes:
        """A key set or metadata through egress, under its issuer's settings; the development provider's straight from it."""
        if self.provider is not None and url.startswith(self.provider.issuer):
            return self.provider.jwks() if url.endswith("/jwks") else orjson.dumps(self.provider.metadata())
        upstream, target = self._provider_at(url)
        shown = next((one.token_file for one in self.settings.identity.issuers if one.jwks_uri == url), "")
        # Read each time: a cluster renews it in place.
        token = await asyncio.to_thread(Path(shown).read_text, "ascii") if shown else ""
        answer = await upstream.request(
            "GET", target, headers={"Authorization": f"Bearer {token.strip()}"} if token else {}
        )
        if answer.status != 200:
            raise OSError(f"identity provider: status {answer.status}")
        return answer.body

    async def _post(self, url: str, form: Mapping[str, str], authorization: str) -> tuple[int, bytes]:
        """A form to an issuer's token endpoint, likewise."""
        if self.provider is not None and url.startswith(self.provider.issuer):
            return self.provider.redeem(form)
        upstream, target = self._provider_at(url)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if authorization:
            headers["Authorization"] = authorization
        answer = await upstream.request("POST", target, headers=headers, body=urlencode(form).encode())
        return answer.status, answer.body

    def _provider_at(self, url: str) -> tuple[Upstream, str]:
        """The upstream that serves ``url``, and the path there."""
        scheme, _, rest = url.partition("://")
        host, slash, path = rest.partition("/")
        issuer = next(
            (one for one in self.settings.identity.issuers if one.jwks_uri == url or url.startswith(one.issuer)),
            None,
        ) or next((one for one in self.settings.identity.issuers if one.name == self.settings.console.issuer), None)
        settings = UpstreamSettings(
            name="identity",
            base_url=f"{scheme}://{host}",
            allow_networks=issuer.allow_networks if issuer else (),
            ca_file=issuer.ca_file if issuer else "",
            answer_bytes_max=1_048_576,
            timeout_seconds=5.0,
        )
        return self.egress.upstream(settings), slash + path


def audience(settings: Settings) -> str:
    """What tokens for this gate name as their audience in development."""
    return settings.url + AUDIENCE_SUFFIX


def dev_issuer(settings: Settings) -> str:
    """Address of the development identity provider."""
    return settings.url + DEV_PATH


def _dev_issuer_settings(settings: Settings, agents: Sequence[str] = ()) -> IssuerSettings:
    """The development provider as one more issuer."""
    return IssuerSettings(
        name=DEV_ISSUER,
        issuer=dev_issuer(settings),
        jwks_uri=dev_issuer(settings) + "/jwks",
        audiences=(audience(settings),),
        tenant_claim="tenant",
        agents=("agent-1", *agents),
        lifetime_seconds_max=600,
    )
