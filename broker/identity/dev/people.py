"""Who exists at the development provider: four people, two of them with the role security, the clients they sign in with, and the agents."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import MappingProxyType
from urllib.parse import urlsplit

from joserfc.jwk import ECKey

CODE_GRANT = "authorization_code"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
CLIENT_GRANT = "client_credentials"
EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
PERSONA_GRANT = "urn:wicketgate:dev:persona"

SCOPE = "gate"
SCOPES = ("openid", SCOPE)


@dataclass(frozen=True, slots=True)
class Persona:
    """A person of the demonstration. ``groups`` and ``tenant`` become claims of the same names."""

    name: str
    groups: tuple[str, ...]
    tenant: str = "default"


PERSONAS: Mapping[str, Persona] = MappingProxyType(
    {
        "oncall": Persona("oncall", ("oncall",)),
        "security": Persona("security", ("security",)),
        "deputy": Persona("deputy", ("security",)),
        "auditor": Persona("auditor", ("auditor",)),
    }
)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person who just proved presence with the development code. ``auth_time`` is in Unix seconds."""

    persona: Persona
    auth_time: int
    nonce: str = ""
    sid: str = ""

    def get_user_id(self) -> str:
        """The subject, as authlib asks for it."""
        return self.persona.name


@dataclass(frozen=True, slots=True)
class Client:
    """A registered OAuth client, with the methods that authlib's grants ask of one."""

    client_id: str
    auth_method: str
    grants: frozenset[str]
    key: ECKey | None = None
    redirect_uris: tuple[str, ...] = ()
    signed_out_uris: tuple[str, ...] = ()
    """Where the browser may go after a logout."""
    loopback_path: str = ""
    """A native client (RFC 8252): this path on any loopback port is a redirect URI too."""
    groups: tuple[str, ...] = ()
    tenant: str = "default"
    scopes: tuple[str, ...] = field(default=SCOPES)

    def get_client_id(self) -> str:
        """The client's name."""
        return self.client_id

    def get_default_redirect_uri(self) -> None:
        """None: every request names its redirect URI."""

    def get_allowed_scope(self, scope: str | None) -> str:
        """The part of ``scope`` that this client may have; the gate's own scope where none is asked for."""
        return " ".join(name for name in (scope or SCOPE).split() if name in self.scopes)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Exact match, or the native client's path on a loopback address with any port."""
        if redirect_uri in self.redirect_uris:
            return True
        parts = urlsplit(redirect_uri)
        return (
            bool(self.loopback_path)
            and parts.scheme == "http"
            and redirect_uri == f"http://{parts.netloc}{self.loopback_path}"
            and "@" not in parts.netloc
            and _is_loopback_literal(parts.hostname or "")
        )

    def check_client_secret(self, client_secret: str) -> bool:  # noqa: ARG002 - authlib's signature
        """False: there are no client secrets here."""
        return False

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:  # noqa: ARG002 - authlib's signature
        """Whether the client authenticates by ``method``."""
        return method == self.auth_method

    def check_response_type(self, response_type: str) -> bool:
        """Only the code flow exists."""
        return response_type == "code" and CODE_GRANT in self.grants

    def check_grant_type(self, grant_type: str) -> bool:
        """Whether the client may use this grant."""
        return grant_type in self.grants


def _is_loopback_literal(host: str) -> bool:
    """RFC 8252 section 8.3: literals only, because a name may resolve elsewhere."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def clients(
    agent: ECKey, console_redirect_uris: tuple[str, ...], signed_out_uris: tuple[str, ...] = ()
) -> dict[str, Client]:
    """The clients of a fresh provider: command line, console, and the first agent with its public key."""
    people = frozenset({CODE_GRANT, DEVICE_GRANT, PERSONA_GRANT})
    return {
        client.client_id: client
        for client in (
            Client("wicketgate-cli", "none", people, loopback_path="/callback"),
            Client(
                "wicketgate-console",
                "none",
                frozenset({CODE_GRANT}),
                redirect_uris=console_redirect_uris,
                signed_out_uris=signed_out_uris,
            ),
            agent_client("agent-1", agent),
        )
    }


def agent_client(client_id: str, key: ECKey, groups: tuple[str, ...] = ("agent",), tenant: str = "default") -> Client:
    """An agent: it authenticates with its own key and may act for itself or, by exchange, for a person."""
    public = ECKey.import_key(key.as_dict(private=False))
    grants = frozenset({CLIENT_GRANT, EXCHANGE_GRANT})
    return Client(client_id, "private_key_jwt", grants, public, groups=groups, tenant=tenant, scopes=(SCOPE,))
