"""The ``PreToolUse`` hook of Claude Code: asks the gate before each built-in tool, and stops what was not permitted.

It fails closed: a gate that cannot be reached, is slow, refuses or says anything else than yes, and any fault in here, ends
with exit code 2, which blocks the tool and tells the model what stands on standard error. Written with the standard
library alone and run by its file, so that nothing of it can be missing. The agent's token comes from a command, each time.

    claude_code_hook.py --url URL --token-command COMMAND --waiting FOLDER [--resource ID] [--env ENV]
                        [--seconds N] [--wait N]

What waits for a person is remembered in FOLDER, by a digest: the same use, tried again, is the one that was approved, once.
So is which sessions of a run have ended.
What a tool would write leaves the machine as a digest alone, under a key that stays in FOLDER.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
"""As typing has it, without the time that typing takes to load."""
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any
    from urllib.parse import SplitResult

BLOCK = 2
SECONDS = 50
"""Within what Claude Code waits for a hook; what is not decided by then is blocked."""
WAIT_SECONDS = 20
"""For a person's answer, in one go."""
OWN = "mcp__wicketgate__"
"""The gate's own tools: it decides about them when they are called."""
OWN_LONGEST = 46
"""A name of ours is no longer and has no ``__``: what has belongs to another server, whose name begins like ours."""
SESSIONS_MAX = 64
"""So many sessions one run may have, one after another."""
SHELLS = {"Bash", "PowerShell"}
READS = {"Read": "file_path", "Glob": "path", "Grep": "path", "LS": "path", "NotebookRead": "notebook_path"}
WRITES = {"Edit": "file_path", "Write": "file_path", "MultiEdit": "file_path", "NotebookEdit": "notebook_path"}
WEB = {"WebFetch": "url", "WebSearch": "query"}
ANSWER_BYTES_MAX = 1_000_000


class Blocked(Exception):
    """The tool is not used, and why."""


def options(arguments: Sequence[str]) -> dict[str, str]:
    """``--name value`` pairs."""
    names = [one.removeprefix("--") for one in arguments[::2]]
    return {"resource": "local", "env": "dev", "seconds": str(SECONDS), "wait": str(WAIT_SECONDS)} | dict(
        zip(names, arguments[1::2], strict=True)
    )


def is_own(tool: str) -> bool:
    """Whether it is a tool of the gate itself."""
    rest = tool.removeprefix(OWN)
    return tool.startswith(OWN) and 0 < len(rest) <= OWN_LONGEST and "__" not in rest and not rest.startswith("_")


def key_of(folder: Path) -> bytes:
    """What makes digests of this machine, made once: whoever reads one elsewhere cannot try what it is of."""
    import os
    from contextlib import suppress

    file, fresh = folder / "key", folder / f"key-{os.getpid()}"
    try:
        return file.read_bytes()
    except FileNotFoundError:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as made:
        made.write(os.urandom(32))
    with suppress(FileExistsError):  # somebody was faster: theirs counts
        os.link(fresh, file)
    fresh.unlink()
    return file.read_bytes()


def asked(event: Mapping[str, Any], key: bytes) -> tuple[str, dict[str, Any]]:
    """The action of the catalog that a tool's use is, and its arguments; ``key`` is of digests."""
    import hmac
    import json

    def told(given: Mapping[str, Any], *without: str) -> str:
        left = {name: one for name, one in given.items() if name not in without}
        return json.dumps(left, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    tool, given = event["tool_name"], event["tool_input"]
    if tool in SHELLS:
        # What the model says of a command changes nothing that runs; everything else of it does, and is shown.
        options, where = told(given, "command", "description"), event.get("cwd", "")
        return "workstation.command.run", {"tool": tool, "command": given["command"], "cwd": where, "options": options}
    if tool in READS:
        named = {"path": given.get(READS[tool], ""), "options": told(given, READS[tool])}
        return "workstation.file.read", {"tool": tool, **named}
    if tool in WEB:
        named = {"url": given.get(WEB[tool], ""), "options": told(given, WEB[tool])}
        return "workstation.web.read", {"tool": tool, **named}
    digest = hmac.new(key, told(given).encode(), "sha256").hexdigest()
    if tool in WRITES:
        return "workstation.file.write", {"tool": tool, "path": given[WRITES[tool]], "digest": digest}
    return "workstation.tool.use", {"tool": tool, "digest": digest}


def reached(url: str) -> SplitResult:
    """Refuse at once where nobody listens; only then is anything else begun."""
    import socket
    from urllib.parse import urlsplit

    place = urlsplit(url)
    port = place.port or (443 if place.scheme == "https" else 80)
    try:
        socket.create_connection((place.hostname or "", port), 5).close()
    except OSError as error:
        fault = type(error).__name__
        raise Blocked(f"the gate at {url} cannot be reached ({fault}); start it, or ask its operator") from None
    return place


def bearer(command: str) -> str:
    """A token, from the command that prints one."""
    import shlex
    import subprocess

    try:
        # The command is the one that stands in the agent's own settings.
        ended = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise Blocked(f"`{command}` gave no token ({type(error).__name__}); run it in a terminal and see") from None
    return ended.stdout.strip()


class Gate:
    """The gate at a place, asked with one token."""

    def __init__(self, place: SplitResult, token: str) -> None:
        self._place, self._token = place, token

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, key: str = ""
    ) -> tuple[int, dict[str, Any]]:
        """One request to ``path`` below the gate's own: status and body."""
        import http.client
        import json

        kind = http.client.HTTPSConnection if self._place.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._place.hostname or "", self._place.port, timeout=SECONDS)
        headers = {"Authorization": f"Bearer {self._token}"}
        if body is not None:
            headers |= {"Content-Type": "application/json", "Idempotency-Key": key}
        try:
            target = self._place.path.rstrip("/") + path
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            said = json.loads(answer.read(ANSWER_BYTES_MAX))
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Blocked(f"the gate did not answer ({type(error).__name__}); try again, or ask its operator") from None
        finally:
            connection.close()
        if not isinstance(said, dict):
            raise Blocked("the gate's answer is not what this hook knows; update it: wicketgate connect claude-code")
        return answer.status, said


def refusal(said: Mapping[str, Any]) -> str:
    """Why, and what to do next, in the gate's words."""
    reasons = [one for one in said.get("reasons", []) if isinstance(one, dict)]
    told = "; ".join(f"{one.get('code', '')}: {one.get('remedy', '')}" for one in reasons)
    return f"the gate refuses: {told or said.get('detail', 'without a reason')}"


def permitted(event: Mapping[str, Any], chosen: Mapping[str, str]) -> None:
    """Return where the gate permits the use; raises ``Blocked`` everywhere else."""
    import hashlib
    from pathlib import Path

    place = reached(chosen["url"])
    action, arguments = asked(event, key_of(Path(chosen["waiting"])))
    gate = Gate(place, bearer(chosen["token-command"]))
    run = hashlib.sha256(event["session_id"].encode()).hexdigest()[:40]
    ask = {
        "action": action,
        "resource": {"type": "workstation", "id": chosen["resource"], "env": chosen["env"]},
        "arguments": arguments,
        "reason": f"Claude Code asks to use {event['tool_name']}",
    }
    for number in range(SESSIONS_MAX):
        ended = Path(chosen["waiting"], f"{run}-{number}")
        if ended.exists():
            continue
        session = opened(gate, f"hook-{run}-{number}" if number else f"hook-{run}")
        if decided(gate, {"session": session, **ask}, f"{run} {event['tool_use_id']}", chosen):
            return
        remember(ended, "")
    raise Blocked("the sessions of this run are used up; begin a new one")


def opened(gate: Gate, key: str) -> str:
    """The session of a key: a new one, or the one that was opened with it, which may have ended since."""
    intent = [{"kind": "task", "text": "a run of Claude Code", "source": "claude-code"}]
    status, said = gate.ask("POST", "/v1/sessions", {"intent": intent}, key)
    if status != 201:
        raise Blocked(refusal(said))
    return str(said["session"])


def decided(gate: Gate, body: Mapping[str, Any], use: str, chosen: Mapping[str, str]) -> bool:
    """True where the gate permits it, False where the session has ended; raises ``Blocked`` everywhere else."""
    import hashlib
    from pathlib import Path

    run, _, _ = use.partition(" ")
    same = hashlib.sha256(f"{run} {body}".encode()).hexdigest()[:40]
    fresh = "hook-" + hashlib.sha256(f"{same} {use}".encode()).hexdigest()[:40]
    file = Path(chosen["waiting"], same)
    key = remembered(file)
    status, said = gate.ask("POST", "/v1/actions", body, key or fresh)
    if status == 404 and said.get("code") == "session.not_found":
        forget(file)
        return False
    waited = bool(key) or status == 202
    if status == 202:
        wait = int(chosen["wait"])
        approval, action_id = said.get("approval", {}).get("id", ""), said["action_id"]
        remember(file, fresh)
        status, said = gate.ask("GET", f"/v1/actions/{action_id}?wait={wait}")
        if status == 202:
            raise Blocked(
                f"a person has to approve this first: {approval}; ask them, then use the tool again as it was"
            )
    taken = forget(file) if waited else True
    if status != 200 or said.get("status") != "done":
        raise Blocked(refusal(said))
    if not taken:
        raise Blocked("what was approved was used meanwhile; use the tool again")
    return True


def remembered(file: Path) -> str:
    """The key of the same use that waits; empty where none does."""
    try:
        return file.read_text("ascii")
    except FileNotFoundError:
        return ""


def remember(file: Path, key: str) -> None:
    """Keep a file with ``key``; the first one stays."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with file.open("x", encoding="ascii") as known:
            known.write(key)
    except FileExistsError:
        return


def forget(file: Path) -> bool:
    """Whether this process may go on: what was remembered is used by whoever takes it away."""
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    return True


def main() -> int:
    """Exit 0: the usual rules of Claude Code go on; exit 2: blocked."""
    import json
    import os
    import signal

    def late(*_: object) -> None:
        os.write(2, b"wicketgate: the gate took too long; try again, or ask its operator\n")
        os._exit(BLOCK)

    try:
        chosen = options(sys.argv[1:])
        signal.signal(signal.SIGALRM, late)
        signal.alarm(max(1, int(chosen["seconds"])))
        event = json.loads(sys.stdin.read())
        if not is_own(event["tool_name"]):
            permitted(event, chosen)
    except Blocked as blocked:
        sys.stderr.write(f"wicketgate: {blocked}\n")
        return BLOCK
    except BaseException as error:  # noqa: BLE001 - the process edge: whatever is unclear is blocked
        fault = type(error).__name__
        sys.stderr.write(f"wicketgate: this hook failed ({fault}); connect again: wicketgate connect claude-code\n")
        return BLOCK
    return 0


if __name__ == "__main__":
    sys.exit(main())
