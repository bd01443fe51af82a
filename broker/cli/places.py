"""Where the command finds things: the gate's address, the user's own files, the policy folder of the source tree."""

import hashlib
import json
import os
from pathlib import Path

DEFAULT_URL = "http://localhost:8480"


def config_folder() -> Path:
    """The user's folder for this program, 0700; ``XDG_CONFIG_HOME`` moves it."""
    root = os.environ.get("XDG_CONFIG_HOME")
    folder = (Path(root) if root else Path.home() / ".config") / "wicketgate"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def policies() -> Path:
    """The policy folder beside the program's source."""
    import broker

    return Path(broker.__file__).resolve().parent.parent / "policies"


def private(path: Path, text: str) -> None:
    """Write a small file that only its owner reads, whole or not at all."""
    from audit.keyfile import replace

    replace(path, text.encode(), mode=0o600)


def _of(url: str, kind: str) -> Path:
    """The user's file of ``kind`` for the gate at ``url``."""
    return config_folder() / f"{hashlib.sha256(url.rstrip('/').encode()).hexdigest()[:16]}.{kind}"


def remember_agent_key(url: str, key: Path) -> None:
    """Note where the development gate at ``url`` keeps its agent's key; a folder that cannot be written is no fault."""
    try:
        private(_of(url, "agent"), json.dumps({"url": url, "key": str(key)}))
    except OSError:
        return


def agent_key(url: str) -> Path | None:
    """Where the development gate at ``url`` keeps its agent's key, if one was started by this user."""
    try:
        return Path(json.loads(_of(url, "agent").read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError):
        return None


def token_file(url: str) -> Path:
    """The stored login for the gate at ``url``."""
    return _of(url, "login")
