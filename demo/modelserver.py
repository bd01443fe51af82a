"""A model provider on Anthropic's wire: ``python -m demo.modelserver --port N --requests FILE``; its key on standard input.

``POST /v1/messages`` (streaming and not), ``POST /v1/messages/count_tokens``, ``GET /v1/models[/{id}]``, with the wire's
errors: 401 without the key, 400 without ``anthropic-version`` or with a malformed body, 404. What it answers is
``demo/script.py``'s, from the prompt alone. Every request body is a line of FILE: ``{"at","path","body"}``.
"""

import argparse
import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from demo import script
from demo.wire import Answer, Asked, Json, LoopbackServer

MODELS: Mapping[str, str] = {
    "claude-opus-5-5": "Claude Opus 5.5",
    "claude-sonnet-5-5": "Claude Sonnet 5.5",
    "claude-haiku-5-5": "Claude Haiku 5.5",
}


class Provider:
    """The server's state: its key and the file of requests."""

    def __init__(self, key: str, requests: Path) -> None:
        """``requests`` is appended to."""
        self._key = key
        self._requests = requests
        self._turn = threading.Lock()

    def route(self, asked: Asked) -> Answer:
        """Answer one request on the provider's wire."""
        path = asked.path.split("?", 1)[0]
        if self._key not in {
            asked.headers.get("x-api-key"),
            asked.headers.get("authorization", "").removeprefix("Bearer "),
        }:
            return _error(401, "authentication_error", "invalid x-api-key")
        if "anthropic-version" not in asked.headers:
            return _error(400, "invalid_request_error", "anthropic-version: header is required")
        if asked.method == "GET":
            return _models(path)
        return self._post(path, asked.json())

    def _post(self, path: str, body: dict[str, Json]) -> Answer:
        self._keep(path, body)
        if problem := _malformed(body, path):
            return _error(400, "invalid_request_error", problem)
        if path == "/v1/messages/count_tokens":
            return Answer(200, {"input_tokens": script.tokens(body)})
        if path == "/v1/messages":
            return _answer(body)
        return _error(404, "not_found_error", "Not found")

    def _keep(self, path: str, body: dict[str, Json]) -> None:
        line = json.dumps({"at": round(time.time(), 3), "path": path, "body": body}, ensure_ascii=False)
        with self._turn, self._requests.open("a", encoding="utf-8") as out:
            out.write(line + "\n")


def _answer(body: dict[str, Json]) -> Answer:
    """A message, whole or as a stream."""
    answer = script.message(body)
    if not body.get("stream"):
        return Answer(200, answer)
    stream = [f"event: {name}\ndata: {json.dumps(event)}\n\n".encode() for name, event in script.events(answer)]
    return Answer(200, stream, "text/event-stream; charset=utf-8")


def _malformed(body: dict[str, Json], path: str) -> str:
    """What is wrong with a request body, or nothing."""
    needed = ("model", "messages") if path.endswith("count_tokens") else ("model", "messages", "max_tokens")
    missing = [name for name in needed if name not in body]
    if missing:
        return f"{missing[0]}: Field required"
    return "" if body["model"] in MODELS and body["messages"] else "model or messages: not valid"


def _models(path: str) -> Answer:
    """The list of models, or one."""
    known = [_model(name) for name in MODELS]
    if path == "/v1/models":
        return Answer(200, {"data": known, "has_more": False, "first_id": known[0]["id"], "last_id": known[-1]["id"]})
    name = path.removeprefix("/v1/models/")
    return Answer(200, _model(name)) if name in MODELS else _error(404, "not_found_error", "model not found")


def _model(name: str) -> dict[str, Json]:
    return {
        "type": "model",
        "id": name,
        "display_name": MODELS[name],
        "created_at": "2026-06-01T00:00:00Z",
        "lifecycle": "active",
        "line": name.split("-")[1],
        "max_input_tokens": 1_000_000,
        "max_tokens": 128_000,
        "capabilities": None,
    }


def _error(status: int, kind: str, text: str) -> Answer:
    """An error on the provider's wire."""
    return Answer(status, {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_scripted"})


def main() -> None:
    """Serve until ended."""
    options = argparse.ArgumentParser(prog="demo.modelserver")
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--requests", type=Path, required=True)
    given = options.parse_args()
    LoopbackServer(given.port, Provider(input(), given.requests).route).serve_forever()


if __name__ == "__main__":
    main()
