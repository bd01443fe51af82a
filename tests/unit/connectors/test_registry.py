"""Configuration tables become connectors, strictly."""

from pathlib import Path
from typing import Any

import pytest

from broker.clock import SeededClock
from broker.connectors.git import GitConnector, GitRepositorySettings
from broker.connectors.http import HttpConnector, HttpSettings
from broker.connectors.llm import LlmConnector, LlmEndpoint
from broker.connectors.local import LocalConnector, LocalProcess
from broker.connectors.logs import LogsConnector
from broker.connectors.prometheus import PrometheusConnector
from broker.connectors.registry import build_connector, read_settings
from broker.egress import Egress
from broker.errors import BadRequest
from tests.unit.connectors.cases import SEAL


def test_each_adapter_is_built_from_its_table(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k")
    tables: dict[str, tuple[dict[str, Any], type]] = {
        "http": ({"base_url": "https://a.example"}, HttpConnector),
        "local": ({"supervisor_socket": "/s", "processes": [{"id": "checkout", "log_files": ["/x"]}]}, LocalConnector),
        "llm": (
            {
                "credential_file": str(tmp_path / "key"),
                "endpoints": [{"region": "eu", "base_url": "https://a.example"}],
            },
            LlmConnector,
        ),
        "prometheus": ({"base_url": "https://a.example", "enforce": {"env": "{resource.env}"}}, PrometheusConnector),
        "logs": ({"files": {"prod/checkout": ["/var/log/checkout.log"]}}, LogsConnector),
        "git": ({"repositories": [{"id": "shop", "url": "/srv/shop.git", "writable": ["main"]}]}, GitConnector),
    }
    for adapter, (table, kind) in tables.items():
        connector = build_connector(read_settings(adapter, "one", table), Egress(), SeededClock(), SEAL)
        assert (type(connector), connector.name) == (kind, "one")


def test_nested_tables_are_typed() -> None:
    local: Any = read_settings("local", "l", {"processes": [{"id": "a"}]})
    llm: Any = read_settings(
        "llm", "l", {"endpoints": [{"region": "eu", "base_url": "https://a.example", "models": ["x"]}]}
    )
    git: Any = read_settings("git", "g", {"repositories": [{"id": "a", "url": "/a", "branches": ["main", "next"]}]})
    assert git.repositories == (GitRepositorySettings(id="a", url="/a", branches=("main", "next")),)
    assert local.processes == (LocalProcess(id="a"),)
    assert llm.endpoints == (LlmEndpoint(region="eu", base_url="https://a.example", models=("x",)),)
    assert read_settings("http", "h", {"base_url": "https://a.example"}) == HttpSettings(
        name="h", base_url="https://a.example"
    )


@pytest.mark.parametrize(("adapter", "table", "field"), [
    ("http", {"base_url": "https://a.example", "pasword": "hunter2"}, "pasword"),
    ("http", {}, "base_url"),
    ("http", {"base_url": "https://a.example", "credential": "magic"}, "credential"),
    ("http", {"base_url": "https://a.example", "timeout_seconds": "soon"}, "timeout_seconds"),
    ("local", {"processes": [{"id": "a", "x": 1}]}, "processes.0.x"),
    ("llm", {"endpoints": [{"region": "eu"}]}, "endpoints.0.base_url"),
    ("git", {"repositories": [{"id": "a"}]}, "repositories.0.url"),
    ("logs", {"files": {"a": "/one/text"}}, "files"),
    ("prometheus", {"base_url": "https://a.example", "enforced": {}}, "enforced"),
    ("ftp", {}, "ftp"),
])  # fmt: skip
def test_a_wrong_table_is_refused_by_key_and_without_its_values(
    adapter: str, table: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        read_settings(adapter, "one", table)
    assert field in caught.value.detail
    assert "hunter2" not in caught.value.detail
