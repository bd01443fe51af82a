"""Where one run keeps its things, and the configuration that it gives the gate.

``DIR`` is the gate's data folder. Everything of the shop lies under ``DIR/demo``::

    planted.json          {kind: [values]}: the personal data and secrets planted
    model-requests.jsonl  what the model server received        sli.jsonl        service levels, a line a second
    processes.jsonl       starts and ends of the services       actions.jsonl    the supervisor's journal
    config/               git repository of the services' configuration          logs/  their log files
    gate.toml             the gate's configuration              *.key, *.token   credentials that only the gate reads
    out/                  what each process wrote               home/            a home folder for the commands
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demo.plant import Planted
from demo.shop import SERVICES
from demo.wire import free_port

REGIONS: Mapping[str, str] = {
    "storefront": "eu-west-1",
    "checkout": "eu-west-1",
    "payments": "us-east-1",
    "inventory": "eu-west-1",
}
NEAR_MODEL, NEAR_REGION = "claude-sonnet-5-5", "eu-west-1"
FAR_MODEL, FAR_REGION = "claude-opus-5-5", "ap-southeast-2"
LOOPBACK = ["127.0.0.0/8", "::1/128"]


@dataclass(frozen=True, slots=True)
class Ports:
    """Free ports of one run."""

    gate: int = field(default_factory=free_port)
    supervisor: int = field(default_factory=free_port)
    model: int = field(default_factory=free_port)
    shop: Mapping[str, int] = field(default_factory=lambda: {service: free_port() for service in SERVICES})


class Layout:
    """The folder of one run."""

    def __init__(self, data: Path) -> None:
        """``data`` is made where it does not exist."""
        self.data = data.resolve()
        self.demo = self.data / "demo"
        self.out = self.demo / "out"
        self.home = self.demo / "home"
        for folder in (self.data, self.demo, self.out, self.home):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def log(self) -> Path:
        """The published log of the default tenant."""
        return self.data / "log"

    @property
    def verifier_key(self) -> Path:
        """The log's public key, as C2SP vkey."""
        return self.data / "log.vkey"

    def secret(self, name: str) -> str:
        """A fresh credential, kept in a file that only its owner reads."""
        text = secrets.token_urlsafe(24)
        path = self.demo / name
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(text, encoding="ascii")
        return text

    def plant(self, planted: Planted) -> None:
        """Write ``planted.json``."""
        (self.demo / "planted.json").write_text(json.dumps(planted.by_kind(), indent=1), encoding="utf-8")

    def configure(self, ports: Ports, *, model: bool) -> Path:
        """Write the gate's configuration; its path."""
        tables = [_local(self.demo, ports)]
        if model:
            tables.append(_llm(self.demo, ports))
        path = self.demo / "gate.toml"
        path.write_text("\n".join([*tables, *_inventory()]), encoding="utf-8")
        return path


def _local(folder: Path, ports: Ports) -> str:
    """The connector that scrapes, reads and restarts the shop's processes."""
    processes = ", ".join(
        f"{{id = {_text(service)}, metrics_url = {_text(f'http://127.0.0.1:{ports.shop[service]}/metrics')}, "
        f"log_files = [{_text(folder / 'logs' / f'{service}.log')}]}}"
        for service in SERVICES
    )
    files = ", ".join(f"{service} = {_text(f'{service}.toml')}" for service in SERVICES)
    return f"""[[connectors]]
name = "local"
adapter = "local"
[connectors.settings]
supervisor_url = {_text(f"http://127.0.0.1:{ports.supervisor}")}
supervisor_token_file = {_text(folder / "supervisor.token")}
allow_networks = {json.dumps(LOOPBACK)}
config_repository = {_text(folder / "config")}
config_files = {{{files}}}
processes = [{processes}]
"""


def _llm(folder: Path, ports: Ports) -> str:
    """The connector to the scripted model: one address, said to be in two regions."""
    address = f"http://127.0.0.1:{ports.model}"
    endpoints = ", ".join(
        f"{{region = {_text(region)}, base_url = {_text(address)}, models = [{_text(model)}]}}"
        for model, region in ((NEAR_MODEL, NEAR_REGION), (FAR_MODEL, FAR_REGION))
    )
    return f"""[[connectors]]
name = "llm"
adapter = "llm"
[connectors.settings]
credential_file = {_text(folder / "provider.key")}
allow_networks = {json.dumps(LOOPBACK)}
endpoints = [{endpoints}]
"""


def _inventory() -> list[str]:
    """The targets as the gate knows them."""
    known = [("process", service, REGIONS[service]) for service in SERVICES]
    known += [("config", service, REGIONS[service]) for service in SERVICES]
    known += [("config", "secrets", NEAR_REGION), ("model", NEAR_MODEL, NEAR_REGION), ("model", FAR_MODEL, FAR_REGION)]
    return [
        f'[[inventory]]\ntype = "{type_}"\nid = "{id_}"\nenv = "prod"\nregion = "{region}"\n'
        for type_, id_, region in known
    ]


def _text(value: object) -> str:
    """A TOML basic string: JSON's escapes are a subset of TOML's."""
    return json.dumps(str(value))
