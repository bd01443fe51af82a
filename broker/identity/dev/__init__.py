"""The development identity provider: real tokens on a laptop, on loopback and with ``--dev`` only."""

from broker.identity.dev.people import PERSONAS, Persona
from broker.identity.dev.provider import DevProvider, new_code
from broker.identity.dev.signing import agent_key, client_assertion

__all__ = ["PERSONAS", "DevProvider", "Persona", "agent_key", "client_assertion", "new_code"]
