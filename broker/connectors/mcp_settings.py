"""The settings of one MCP server. They stand alone: reading a configuration does not load the client library."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import with_config

from broker.connectors.base import STRICT
from broker.connectors.server import ServerSettings


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class McpSettings(ServerSettings):
    """One MCP server: `base_url` (its whole address, Streamable HTTP), or `command` (run here, standard streams)."""

    base_url: str = ""
    command: tuple[str, ...] = ()
    """Program (an absolute path) and arguments; no shell reads them."""
    folder: str = "/"
    """Working directory of the command."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """All that the command finds in its environment beside `PATH`, `LANG` and `TZ`."""
    secret_environment: Mapping[str, str] = field(default_factory=dict)
    """Variables whose values are read from the files named here, once, at start."""
    memory_bytes_max: int = 2_147_483_648
    """Data memory of each of the command's processes; 0 is no limit."""
    cpu_seconds_max: int = 3600
    """CPU time of each of its processes; one that has used it up ends and is started again."""
    files_max: int = 512
    processes_max: int = 64
    protocol: Literal["auto", "2025-11-25", "2026-07-28"] = "auto"
    concurrency: int = 16
    answer_bytes_max: int = 4_194_304
    parts_max: int = 100
    text_bytes_max: int = 262_144
    tools_max: int = 256
    fresh_seconds: float = 0.0
    """How old the list of tools may be that a call is compared with; 0: it is read before each call."""
    again_seconds: float = 1.0
    """Pause before the second try to connect; it doubles up to `again_seconds_max`."""
    again_seconds_max: float = 60.0
