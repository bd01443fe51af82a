"""What the shop plants in its logs and its configuration, the gate's redaction hides: all of it, for any seed."""

import asyncio
import json
from itertools import islice
from pathlib import Path

import pytest

from broker.clock import SeededClock
from broker.redaction import MemoryRows, Redactor, Scope, Vault, profiles_from
from demo import repository, stock
from demo.plant import plant
from demo.servicelog import LogFile
from demo.shop import CARD_NETWORK, SERVICES, Config, Service
from demo.traffic import orders
from demo.wire import Asked


@pytest.mark.parametrize("seed", [1, 2, 20, 99, 12345])
def test_no_planted_value_survives_redaction(seed: int, tmp_path: Path, clock: SeededClock) -> None:
    deployed = tmp_path / "deployed"
    deployed.mkdir()
    (tmp_path / "data").mkdir()
    repository.make(tmp_path / "config.git", plant(seed))
    repository.deploy(tmp_path / "config.git", repository.head(tmp_path / "config.git"), deployed)
    stock.create(tmp_path / "data" / stock.FILE, seed)
    nobody = dict.fromkeys((*SERVICES, CARD_NETWORK), "http://127.0.0.1:1")
    (tmp_path / "addresses.json").write_text(json.dumps(nobody))
    for name in SERVICES:
        config = Config.read(deployed, name)
        log = LogFile(tmp_path / f"{name}.log", name, config.log_format)
        service = Service(name, tmp_path, config, log, "control")
        service.greet()
        for order in islice(orders(seed), 24):
            service.route(Asked("POST", "/work", {}, json.dumps(order).encode()))
        log.close()
    value = {
        "lines": [{"text": line} for path in sorted(tmp_path.glob("*.log")) for line in path.read_text().splitlines()],
        "files": [path.read_text() for path in sorted(deployed.glob("*.toml"))],
    }
    planted = [item for values in plant(seed).by_kind().values() for item in values]
    assert all(item in json.dumps(value) for item in planted)
    redactor = Redactor(
        vault=Vault(MemoryRows(), {"eu": b"k" * 32}), profiles=profiles_from({"default": {"entities": {}}}), clock=clock
    )
    hidden = asyncio.run(redactor.redact(value, profile="default", scope=Scope("default", "ses_a", "eu")))
    assert [item for item in planted if item in json.dumps(hidden.value)] == []
    assert hidden.withheld == 0
    assert "inventory does not answer" in json.dumps(hidden.value)
