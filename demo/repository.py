"""The git repository of the shop's configuration: one TOML file a service, with a short history.

Commits are the same for equal seeds and ports: fixed author and dates, and no configuration of the host.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from demo.plant import Planted
from demo.shop import SERVICES

VERSIONS: Mapping[str, str] = {"storefront": "4.12.0", "checkout": "2.7.3", "payments": "3.1.1", "inventory": "1.9.6"}
BEHIND: Mapping[str, tuple[str, ...]] = {"storefront": ("checkout",), "checkout": ("inventory", "payments")}
JSON_LOGS = ("storefront", "payments")


def make(folder: Path, ports: Mapping[str, int], planted: Planted) -> None:
    """Write the files and commit them twice: the first version, and a later change of checkout's pool."""
    folder.mkdir(parents=True, exist_ok=True)
    for service in SERVICES:
        (folder / f"{service}.toml").write_text(_file(service, ports, planted, pool_size=16), encoding="utf-8")
    if not (folder / ".git").exists():
        _git(folder, 0, "init", "--quiet", "--initial-branch=main")
    _commit(folder, 1, "shop: first configuration under version control")
    (folder / "checkout.toml").write_text(_file("checkout", ports, planted, pool_size=8), encoding="utf-8")
    _commit(folder, 2, "checkout: halve the connection pool to save database slots")


def _file(service: str, ports: Mapping[str, int], planted: Planted, pool_size: int) -> str:
    """One service's configuration; careless, as found in the wild: credentials stand in it."""
    behind = "".join(f'{name} = "http://127.0.0.1:{ports[name]}"\n' for name in BEHIND.get(service, ()))
    leaked = {"DEPLOY_TOKEN": planted.forge_token} if service == "storefront" else {}
    if service == "payments":
        leaked = {"AWS_ACCESS_KEY_ID": planted.cloud_key, "AWS_SECRET_ACCESS_KEY": planted.cloud_secret}
    credentials = "".join(f'{name} = "{value}"\n' for name, value in leaked.items())
    return (
        f'version = "{VERSIONS[service]}"\n'
        f'log_format = "{"json" if service in JSON_LOGS else "logfmt"}"\n'
        f"\n[listen]\nport = {ports[service]}\n"
        f'\n[database]\nurl = "postgresql://{service}:{planted.database_password}@db.shop.internal/{service}"\n'
        f"pool_size = {pool_size}\n"
        + (f"\n[behind]\n{behind}" if behind else "")
        + (f"\n[credentials]\n{credentials}" if credentials else "")
    )


def _commit(folder: Path, day: int, message: str) -> None:
    _git(folder, day, "add", "--all")
    _git(folder, day, "commit", "--quiet", "--allow-empty", "--no-gpg-sign", "--message", message)


def _git(folder: Path, day: int, *arguments: str) -> None:
    """Run git; raises ``CalledProcessError``."""
    date = f"2026-01-{day + 1:02d}T09:00:00+00:00"
    who = {"NAME": "Shop Operations", "EMAIL": "ops@shop.internal", "DATE": date}
    own = {f"GIT_{role}_{field}": value for role in ("AUTHOR", "COMMITTER") for field, value in who.items()}
    clean = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ.get("PATH", os.defpath)}
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, env=clean | own, capture_output=True)  # noqa: S603, S607 - fixed words; git is found on PATH
