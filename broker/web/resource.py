"""The gate as an OAuth 2.0 protected resource: what a client without a token learns, and the challenge that leads there.

RFC 9728 (metadata), RFC 6750 §3, RFC 9449 §7.1 and RFC 9470 §3 (challenges).
"""

from collections.abc import Collection, Mapping

import orjson
from starlette.requests import Request
from starlette.responses import Response

from broker.errors import BrokerError, NotFound, StepUpRequired, Unauthenticated
from broker.identity import PROOF_ALGORITHMS, IssuerProfile, SenderConstraint
from broker.model import Json
from broker.web.problem import steps_up

PATH = "/.well-known/oauth-protected-resource"
RESOURCES = ("", "/mcp")
"""Paths that clients know as a resource of its own; everything else is the gate as a whole."""
_NO_TOKEN = frozenset({"identity.missing", "identity.certificate", "identity.certificate_unmapped"})
"""Refusals of requests that showed no token: their challenge names no error (RFC 6750 §3.1)."""
_PROOF = "identity.bound_unproven"
_SCOPE = "identity.insufficient_scope"


class ProtectedResource:
    """Says which authorization servers are believed and how their tokens are shown; nothing about anybody."""

    def __init__(self, url: str, profiles: Collection[IssuerProfile]) -> None:
        """``url`` is the gate's public address, the resource identifier (RFC 8707); below it are those of ``RESOURCES``."""
        constraints = {profile.sender_constraint for profile in profiles}
        self._url = url
        self._scopes = sorted(frozenset().union(*(profile.scopes for profile in profiles)))
        self._proofs = " ".join(sorted(PROOF_ALGORITHMS)) if SenderConstraint.DPOP in constraints else ""
        common: Mapping[str, Json] = {
            "resource_name": "Wicketgate",
            # A trust domain signs for its workloads by itself: nobody gets a token there by OAuth.
            "authorization_servers": sorted(profile.issuer for profile in profiles if not profile.bound),
            **({"scopes_supported": self._scopes} if self._scopes else {}),
            "bearer_methods_supported": ["header"],
            "dpop_signing_alg_values_supported": sorted(PROOF_ALGORITHMS),
            "dpop_bound_access_tokens_required": constraints == {SenderConstraint.DPOP},
            "tls_client_certificate_bound_access_tokens": SenderConstraint.MTLS in constraints,
        }
        self._bodies = {path: orjson.dumps({"resource": url + path, **common}) for path in RESOURCES}

    async def protected_resource(self, _: Request) -> Response:
        """The metadata document of the gate."""
        return self._document("")

    async def protected_path(self, request: Request) -> Response:
        """That of one path of it (RFC 9728 §3.1: the path stands behind the well-known one)."""
        return self._document("/" + request.path_params["path"])

    def challenge(self, error: BrokerError, path: str = "") -> str:
        """``WWW-Authenticate`` where another token would help, else nothing: never what was wrong inside the token."""
        where = f'resource_metadata="{self._url}{PATH}{_resource(path)}"'
        scope = f'scope="{" ".join(self._scopes)}", ' if self._scopes else ""
        if error.error_code == _SCOPE:
            return f'Bearer error="insufficient_scope", {scope}{where}'
        if steps_up(error) or isinstance(error, StepUpRequired):
            return f'Bearer error="insufficient_user_authentication", {_asked(error)}{where}'
        if not isinstance(error, Unauthenticated):
            return ""
        fault = "" if error.error_code in _NO_TOKEN else 'error="invalid_token", '
        unproven = 'error="invalid_dpop_proof", ' if error.error_code == _PROOF else fault
        proof = f', DPoP {unproven}algs="{self._proofs}", {scope}{where}' if self._proofs else ""
        return f"Bearer {fault}{scope}{where}{proof}"

    def _document(self, path: str) -> Response:
        body = self._bodies.get(path)
        if body is None:
            raise NotFound("no resource has this path", code="http.no_route", remedy=f"see {PATH}")
        return Response(body, media_type="application/json")


def _resource(path: str) -> str:
    """The resource that ``path`` belongs to."""
    return next((one for one in RESOURCES if one and (path == one or path.startswith(one + "/"))), "")


def _asked(error: BrokerError) -> str:
    """What the next sign-in must reach (RFC 9470 §3): at most so old, by one of these methods."""
    ages = [int(one.params["seconds"]) for one in error.reasons if "seconds" in one.params]
    methods = [str(one.params["acr_values"]) for one in error.reasons if "acr_values" in one.params]
    acr = f'acr_values="{methods[0]}", ' if methods else ""
    return acr + (f"max_age={min(ages)}, " if ages else "")
