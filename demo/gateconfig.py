"""The configuration that a run gives the gate: connectors, inventory with its topology, times in seconds."""

import json
from collections.abc import Mapping
from pathlib import Path

from demo.layout import Layout, Ports
from demo.repository import BRANCH
from demo.shop import CARD_NETWORK, NEEDS, SERVICES

REGIONS: Mapping[str, str] = {
    "storefront": "eu-west-1",
    "checkout": "eu-west-1",
    "payments": "us-east-1",
    "inventory": "eu-west-1",
}
OWNERS: Mapping[str, tuple[str, ...]] = {
    "storefront": ("team-web",),
    "checkout": ("team-orders", "dev:oncall"),
    "payments": ("team-payments",),
    "inventory": ("team-warehouse",),
}
REPOSITORY = "config"
NEAR_MODEL, NEAR_REGION = "claude-sonnet-5-5", "eu-west-1"
FAR_MODEL, FAR_REGION = "claude-opus-5-5", "ap-southeast-2"
LOOPBACK = ["127.0.0.0/8", "::1/128"]


INCIDENTS = """[incidents]
verify_settle_seconds = 4
verify_window_seconds = 9
verify_interval_seconds = 3
quiet_seconds = 8
merge_seconds = 120
notify = ["pager"]
"""
"""Minutes in production; the demonstration waits seconds."""


def write(layout: Layout, ports: Ports, *, model: bool, prometheus: bool) -> Path:
    """Write ``gate.toml``; its path."""
    tables = [INCIDENTS, _local(layout, ports), _logs(layout), _git(layout), _notify(layout, ports)]
    if model:
        tables.append(_llm(layout, ports))
    if prometheus:
        tables.append(_prometheus(ports))
    path = layout.demo / "gate.toml"
    path.write_text("\n".join([*tables, *_inventory(prometheus=prometheus)]), encoding="utf-8")
    return path


def _connector(name: str, lines: str) -> str:
    return f'[[connectors]]\nname = "{name}"\nadapter = "{name}"\n[connectors.settings]\n{lines}\n'


def _local(layout: Layout, ports: Ports) -> str:
    """The connector that scrapes, reads and mends the shop's processes."""
    addresses = ports.addresses()
    processes = ", ".join(
        f"{{id = {_text(service)}, metrics_url = {_text(addresses[service] + '/metrics')}, "
        f"log_files = [{_text(layout.demo / 'logs' / f'{service}.log')}]}}"
        for service in SERVICES
    )
    files = ", ".join(f"{service} = {_text(f'{service}.toml')}" for service in SERVICES)
    return _connector(
        "local",
        f"""supervisor_url = {_text(f"http://127.0.0.1:{ports.supervisor}")}
supervisor_token_file = {_text(layout.demo / "supervisor.token")}
allow_networks = {json.dumps(LOOPBACK)}
config_repository = {_text(layout.configuration)}
config_branch = "{BRANCH}"
config_files = {{{files}}}
processes = [{processes}]""",
    )


def _logs(layout: Layout) -> str:
    """The connector to the log files, by window and by template."""
    files = ", ".join(f"{service} = [{_text(layout.demo / 'logs' / f'{service}.log')}]" for service in SERVICES)
    return _connector("logs", f"files = {{{files}}}")


def _git(layout: Layout) -> str:
    """The connector to the repository of the configuration."""
    repository = f'{{id = "{REPOSITORY}", url = {_text(layout.configuration)}, branches = ["{BRANCH}"], writable = ["{BRANCH}"]}}'
    return _connector("git", f"repositories = [{repository}]\nfresh_seconds = 0.5")


def _notify(layout: Layout, ports: Ports) -> str:
    """The connector to who is called when an agent cannot help."""
    hook = "[connectors.settings.hooks.pager]\n"
    return _connector(
        "notify",
        f"""{hook}url = {_text(f"http://127.0.0.1:{ports.pager}/hook")}
secret_file = {_text(layout.demo / "pager.secret")}
region = "{NEAR_REGION}"
allow_networks = {json.dumps(LOOPBACK)}""",
    )


def _llm(layout: Layout, ports: Ports) -> str:
    """The connector to the scripted model: one address, said to be in two regions."""
    address = f"http://127.0.0.1:{ports.model}"
    endpoints = ", ".join(
        f"{{region = {_text(region)}, base_url = {_text(address)}, models = [{_text(model)}]}}"
        for model, region in ((NEAR_MODEL, NEAR_REGION), (FAR_MODEL, FAR_REGION))
    )
    return _connector(
        "llm",
        f"""credential_file = {_text(layout.demo / "provider.key")}
allow_networks = {json.dumps(LOOPBACK)}
endpoints = [{endpoints}]""",
    )


def _prometheus(ports: Ports) -> str:
    """The connector to the Prometheus that watches the shop; every query is held to the shop's environment."""
    return _connector(
        "prometheus",
        f"""base_url = {_text(f"http://127.0.0.1:{ports.prometheus}")}
allow_networks = {json.dumps(LOOPBACK)}
region = "{NEAR_REGION}"
enforce = {{env = "{{resource.env}}"}}""",
    )


def _inventory(*, prometheus: bool) -> list[str]:
    """The targets as the gate knows them; what depends on what stands at the processes."""
    items = [
        _item(
            "process",
            service,
            REGIONS[service],
            depends_on=(*NEEDS.get(service, ()), REPOSITORY),
            owners=OWNERS[service],
        )
        for service in SERVICES
    ]
    items.append(_item("external", CARD_NETWORK, NEAR_REGION, owners=("card-network-support",)))
    items += [_item(kind, service, REGIONS[service]) for kind in ("config", "logs") for service in SERVICES]
    items += [_item("config", "secrets", NEAR_REGION), _item("repository", REPOSITORY, NEAR_REGION)]
    items.append(_item("webhook", "pager", NEAR_REGION))
    items += [_item("model", NEAR_MODEL, NEAR_REGION), _item("model", FAR_MODEL, FAR_REGION)]
    if prometheus:
        items.append(_item("prometheus", "prometheus", NEAR_REGION))
    return items


def _item(type_: str, id_: str, region: str, *, depends_on: tuple[str, ...] = (), owners: tuple[str, ...] = ()) -> str:
    more = "".join(
        f"{name} = {json.dumps(list(value))}\n"
        for name, value in (("depends_on", depends_on), ("owners", owners))
        if value
    )
    return f'[[inventory]]\ntype = "{type_}"\nid = "{id_}"\nenv = "prod"\nregion = "{region}"\n{more}'


def _text(value: object) -> str:
    """A TOML basic string: JSON's escapes are a subset of TOML's."""
    return json.dumps(str(value))
