"""Configuration files of coding agents and other MCP clients: what is ours in them, put in and taken out again.

Whatever else stands in a file stays; a file that needs no change keeps its bytes. A token never stands in one: it comes
from a command of ours, from the environment, or from the client's own prompt.
"""

import json
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.cli.exits import Stop

NAME = "wicketgate"
EXPORTED = "WICKETGATE_TOKEN"
MODEL_PATH = "/llm/anthropic"
HOOK_FILE = "claude_code_hook.py"
HOOK_SECONDS = 600
"""How long Claude Code waits for the hook: far longer than the hook waits for the gate, because a hook that is cut off lets the tool through."""
_CLAUDE_BOUNDS = {"CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS": "1", "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "32000"}
_NOTHING = object()
_BEGIN, _END = f"# >>> {NAME}", f"# <<< {NAME}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be connected."""

    url: str
    token: tuple[str, ...]
    """The command that prints a bearer token."""
    folder: Path
    """The project's."""
    home: Path
    model: bool
    """The client's model calls, too, where it can."""
    waiting: Path
    """Where the hook remembers what waits for a person."""
    resource: str = "local"


@dataclass(frozen=True, slots=True)
class Entry:
    """One place in a JSON file: a member at ``path``, or with ``item`` an element of the list there.

    With ``within`` the elements there are objects that hold a list of that name, and ``ours`` is told of what stands in those.
    """

    path: tuple[str, ...]
    value: Any
    ours: Callable[[Any], bool]
    item: bool = False
    within: str = ""


Change = Callable[[str, bool], str]
"""The file's text as it is, and whether to take ours out -> the text as it shall be."""


def claude_code(wanted: Wanted) -> Mapping[Path, Change]:
    """MCP server, model endpoint and the fail-closed hook of Claude Code, for one project on this machine."""
    command = shlex.join(wanted.token)
    hook = shlex.join(
        [
            *(sys.executable, "-I", "-S", str(Path(__file__).with_name(HOOK_FILE))),
            *("--url", wanted.url, "--token-command", command, "--resource", wanted.resource),
            *("--waiting", str(wanted.waiting)),
        ]
    )
    # Whatever ends the hook in another way than it means to must block, too: any other code would let the tool through.
    guard = {"type": "command", "command": f"{hook} || exit 2", "timeout": HOOK_SECONDS}
    model = [
        Entry(("env", "ANTHROPIC_BASE_URL"), wanted.url + MODEL_PATH, lambda said: str(said).endswith(MODEL_PATH)),
        # What policy lets through as shipped (config/models, config/bounds): no trials that are not listed, shorter answers.
        *(Entry(("env", name), said, said.__eq__) for name, said in _CLAUDE_BOUNDS.items()),
        Entry(("apiKeyHelper",), command, lambda said: NAME in str(said) and " token" in str(said)),
    ]
    server = {"type": "http", "url": f"{wanted.url}/mcp", "headersHelper": f"{command} --headers"}
    return {
        wanted.folder / ".mcp.json": _json(Entry(("mcpServers", NAME), server, _any)),
        wanted.folder / ".claude" / "settings.local.json": _json(
            *(model if wanted.model else ()),
            Entry(("enabledMcpjsonServers",), NAME, lambda said: said == NAME, item=True),
            Entry(("hooks", "PreToolUse"), {"matcher": "*", "hooks": [guard]}, _is_hook, item=True, within="hooks"),
        ),
    }


def cursor(wanted: Wanted) -> Mapping[Path, Change]:
    """The token comes from the environment that Cursor was started in."""
    server = {"url": f"{wanted.url}/mcp", "headers": {"Authorization": f"Bearer ${{env:{EXPORTED}}}"}}
    return {wanted.folder / ".cursor" / "mcp.json": _json(Entry(("mcpServers", NAME), server, _any))}


def vscode(wanted: Wanted) -> Mapping[Path, Change]:
    """VS Code asks for the token and keeps it in its own secret storage."""
    asked = {"type": "promptString", "id": f"{NAME}-token", "description": "wicketgate token", "password": True}
    bearer = {"Authorization": f"Bearer ${{input:{NAME}-token}}"}
    server = {"type": "http", "url": f"{wanted.url}/mcp", "headers": bearer}
    return {
        wanted.folder / ".vscode" / "mcp.json": _json(
            Entry(("inputs",), asked, lambda said: isinstance(said, dict) and said.get("id") == asked["id"], item=True),
            Entry(("servers", NAME), server, _any),
        )
    }


def inspector(wanted: Wanted) -> Mapping[Path, Change]:
    """A file for ``--config``; the Inspector signs in by OAuth, or is given the token with ``--header``."""
    server = {"type": "streamable-http", "url": f"{wanted.url}/mcp"}
    return {wanted.folder / "mcp-inspector.json": _json(Entry(("mcpServers", NAME), server, _any))}


def codex(wanted: Wanted) -> Mapping[Path, Change]:
    """A block of our own in Codex's file; the token comes from the environment."""
    lines = [_BEGIN, f"[mcp_servers.{NAME}]", f"url = {json.dumps(wanted.url + '/mcp')}"]
    block = "\n".join([*lines, f'bearer_token_env_var = "{EXPORTED}"', _END]) + "\n"

    def change(text: str, undo: bool) -> str:
        kept = re.sub(rf"\n?{re.escape(_BEGIN)}\n.*?{re.escape(_END)}\n", "", text, flags=re.DOTALL)
        try:
            known = tomllib.loads(kept).get("mcp_servers", {})
        except tomllib.TOMLDecodeError as error:
            raise Stop(f"config.toml of Codex cannot be read: {error}", "mend it, then connect again") from None
        if undo:
            return kept
        if NAME in known:
            raise Stop(f"config.toml of Codex has an [mcp_servers.{NAME}] of its own", "remove it, then connect again")
        return kept + ("\n" if kept else "") + block

    folder = Path(os.environ.get("CODEX_HOME") or wanted.home / ".codex")
    return {folder / "config.toml": change}


CLIENTS: Mapping[str, Callable[[Wanted], Mapping[Path, Change]]] = {
    "claude-code": claude_code,
    "cursor": cursor,
    "codex": codex,
    "vscode": vscode,
    "inspector": inspector,
}
BY_ENVIRONMENT = frozenset({"cursor", "codex"})
"""Clients that take the token from the environment in which they are started."""


def _any(_: Any) -> bool:
    """A member of our name is ours."""
    return True


def _is_hook(said: Any) -> bool:
    """Whether a hook is ours."""
    return isinstance(said, dict) and HOOK_FILE in str(said.get("command", ""))


def _json(*entries: Entry) -> Change:
    """A change of a JSON object's file."""

    def change(text: str, undo: bool) -> str:
        try:
            document = json.loads(text) if text.strip() else {}
        except ValueError as error:
            raise Stop(f"the file is not JSON: {error}", "take the comments out of it, then connect again") from None
        if not isinstance(document, dict):
            raise Stop("the file holds no JSON object", "mend it, then connect again")
        before = json.dumps(document)
        for entry in entries:
            _take(document, entry) if undo else _put(document, entry)
        if json.dumps(document) == before:
            return text
        return json.dumps(document, indent=_indent(text), ensure_ascii=False) + "\n" if document else ""

    return change


def _put(document: dict[str, Any], entry: Entry) -> None:
    """Set it; raises ``Stop`` where somebody else's value stands there."""
    above, last = document, entry.path[-1]
    for part in entry.path[:-1]:
        above = above.setdefault(part, {})
        if not isinstance(above, dict):
            raise Stop(f"`{part}` is no object", "mend the file, then connect again")
    if not entry.item:
        if last in above and not entry.ours(above[last]):
            raise Stop(
                f"`{'.'.join(entry.path)}` is set to something else",
                "remove it, or connect without the model's endpoint: --no-model",
            )
        above[last] = entry.value
        return
    items = above.setdefault(last, [])
    if not isinstance(items, list):
        raise Stop(f"`{'.'.join(entry.path)}` is no list", "mend the file, then connect again")
    left = [_left(one, entry) for one in items]
    at = next((place for place, one in enumerate(left) if one is _NOTHING), len(left))
    items[:] = [*left[:at], entry.value, *(one for one in left[at:] if one is not _NOTHING)]


def _left(one: Any, entry: Entry) -> Any:
    """What stays of a list's element without ours; ``_NOTHING`` where nothing does: a list may hold a null of its own."""
    if not entry.within:
        return _NOTHING if entry.ours(one) else one
    inner = one.get(entry.within) if isinstance(one, dict) else None
    kept = [each for each in inner if not entry.ours(each)] if isinstance(inner, list) else []
    if not isinstance(inner, list) or len(kept) == len(inner):
        return one
    return {**one, entry.within: kept} if kept else _NOTHING


def _take(document: dict[str, Any], entry: Entry) -> None:
    """Remove it where it is ours, and what was there for it alone."""
    chain: list[dict[str, Any]] = [document]
    for part in entry.path[:-1]:
        below = chain[-1].get(part)
        if not isinstance(below, dict):
            return
        chain.append(below)
    last = entry.path[-1]
    found = chain[-1].get(last)
    if entry.item and isinstance(found, list):
        found[:] = [left for one in found if (left := _left(one, entry)) is not _NOTHING]
        if not found:
            del chain[-1][last]
    elif not entry.item and last in chain[-1] and entry.ours(found):
        del chain[-1][last]
    for above, part in zip(reversed(chain[:-1]), reversed(entry.path[:-1]), strict=True):
        if not above[part]:
            del above[part]


def _indent(text: str) -> int | str:
    """As the file has it."""
    found = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
    return 2 if found is None else "\t" if "\t" in found[1] else len(found[1])


def difference(path: Path, old: str, new: str) -> Sequence[str]:
    """Lines that change, as ``diff -u`` shows them."""
    from difflib import unified_diff

    return list(unified_diff(old.splitlines(), new.splitlines(), str(path), str(path), lineterm=""))
