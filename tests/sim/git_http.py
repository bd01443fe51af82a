"""A real git server over HTTP: ``git http-backend`` behind a small CGI server on loopback."""

import base64
import http.server
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class GitServer:
    """``seen`` holds (method, path, authorization, host) of each request; ``answer`` may take a request's place."""

    port: int = 0
    seen: list[tuple[str, str, str, str]] = field(default_factory=list)
    redirect: str = ""
    credential: str = ""


@contextmanager
def git_server(folder: Path) -> Iterator[GitServer]:
    """Serve every repository below ``folder``, pushes too, to whoever shows ``credential`` (``user:password``)."""
    state = GitServer()

    class Backend(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            shown = self.headers.get("Authorization", "")
            state.seen.append((self.command, path, shown, self.headers["Host"]))
            if state.redirect:
                return self._end(302, [("Location", state.redirect)], b"")
            wanted = "Basic " + base64.b64encode(state.credential.encode()).decode()
            if state.credential and shown != wanted:
                return self._end(401, [("WWW-Authenticate", "Basic")], b"")
            body = self._body()
            environment = {
                "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(folder), "GIT_HTTP_EXPORT_ALL": "1", "REQUEST_METHOD": self.command,
                "PATH_INFO": path, "QUERY_STRING": query, "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""), "REMOTE_USER": "someone",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""), "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
            }  # fmt: skip
            done = subprocess.run(
                ["git", "http-backend"], input=body, env=environment, capture_output=True, check=False
            )
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            lines = [line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line]
            status = int(next((value for name, value in lines if name == "Status"), "200")[:3])
            return self._end(status, [(name, value) for name, value in lines if name != "Status"], content)

        do_POST = do_GET  # noqa: N815 - the names of http.server

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))

        def _end(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of http.server
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend) as server:
        state.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
