"""One strict TOML file plus environment; an unknown key stops the start.

Limits are data with units in their names. Secrets are given by file path, never by value. ``WICKETGATE_<SECTION>_<KEY>``
overrides one scalar of a section, so that a container can set the few values that differ between places.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from broker.errors import BadRequest
from broker.model import Json, Resource
from broker.sections import IdentitySettings, Section

HIDDEN = "(hidden)"
_SECRET = re.compile(r"(?i)(?:password|secret|token|credential|api_?key)(?!.*_(?:file|header|seconds|max)$)")


class GateSettings(Section):
    """Where the gate listens and what it calls itself."""

    host: str = "127.0.0.1"
    port: int = Field(default=8480, ge=0, le=65535)
    url: str = ""
    """Public address; default ``http://localhost:<port>``, https where the gate has a certificate. Never derived from a request's Host."""
    allowed_hosts: tuple[str, ...] = ()
    """Host header values accepted; default the host and port of ``url`` and of the listener."""
    stop_seconds_max: int = Field(default=25, ge=1)
    """Told to end, the gate lets what is under way finish for so long; what is not done then is recorded as unknown."""
    stop_notice_seconds: float = Field(default=0, ge=0)
    """Before that it answers for so long that it is not ready, and takes no new work, so that a balancer looks elsewhere."""
    data: Path = Path("data")
    default_tenant: str = "default"
    tls_certificate_file: Path | None = None
    """PEM, the certificate first, then those between it and its authority: with it the gate speaks HTTPS itself."""
    tls_key_file: Path | None = None
    """PEM, unencrypted."""
    client_ca_file: Path | None = None
    """PEM: authorities of client certificates, those in between too. A client may then show one; nobody has to."""
    client_crl_file: Path | None = None
    """PEM: lists of what authorities of `client_ca_file` took back, read again when the file changes. A certificate in one is
    refused, and so is every one of an authority whose list is out of date. A file cut off, with two lists of one authority,
    or, changed, without one of an authority that had one lets nobody in. Empty: no list and no OCSP is asked."""
    client_cert_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies that end TLS, whose ``Client-Cert`` header (RFC 9440) is believed; from anybody
    else it is refused. Such a proxy must take the header away from what clients send."""
    operator_tenant: str = ""
    """Tenant whose people decide for all: they change the policy, stop and resume every tenant; empty: the default one."""

    @field_validator("client_cert_proxies")
    @classmethod
    def _some(cls, listed: tuple[str, ...]) -> tuple[str, ...]:
        """Networks, none of them everything."""
        if any(ip_network(one).prefixlen == 0 for one in listed):
            raise ValueError("a network of all addresses names no proxy")
        return listed

    @model_validator(mode="after")
    def _together(self) -> Self:
        """A certificate has its key."""
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_certificate_file and tls_key_file are given together")
        return self


class WebSettings(Section):
    """Bounds of one HTTP request."""

    body_bytes_max: int = 1_048_576
    model_body_bytes_max: int = 33_554_432
    """For model calls alone; every other body is bounded by ``body_bytes_max``, those of the controls but alerts by 65,536 and one
    without a caller by 8,192."""
    body_nodes_max: int = 200_000
    """Commas, colons and opening brackets of one JSON body, whatever its size."""
    header_bytes_max: int = 16_384
    headers_max: int = 64
    body_seconds_max: float = 10
    request_seconds_max: float = 60
    concurrent_requests_max: int = 512
    """Requests that are read, wait or are at work; the controls are not among them."""
    work_places: int = Field(default=16, ge=1)
    """Requests at work on the event loop at once: writes before reads (three quarters at most) before model calls (half).
    Who waits for an upstream or a person takes no place."""
    outside_max: int = Field(default=256, ge=1)
    """Requests that wait so at once; with more, no new one begins. Streams of models and events are not among them."""
    control_places: int = Field(default=32, ge=1)
    """And those of the controls: health, the kill switch, reviews."""
    waiting_max: int = Field(default=128, ge=0)
    """Requests that wait for a place, in each lane; within it tenants take turns."""
    waiting_seconds_max: float = Field(default=1, gt=0)
    """And for how long; then they are told to come again."""
    bodies_bytes_max: int = Field(default=268_435_456, ge=1_048_576)
    """Bodies under way, by what has arrived of them. Alerts have a quarter of it beside; who holds most of a full room gives way.
    The other controls' bodies are always read."""
    header_seconds_max: float = Field(default=10, gt=0)
    """From the first byte of a request, or of a new connection, to the end of its headers."""
    answer_seconds_max: float = Field(default=60, gt=0)
    """A reader that takes fewer than 16,384 bytes of what waits for it in so long is cut off."""
    wait_seconds_max: float = 50
    attempts_per_minute_max: int = Field(default=1200, ge=1)
    """What one party may ask of one replica, permitted or not, in the long run."""
    attempts_burst_max: int = Field(default=300, ge=1)
    """And at once."""
    polls_per_minute_max: int = Field(default=1200, ge=1)
    """How often one party may look for work at one replica; a poll that finds some is an attempt, too."""
    polls_burst_max: int = Field(default=600, ge=1)
    """And at once."""


class PolicySettings(Section):
    """Which bundle decides, on which engine."""

    engine: Literal["regorus", "opa"] = "regorus"
    opa_socket: str = ""
    bundle: Path | None = None
    """Signed bundle for the first start; later activations come over the API."""
    signers: Mapping[str, Path] = Field(default_factory=dict)
    """Key id -> file with the signer's Ed25519 public key (PEM)."""
    bundle_token_file: Path | None = None
    """Token with which OPA fetches ``/bundles/broker.tar.gz``; without it the route does not exist."""
    cpu_milliseconds_max: int = 50
    wall_milliseconds_max: int = 1000
    opa_milliseconds_max: int = 100


class AuditSettings(Section):
    """The log."""

    origin: str = "wicketgate.local/log"
    """Prefix of each tenant's log origin; a schema-less URL that you own."""
    publish_seconds: float = 1.0
    publish_dir: Path | None = None


class StoreSettings(Section):
    """The database. Empty: SQLite in the data folder."""

    url: str = ""
    threads: int = 4


class SessionSettings(Section):
    """Bounds of one session."""

    seconds_max: int = 28_800
    actions_max: int = 10_000
    tokens_max: int = 2_000_000
    approval_grace_seconds: int = 900


class RedactionSettings(Section):
    """Where pseudonyms live."""

    region: str = "eu-west-1"


class KillSettings(Section):
    """Who may pull the kill switch; needs no policy answer."""

    roles: tuple[str, ...] = ("oncall", "security", "operator")
    roles_for_all: tuple[str, ...] = ("security", "operator")
    """Who may stop every tenant at once."""


class BreakglassSettings(Section):
    """What two people may open for a while."""

    minutes_max: int = Field(default=30, ge=1, le=480)
    """How long one lasts at most."""
    confirm_minutes: int = Field(default=10, ge=1, le=120)
    """How long it waits for the second person."""
    review_hours: int = Field(default=24, ge=1, le=720)
    """How long after its end somebody must have looked back at it."""


class IncidentSettings(Section):
    """How alerts become incidents."""

    service_labels: tuple[str, ...] = ("service", "app", "job")
    """Labels that name the service; the first that is there counts."""
    env_labels: tuple[str, ...] = ("env", "environment")
    default_env: str = "prod"
    severity_labels: tuple[str, ...] = ("severity",)
    trusted_labels: tuple[str, ...] = ("alertname", "service", "env", "severity")
    """Labels that only the monitoring's own rules set; every other label and every annotation is untrusted text."""
    past_seconds: int = Field(default=30 * 86_400, ge=60)
    """How far back an alert may say that it began; one that says more counts from there."""
    open_max: int = Field(default=500, ge=1)
    """Live incidents of one tenant; further alerts are refused."""
    open_severe: int | None = Field(default=None, ge=0)
    """How many of these only alerts of severity high and critical may open; left out, a fifth."""
    session_seconds: int = Field(default=86_400, ge=60)
    """How long an incident's session lives."""
    actions_max: int = Field(default=2_000, ge=1)
    """Actions in an incident's session, reads among them."""
    tokens_max: int = Field(default=500_000, ge=0)
    """Model tokens in an incident's session."""
    merge_seconds: int = Field(default=3600, ge=0)
    """How long after its opening an incident takes in alerts of its own service and of what depends on it."""
    quiet_seconds: int = Field(default=300, ge=0)
    """How long after its closing an alert that still fires is counted there and opens nothing new."""
    verify_settle_seconds: int | None = Field(default=None, ge=0, le=3600)
    """How long a remedy is left alone before it is measured; left out, as its manifest says."""
    verify_window_seconds: int | None = Field(default=None, ge=1, le=86_400)
    """How long it is measured after that."""
    verify_interval_seconds: int | None = Field(default=None, ge=1, le=3600)
    """How often."""
    notify: tuple[str, ...] = ()
    """Receivers (resources of type ``webhook``) that are told of escalations."""


class ConsoleSettings(Section):
    """Sign-in to the web console."""

    issuer: str = ""
    """Name of the ``[[identity.issuers]]`` entry where people sign in; empty: there is no console."""
    client_id: str = "wicketgate-console"
    client_secret_file: Path | None = None
    """The client's secret; without it the client is public, and PKCE alone protects the code."""
    scopes: tuple[str, ...] = ("openid",)
    resource: str = ""
    """RFC 8707 ``resource`` to ask for, where the provider chooses the access token's audience by it."""
    step_up_acr: tuple[str, ...] = ()
    """``acr`` values, the strongest first, of which one is needed to approve, in the console and by the API, and which a
    repeated sign-in must reach; empty: any."""
    idle_seconds: int = Field(default=1800, ge=60)
    """Without a page opened or a button pressed for so long, one is signed out."""
    absolute_seconds: int = Field(default=28_800, ge=300, le=86_400)
    """So long one stays signed in at most."""


class EventSettings(Section):
    """Following the log live (``GET /v1/events`` and the console)."""

    streams_max: int = Field(default=256, ge=1)
    """Streams that one replica keeps open."""
    streams_per_party_max: int = Field(default=8, ge=1)
    lines_kept: int = Field(default=4096, ge=500)
    """Newest records of a followed log in memory: a reader that falls behind them is dropped."""
    resume_records_max: int = Field(default=20_000, ge=0)
    """How far back ``Last-Event-ID`` may lie."""
    pace_seconds: float = Field(default=0.25, gt=0, le=5)
    """New records are gathered for so long."""
    heartbeat_seconds: float = Field(default=15, gt=0)
    look_seconds: float = Field(default=2, gt=0)
    """How often a stream asks whether its reader's sign-in still holds and nobody stopped it."""
    decide_seconds: float = Field(default=30, gt=0)
    """And how often policy is asked again."""
    send_seconds: float = Field(default=20, gt=0)
    """A reader that takes nothing for so long is cut off."""


class PriceSettings(Section):
    """What a model's tokens cost. Amounts are decimals, written as text so that they stay exact."""

    model: str = Field(min_length=1, max_length=128)
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")
    input_per_million: str = Field(pattern=r"^[0-9]{1,9}([.][0-9]{1,9})?$")
    output_per_million: str = Field(pattern=r"^[0-9]{1,9}([.][0-9]{1,9})?$")


class TelemetrySettings(Section):
    """Traces for operators (OpenTelemetry). Metrics are always at ``/metrics``, lines on stderr."""

    traces_url: str = ""
    """OTLP/HTTP traces are posted to this URL, such as ``http://collector:4318/v1/traces``; empty: nothing is traced."""
    allow_networks: tuple[str, ...] = ()
    """Networks beyond public addresses in which the collector may stand."""
    ca_file: str = ""
    ratio: float = Field(default=1.0, ge=0, le=1)
    """Share of the traces that is kept."""
    spans_waiting_max: int = Field(default=4096, ge=1)
    """Spans that wait to be sent; more are dropped and counted."""
    send_seconds: float = Field(default=2, gt=0)
    """Spans are sent so often."""
    caller: Literal["ignore", "link", "parent"] = "ignore"
    """What a caller's ``traceparent`` is to a trace of ours. Anybody can write one, and with ``link`` or ``parent`` its 24 bytes
    are in your traces: for callers or a proxy of your own."""
    hand_on_to: tuple[str, ...] = ()
    """Connectors whose requests carry a ``traceparent`` of ours."""


class UsageSettings(Section):
    """What the usage page makes of tokens."""

    prices: tuple[PriceSettings, ...] = ()
    """A model without a price costs an unknown amount, not nothing."""


class McpSettings(Section):
    """Tools by the Model Context Protocol (``/mcp``)."""

    origins: tuple[str, ...] = ()
    """Values of ``Origin`` that may call besides the gate's own address; programs that are no browsers send none."""
    hold_seconds: float = Field(default=50, gt=0, le=300)
    """How long one answer is held back while people decide, and while a client that reports progress is told of it."""
    rounds_max: int = Field(default=9, ge=1, le=64)
    """How often so, before the answer is that it waits; clients give up at ten rounds."""
    held_per_party_max: int = Field(default=16, ge=1)
    """Calls of one party that a replica holds at once; a further one is told at once that it waits."""
    streams_per_party_max: int = Field(default=8, ge=1)
    """Open notification streams of one party at one replica."""


class ConnectorSettings(Section):
    """One outside system. ``settings`` are checked by its adapter; credentials only as ``*_file``."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    adapter: Literal["http", "local", "llm", "notify", "prometheus", "logs", "git", "mcp", "replay", "elsewhere"]
    settings: Mapping[str, Json] = Field(default_factory=dict)


class InventoryItem(Section):
    """A target as the gate knows it; callers cannot invent regions or labels."""

    type: str
    id: str
    env: str
    region: str
    labels: Mapping[str, str] = Field(default_factory=dict)
    tenants: tuple[str, ...] = ()
    """Tenants that may see it; empty means the default tenant only."""
    depends_on: tuple[str, ...] = ()
    """Ids of items in the same environment without which it cannot work."""
    owners: tuple[str, ...] = ()
    """Who knows it: party ids (``<issuer name>:<sub>``) or names of teams."""


class Settings(Section):
    """The whole file."""

    gate: GateSettings = GateSettings()
    web: WebSettings = WebSettings()
    identity: IdentitySettings = IdentitySettings()
    policy: PolicySettings = PolicySettings()
    audit: AuditSettings = AuditSettings()
    store: StoreSettings = StoreSettings()
    sessions: SessionSettings = SessionSettings()
    redaction: RedactionSettings = RedactionSettings()
    kill: KillSettings = KillSettings()
    breakglass: BreakglassSettings = BreakglassSettings()
    incidents: IncidentSettings = IncidentSettings()
    events: EventSettings = EventSettings()
    console: ConsoleSettings = ConsoleSettings()
    usage: UsageSettings = UsageSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    mcp: McpSettings = McpSettings()
    connectors: tuple[ConnectorSettings, ...] = ()
    inventory: tuple[InventoryItem, ...] = ()

    @model_validator(mode="after")
    def _shown(self) -> Self:
        """Certificates that count have a way to come here, and somebody who issues them."""
        bound = any(one.sender_constraint == "mtls" for one in self.identity.issuers)
        own = self.gate.tls_certificate_file is not None and self.gate.client_ca_file is not None
        if (bound or self.identity.certificates) and not (own or self.gate.client_cert_proxies):
            raise ValueError("client certificates come by gate.tls_certificate_file or gate.client_cert_proxies")
        if self.gate.client_crl_file is not None and self.gate.client_ca_file is None:
            raise ValueError("gate.client_crl_file needs gate.client_ca_file")
        if self.identity.certificates and self.gate.client_ca_file is None:
            raise ValueError("identity.certificates need gate.client_ca_file")
        named = [one.name for one in self.identity.certificates if one.san and not one.authority]
        if named and len({one.tenant for one in self.identity.certificates}) > 1:
            raise ValueError(
                f"identity.certificates of more than one tenant: `{named[0]}` needs `authority`, the SHA-256 of the "
                "certificate of gate.client_ca_file that issues it; else another tenant's authority can issue its san"
            )
        return self

    @property
    def url(self) -> str:
        """The gate's public address without a trailing slash."""
        scheme = "https" if self.gate.tls_certificate_file else "http"
        return (self.gate.url or f"{scheme}://localhost:{self.gate.port}").rstrip("/")

    def resource(self, tenant: str, type_: str, id_: str, env: str) -> Resource | None:
        """The inventory's entry for this target as ``tenant`` sees it, or None."""
        return self._index().get((tenant, type_, id_, env))

    def resources(self, tenant: str) -> list[Resource]:
        """The inventory as ``tenant`` sees it."""
        return [item for (whose, *_), item in self._index().items() if whose == tenant]

    def _index(self) -> dict[tuple[str, str, str, str], Resource]:
        cached: dict[tuple[str, str, str, str], Resource] | None = self.__dict__.get("_inventory_index")
        if cached is None:
            cached = {
                (tenant, item.type, item.id, item.env): Resource(
                    type=item.type, id=item.id, env=item.env, region=item.region, labels=dict(item.labels)
                )
                for item in self.inventory
                for tenant in (item.tenants or (self.gate.default_tenant,))
            }
            self.__dict__["_inventory_index"] = cached
        return cached


def load(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the file and the overrides; raises ``BadRequest`` (``config.invalid``) that names the key and the rule."""
    tables: dict[str, Any] = {}
    if path is not None:
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadRequest(
                f"the configuration `{path}` cannot be read: {error.strerror}",
                code="config.unreadable",
                remedy="give --config a readable file",
            ) from None
        except tomllib.TOMLDecodeError as error:
            raise BadRequest(
                f"the configuration is not TOML: {error}", code="config.not_toml", remedy="mend the named line"
            ) from None
    _override(tables, environment if environment is not None else os.environ)
    try:
        return Settings.model_validate(tables)
    except ValidationError as error:
        problems = "; ".join(
            f"`{'.'.join(map(str, e['loc']))}`: {e['msg'].lower()}" for e in error.errors(include_input=False)[:5]
        )
        raise BadRequest(
            f"configuration: {problems}", code="config.invalid", remedy="see docs/settings.md for every key"
        ) from None


def _override(tables: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Apply ``WICKETGATE_<SECTION>_<KEY>`` to scalar keys of the single-table sections, and to lists, parted by commas."""
    for section, field in Settings.model_fields.items():
        kind = field.annotation
        if not (isinstance(kind, type) and issubclass(kind, Section)):
            continue
        for key in kind.model_fields:
            value = environment.get(f"WICKETGATE_{section}_{key}".upper())
            if value is not None:
                listed = kind.model_fields[key].annotation == tuple[str, ...]
                tables.setdefault(section, {})[key] = (
                    [one.strip() for one in value.split(",") if one.strip()] if listed else value
                )


def hidden(value: Any) -> Any:
    """``value`` without secrets: credentials in addresses, and values of keys that name one (paths to files stay)."""
    if isinstance(value, dict):
        return {
            name: HIDDEN if _SECRET.search(name) and item and not isinstance(item, (dict, list)) else hidden(item)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [hidden(item) for item in value]
    return _hidden_in_address(value) if isinstance(value, str) else value


def _hidden_in_address(text: str) -> str:
    """An address without its user and password, wherever they stand; one that only looks like it loses more."""
    bare = re.sub(r"://\S*@", f"://{HIDDEN}@", text)
    return re.sub(r"(?i)([?&][a-z_]*password=)[^&\s]+", rf"\1{HIDDEN}", bare)
