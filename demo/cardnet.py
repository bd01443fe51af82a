"""The card network, an outside dependency of payments: ``python -m demo.cardnet --port N``; the control token on standard input.

``POST /authorise {"card","cents"}`` answers ``{"authorised": true}``. ``POST /fault {"name": "errors|hang"}`` with the token
breaks it. It belongs to somebody else: the gate has no action on it.
"""

import argparse
import time

from demo.wire import Answer, Asked, LoopbackServer

HANG_SECONDS = 20.0


class Network:
    """The server's state."""

    def __init__(self, control: str) -> None:
        self._control = control
        self._fault = ""

    def route(self, asked: Asked) -> Answer:
        """Answer one request."""
        if (asked.method, asked.path) == ("POST", "/fault"):
            if asked.headers.get("authorization") != f"Bearer {self._control}":
                return Answer(401, {"error": "the control token is required"})
            self._fault = str(asked.json().get("name"))
            return Answer(200, {"fault": self._fault})
        if asked.path == "/healthz":
            return Answer(200, {"name": "cardnet"})
        if self._fault == "hang":
            time.sleep(HANG_SECONDS)
        if self._fault == "errors":
            return Answer(503, {"error": "the network is out of service"})
        return Answer(200, {"authorised": True})


def main() -> None:
    """Serve until ended."""
    options = argparse.ArgumentParser(prog="demo.cardnet")
    options.add_argument("--port", type=int, required=True)
    given = options.parse_args()
    LoopbackServer(given.port, Network(input()).route).serve_forever()


if __name__ == "__main__":
    main()
