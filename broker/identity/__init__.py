"""Who asks: access tokens to principals, by issuer profile; and the development identity provider."""

from broker.identity.certificates import Certificate, Certificates, Sender
from broker.identity.dpop import ALGORITHMS as PROOF_ALGORITHMS
from broker.identity.keyset import Fetch, KeySetTimes
from broker.identity.login import Client, Ended, Post, SignedIn, SignIn
from broker.identity.profiles import IssuerProfile, SenderConstraint, issuer_profile
from broker.identity.verifier import Credential, Verifier

__all__ = [
    "PROOF_ALGORITHMS",
    "Certificate",
    "Certificates",
    "Client",
    "Credential",
    "Ended",
    "Fetch",
    "IssuerProfile",
    "KeySetTimes",
    "Post",
    "Sender",
    "SenderConstraint",
    "SignIn",
    "SignedIn",
    "Verifier",
    "issuer_profile",
]
