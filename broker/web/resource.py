"""The gate as an OAuth 2.0 protected resource: what a client without a token learns, and the challenge that leads there.

RFC 9728 (metadata), RFC 6750 §3 and RFC 9449 §7.1 (challenges).
"""

from collections.abc import Collection

import orjson
from starlette.requests import Request
from starlette.responses import Response

from broker.errors import BrokerError, Unauthenticated
from broker.identity import PROOF_ALGORITHMS, IssuerProfile, SenderConstraint

PATH = "/.well-known/oauth-protected-resource"
_NO_TOKEN = frozenset({"identity.missing", "identity.certificate", "identity.certificate_unmapped"})
"""Refusals of requests that showed no token: their challenge names no error (RFC 6750 §3.1)."""


class ProtectedResource:
    """Says which authorization servers are believed and how their tokens are shown; nothing about anybody."""

    def __init__(self, url: str, profiles: Collection[IssuerProfile]) -> None:
        """``url`` is the gate's public address, the resource identifier (RFC 8707)."""
        constraints = {profile.sender_constraint for profile in profiles}
        self._metadata = f"{url}{PATH}"
        self._proofs = SenderConstraint.DPOP in constraints
        self._body = orjson.dumps(
            {
                "resource": url,
                "resource_name": "Wicketgate",
                "authorization_servers": sorted(profile.issuer for profile in profiles),
                "bearer_methods_supported": ["header"],
                "dpop_signing_alg_values_supported": sorted(PROOF_ALGORITHMS),
                "dpop_bound_access_tokens_required": constraints == {SenderConstraint.DPOP},
                "tls_client_certificate_bound_access_tokens": SenderConstraint.MTLS in constraints,
            }
        )

    async def protected_resource(self, _: Request) -> Response:
        """The metadata document."""
        return Response(self._body, media_type="application/json")

    def challenge(self, error: BrokerError) -> str:
        """``WWW-Authenticate`` where nobody was recognised, else nothing: never what was wrong inside the token."""
        if not isinstance(error, Unauthenticated):
            return ""
        where = f'resource_metadata="{self._metadata}"'
        fault = "" if error.error_code in _NO_TOKEN else 'error="invalid_token", '
        proof = f', DPoP algs="{" ".join(sorted(PROOF_ALGORITHMS))}", {where}' if self._proofs else ""
        return f"Bearer {fault}{where}{proof}"
