"""Static files: read once, served by name with their hash in the address, so that browsers keep them for good."""

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from broker.errors import NotFound

FOLDER = Path(__file__).with_name("static")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HASH_CHARACTERS = 16


class StaticFiles:
    """Files of ``static/`` and ``static/vendor/`` that a browser may have."""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Reads them all: there are a handful."""
        paths = sorted(path for path in folder.rglob("*") if path.suffix in _TYPES)
        self._files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        self._hashes = {name: hashlib.sha256(body).hexdigest()[:_HASH_CHARACTERS] for name, body in self._files.items()}

    def address(self, name: str) -> str:
        """Where ``name`` is served; raises ``KeyError`` for a file that is not there."""
        return f"/console/static/{name}?v={self._hashes[name]}"

    async def console_static(self, request: Request) -> Response:
        """GET /console/static/{name}."""
        return self._serve(request, request.path_params["name"])

    async def console_vendor(self, request: Request) -> Response:
        """GET /console/static/vendor/{name}."""
        return self._serve(request, "vendor/" + request.path_params["name"])

    def _serve(self, request: Request, name: str) -> Response:
        body = self._files.get(name)
        if body is None:
            raise NotFound("there is no such file", code="console.no_file")
        kept = request.query_params.get("v") == self._hashes[name]
        return Response(
            body,
            media_type=_TYPES[Path(name).suffix],
            headers={
                "Cache-Control": "public, max-age=31536000, immutable" if kept else "no-cache",
                "Cross-Origin-Resource-Policy": "same-origin",
                "X-Content-Type-Options": "nosniff",
            },
        )
