"""What people sign with (see README.md)."""

from broker.authenticators.ceremonies import UNSIGNED, Signed, Site
from broker.authenticators.desk import CEREMONY_SECONDS, Authenticators
from broker.store.authenticators import Authenticator

__all__ = ["CEREMONY_SECONDS", "UNSIGNED", "Authenticator", "Authenticators", "Signed", "Site"]
