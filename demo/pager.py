"""Who is called: a receiver of notices, ``python -m demo.pager --port N --notices FILE``; the secret on standard input.

It verifies what comes by the Standard Webhooks specification (v1): ``webhook-signature`` holds ``v1,`` and the base64 of
HMAC-SHA256 over ``<webhook-id>.<webhook-timestamp>.<body>`` under the secret (``whsec_`` and base64), and the timestamp is
within five minutes. What does not verify is answered 401 and kept as refused; a repetition is answered 200 and kept once.

One line a message in FILE: ``{"at","id","verified","incident","kind","title","summary","evidence": {verdict: n},"ruled_out": n,
"tried": [{"action","status","code"?}]}``; of a message that does not verify only ``at``, ``id`` and ``verified``.
"""

import argparse
import base64
import hmac
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from demo.wire import Answer, Asked, Json, LoopbackServer

SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix that every secret has
TOLERANCE_SECONDS = 300


class Pager:
    """The receiver's state: the secret, and which messages it has."""

    def __init__(self, secret: str, notices: Path) -> None:
        """``secret`` is ``whsec_`` and base64; raises ``ValueError`` for anything else."""
        if not secret.startswith(SECRET_PREFIX):
            raise ValueError("the secret must begin with whsec_")
        self._key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        self._notices = notices
        self._known: set[str] = set()
        self._turn = threading.Lock()

    def route(self, asked: Asked) -> Answer:
        """Take one message."""
        if (asked.method, asked.path) != ("POST", "/hook"):
            return Answer(404, {"error": "no such route"})
        id_ = asked.headers.get("webhook-id", "")
        now = time.time()
        if not self.verifies(asked.headers, asked.body, now):
            self._keep({"at": round(now, 3), "id": id_, "verified": False})
            return Answer(401, {"error": "the signature does not verify"})
        with self._turn:
            if id_ in self._known:
                return Answer(200, {"id": id_})
            self._known.add(id_)
        self._keep({"at": round(now, 3), "id": id_, "verified": True, **_told(asked.json().get("data") or {})})
        return Answer(200, {"id": id_})

    def verifies(self, headers: Mapping[str, str], body: bytes, now: float) -> bool:
        """Whether one of the signatures is ours and the message is fresh."""
        id_, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not id_ or not (stamp.isascii() and stamp.isdigit()) or abs(now - int(stamp)) > TOLERANCE_SECONDS:
            return False
        made = hmac.digest(self._key, f"{id_}.{stamp}.".encode() + body, "sha256")
        right = "v1," + base64.b64encode(made).decode()
        given = headers.get("webhook-signature", "").encode("latin-1", errors="replace").split()
        return any(hmac.compare_digest(right.encode(), one) for one in given)

    def _keep(self, line: Mapping[str, Json]) -> None:
        with self._turn, self._notices.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")


def _told(data: Mapping[str, Json]) -> dict[str, Json]:
    """What of a message is kept: whom it is about, and how much evidence it brings."""
    verdicts = Counter(str(one.get("verdict")) for one in data.get("evidence", ()))
    names = ("action", "status", "code")
    return {
        **{name: data.get(name, "") for name in ("incident", "kind", "title", "summary")},
        "evidence": dict(sorted(verdicts.items())),
        "ruled_out": len(data.get("ruled_out", ())),
        "tried": [{name: one[name] for name in names if name in one} for one in data.get("tried", ())],
    }


def main() -> None:
    """Serve until ended."""
    options = argparse.ArgumentParser(prog="demo.pager")
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--notices", type=Path, required=True)
    given = options.parse_args()
    given.notices.touch()
    LoopbackServer(given.port, Pager(input(), given.notices).route).serve_forever()


if __name__ == "__main__":
    main()
