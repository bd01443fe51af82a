"""From a configuration's tables to connectors: the adapters by name, and their settings read strictly."""

from collections.abc import Mapping
from typing import Final

from pydantic import TypeAdapter, ValidationError

from broker.clock import Clock
from broker.connectors.base import Connector
from broker.connectors.elsewhere import ElsewhereConnector, ElsewhereSettings
from broker.connectors.git import GitConnector, GitSettings
from broker.connectors.http import HttpConnector, HttpSettings
from broker.connectors.llm import LlmConnector, LlmSettings
from broker.connectors.local import LocalConnector, LocalSettings
from broker.connectors.logs import LogsConnector, LogsSettings
from broker.connectors.mcp_settings import McpSettings
from broker.connectors.notify import NotifyConnector, NotifySettings
from broker.connectors.prometheus import PrometheusConnector, PrometheusSettings
from broker.connectors.replay import ReplayConnector, ReplaySettings
from broker.connectors.seal import Seal
from broker.egress import Egress
from broker.errors import BadRequest
from broker.model import Json

ConnectorSettings = (
    HttpSettings
    | LocalSettings
    | LlmSettings
    | NotifySettings
    | PrometheusSettings
    | GitSettings
    | LogsSettings
    | ReplaySettings
    | McpSettings
    | ElsewhereSettings
)
ADAPTERS: Final[Mapping[str, type[ConnectorSettings]]] = {
    "http": HttpSettings,
    "local": LocalSettings,
    "llm": LlmSettings,
    "replay": ReplaySettings,
    "notify": NotifySettings,
    "prometheus": PrometheusSettings,
    "git": GitSettings,
    "logs": LogsSettings,
    "mcp": McpSettings,
    "elsewhere": ElsewhereSettings,
}


def read_settings(adapter: str, name: str, table: Mapping[str, Json]) -> ConnectorSettings:
    """Read one connector's table; unknown keys and wrong types are ``BadRequest`` (``config.invalid``)."""
    kind = ADAPTERS.get(adapter)
    if kind is None:
        raise BadRequest(
            f"connector `{name}`: there is no adapter `{adapter}`",
            code="config.invalid",
            remedy=f"use one of {', '.join(sorted(ADAPTERS))}",
        )
    try:
        settings: ConnectorSettings = TypeAdapter(kind).validate_python({**table, "name": name})
    except ValidationError as error:
        problems = "; ".join(
            f"`{'.'.join(map(str, e['loc']))}`: {e['msg'].lower()}" for e in error.errors(include_input=False)[:5]
        )
        raise BadRequest(
            f"connector `{name}`: {problems}",
            code="config.invalid",
            remedy="see broker/connectors/README.md for every key",
        ) from None
    return settings


def build_connector(  # noqa: C901, PLR0911 - one an adapter
    settings: ConnectorSettings, egress: Egress, clock: Clock, seal: Seal
) -> Connector:
    """Make the connector of ``settings``; raises ``BadRequest`` naming the field that is wrong.

    ``seal`` marks commits that are the gate's.
    """
    match settings:
        case HttpSettings():
            return HttpConnector(settings, egress, clock)
        case LocalSettings():
            return LocalConnector(settings, egress, clock, seal)
        case LlmSettings():
            return LlmConnector(settings, egress)
        case ReplaySettings():
            return ReplayConnector(settings)
        case NotifySettings():
            return NotifyConnector(settings, egress, clock)
        case PrometheusSettings():
            return PrometheusConnector(settings, egress)
        case GitSettings():
            return GitConnector(settings, egress, clock, seal)
        case LogsSettings():
            return LogsConnector(settings)
        case ElsewhereSettings():
            return ElsewhereConnector(settings)
        case McpSettings():
            # The client library is large: a gate without such a server does not load it.
            from broker.connectors.mcp import McpConnector

            return McpConnector(settings, egress, clock)
