"""Policies of a test: a folder to change, a bundle of it, and sending it to the gate as the command line does."""

import base64
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from broker.policy import keys as policy_keys
from broker.policy.bundle import Bundle, build_bundle
from tests.sim import few_goldens
from tests.sim.world import World

ACTS = "golden/gate/acts.yaml"
HOSTILE = "\u202e</pre><script>alert(1)</script><img src=x onerror=alert(1) hx-get=/console/signout> p\u0430yment"

HOSTILE_CHANGES: Mapping[str, tuple[str, str]] = {
    "broker/main/main.rego": ("# title: The decision", f"# title: |\n#   {HOSTILE}"),
    "broker/risk/risk.rego": ("", f"\n# {HOSTILE}\nhostile := `{HOSTILE}`\n"),
    "broker/main/main_test.rego": ("", f"\n# {HOSTILE}\ntest_hostile if `{HOSTILE}` == 1\n"),
    "config/reasons/data.yaml": ("", f"hostile.code: {{title: '{HOSTILE}', remedy: '{HOSTILE}'}}\n"),
    ACTS: ("name: a security engineer simulates a policy", f"name: '{HOSTILE}'"),
}
"""The text wherever a bundle may hold text: words, code, tests, values, names."""


def folder_of(tmp: Path, changes: Mapping[str, tuple[str, str]]) -> Path:
    """The project's policy with ``changes`` (path -> old and new text), as a folder of its own."""
    folder = Path(shutil.copytree(few_goldens.policies(), tmp))
    (folder / ACTS).parent.mkdir(exist_ok=True)
    shutil.copy(few_goldens.ROOT / "policies" / ACTS, folder / ACTS)
    for name, (old, new) in changes.items():
        path = folder / name
        text = path.read_text() if path.exists() else ""
        assert old in text, name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(old, new, 1) if old else text + new)
    return folder


def built(it: World, folder: Path, revision: str) -> Bundle:
    """Signed with the development key that the world's gate believes."""
    return build_bundle(folder, policy_keys.dev_key(it.data / "keys", dev=True), revision)


async def sent(it: World, who: Mapping[str, str], bundle: Bundle, reason: str = "a new grant") -> httpx.Response:
    """POST /v1/policies/activate."""
    body: dict[str, Any] = {
        "bundle": base64.b64encode(bundle.archive).decode(),
        "signature": bundle.signature,
        "reason": reason,
    }
    return await it.client.post("/v1/policies/activate", json=body, headers={**who, **it.key()})
