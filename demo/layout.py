"""Where one run keeps its things.

``DIR`` is the gate's data folder. Everything of the shop lies under ``DIR/demo``::

    planted.json          {kind: [values]}: the personal data and secrets planted
    model-requests.jsonl  what the model server received        sli.jsonl        service levels, a line a second
    processes.jsonl       starts and ends of the services       actions.jsonl    the supervisor's journal
    addresses.json        where each service listens
    config.git/           the services' configuration           deployed/        what of it is deployed
    logs/                 the services' log files               cache/, data/    their caches, the inventory's database
    alerting/             Prometheus and Alertmanager           gate.toml        the gate's configuration
    notices.jsonl         what the pager was told               policies/        the run's policy (policy.py)
    *.key, *.token        credentials that only their user reads
    out/                  what each process wrote               home/            a home folder for the commands
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demo.plant import Planted
from demo.shop import CARD_NETWORK, SERVICES
from demo.wire import free_port


@dataclass(frozen=True, slots=True)
class Ports:
    """Free ports of one run."""

    gate: int = field(default_factory=free_port)
    supervisor: int = field(default_factory=free_port)
    model: int = field(default_factory=free_port)
    pager: int = field(default_factory=free_port)
    prometheus: int = field(default_factory=free_port)
    alertmanager: int = field(default_factory=free_port)
    shop: Mapping[str, int] = field(default_factory=lambda: {name: free_port() for name in (*SERVICES, CARD_NETWORK)})

    def addresses(self) -> dict[str, str]:
        """Where each service of the shop listens, and the card network."""
        return {name: f"http://127.0.0.1:{port}" for name, port in self.shop.items()}


class Layout:
    """The folder of one run."""

    def __init__(self, data: Path) -> None:
        """``data`` is made where it does not exist."""
        self.data = data.resolve()
        self.demo = self.data / "demo"
        self.out = self.demo / "out"
        self.home = self.demo / "home"
        self.configuration = self.demo / "config.git"
        self.database = self.demo / "data"
        for folder in (self.data, self.demo, self.out, self.home, self.database):
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
        self.private(name, text)
        return text

    def private(self, name: str, text: str) -> Path:
        """Write a small file that only its owner reads, whole or not at all; its path."""
        path = self.demo / name
        scratch = path.with_name(f".{name}")
        scratch.unlink(missing_ok=True)
        scratch.touch(mode=0o600)
        scratch.write_text(text, encoding="ascii")
        scratch.replace(path)
        return path

    def plant(self, planted: Planted) -> None:
        """Write ``planted.json``."""
        (self.demo / "planted.json").write_text(json.dumps(planted.by_kind(), indent=1), encoding="utf-8")

    def register(self, ports: Ports) -> None:
        """Write ``addresses.json``."""
        (self.demo / "addresses.json").write_text(json.dumps(ports.addresses(), indent=1), encoding="utf-8")
