"""Credential to Principal: step (1) of every action.

(1) the credential's form  (2) cache, by hash  (3) profile by the unverified ``iss``  (4) key by ``kid`` and signature
(5) claims  (6) the sender's proof, at every request.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from broker.clock import Clock, seconds
from broker.errors import Unauthenticated
from broker.identity.cache import CACHE_SECONDS_MAX, TokenCache, Verified
from broker.identity.certificates import Certificate, Certificates
from broker.identity.claims import principal
from broker.identity.dpop import Expected, ProofChecker, Uses, unproven
from broker.identity.jose import bad_signature, malformed, read_json_object, take_apart, verify
from broker.identity.keyset import Fetch, IssuerKeys, KeySetTimes
from broker.identity.profiles import IssuerProfile, SenderConstraint, trust_domain_of
from broker.model import Json, PartyKind, Principal

ADMINISTRATOR = "security"
_CREDENTIAL = re.compile(r"(?i:(bearer|dpop)) ([A-Za-z0-9_.~+/=-]+)\Z")


@dataclass(frozen=True, slots=True)
class Credential:
    """What one request shows. ``url`` is the gate's public address of it, never built from the Host header."""

    authorization: str = ""
    """The value of ``Authorization``; an ``x-api-key`` is given as ``Bearer <key>``."""
    proof: str = ""
    """The value of ``DPoP``; two such headers are refused before they come here."""
    method: str = ""
    url: str = ""
    login: str = ""
    """A console cookie's value; the console's own routes alone read it, and then nothing else counts."""
    passive: bool = False
    """A page refreshes itself: the login is not used by a person."""
    proven: bool = False
    """The gate looked at the proof before, in this very request, whose second step this is."""
    certificate: Certificate | None = None
    """The client's, whose key it has proven to hold: from the gate's own TLS or its configured proxy."""

    def __repr__(self) -> str:
        return "Credential(…)"


Login = Callable[[str, bool], Awaitable[Principal]]
"""Who stands behind a console cookie's value; the flag is ``Credential.passive``. Raises ``Unauthenticated``."""


class Verifier:
    """Verifies access tokens of the configured issuers. One instance for each process; safe within one event loop."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        profiles: Iterable[IssuerProfile],
        fetch: Fetch,
        clock: Clock,
        *,
        times: KeySetTimes | None = None,
        administrators: Collection[str] = (),
        login: Login | None = None,
        certificates: Certificates | None = None,
        uses: Uses | None = None,
    ) -> None:
        """``administrators`` are people who hold the role ``security`` whatever their token says.

        ``login`` answers for the console's cookies, ``certificates`` for certificates without a token; without them
        none is believed. ``uses`` remembers proofs for all replicas; without it this process does alone.

        Raises ValueError when two profiles share a name or an issuer: ``iss`` must select exactly one.
        """
        listed = tuple(profiles)
        self._profiles = {profile.issuer: profile for profile in listed}
        self._keys = {profile.name: IssuerKeys(profile, fetch, clock, times) for profile in listed}
        if not len(listed) == len(self._profiles) == len(self._keys):
            raise ValueError("identity.issuers: each name and each issuer may be configured once")
        self._clock = clock
        self._administrators = frozenset(administrators)
        self._login = login
        self._certificates = certificates or Certificates()
        self._cache = TokenCache()
        self._proofs = ProofChecker(since_s=seconds(clock), uses=uses)

    @property
    def profiles(self) -> tuple[IssuerProfile, ...]:
        """The issuers that are believed."""
        return tuple(self._profiles.values())

    @property
    def ready(self) -> bool:
        """Whether the keys of every issuer are there."""
        return all(keys.ready for keys in self._keys.values())

    def key_sets(self) -> list[dict[str, Json]]:
        """Each issuer's key set: whether it is believed, its age and the limit in seconds (age -1: never fetched)."""
        return [
            {"name": name, "ready": keys.ready, "age_s": keys.age, "limit_s": keys.age_max}
            for name, keys in self._keys.items()
        ]

    async def refresh(self) -> None:
        """Fetch the key sets that are due: at start-up and from the background, every few minutes."""
        for keys in self._keys.values():
            await keys.refresh()

    async def authenticate(self, credential: Credential) -> Principal:
        """Who asks. Raises ``Unauthenticated`` (``identity.*``), or ``Unavailable`` when that cannot be found out."""
        if credential.login:
            return await self._signed_in(credential)
        if credential.certificate is not None and _alone(credential):
            return self._certificates.principal(credential.certificate, seconds(self._clock))
        scheme, token = _split(credential.authorization)
        known = await self._known(token)
        if (known.thumbprint or scheme != "bearer") and not credential.proven:
            await self._check_proof(known, scheme, token, credential)
        return known.principal

    async def recognise(self, credential: Credential) -> Principal:
        """Steps 1 to 5, before anything of a request is read, and while its answer goes on; raises as ``authenticate``.

        A sender's proof (6) counts once, so it stays for ``authenticate``.
        """
        if credential.login:
            return await self._signed_in(credential)
        if credential.certificate is not None and _alone(credential):
            return self._certificates.principal(credential.certificate, seconds(self._clock))
        return (await self._known(_split(credential.authorization)[1])).principal

    async def statement(self, issuer: str, token: str) -> tuple[Mapping[str, Json], Mapping[str, Json]]:
        """Header and claims of another JWT of the profile ``issuer`` (an ID token, a logout token), by its own keys.

        Only signature and ``iss`` are checked: what kind it is, for whom and for how long is the caller's to judge.
        """
        compact = take_apart(token)
        claims = read_json_object(compact.payload, "payload")
        profile = self._profile(claims)
        if profile.name != issuer or not compact.header.get("kid") or compact.algorithm not in profile.algorithms:
            raise bad_signature("issuer, key or algorithm is not the configured one")
        verify(compact, await self._keys[issuer].key(str(compact.header["kid"])), profile.algorithms)
        return compact.header, claims

    def profile(self, name: str) -> IssuerProfile | None:
        """The profile of this name."""
        return next((one for one in self._profiles.values() if one.name == name), None)

    async def _signed_in(self, credential: Credential) -> Principal:
        """The person behind a console cookie, as long as their issuer is believed."""
        if self._login is None or credential.authorization or credential.proof:
            raise malformed("a login comes alone, and to the console only")
        who = await self._login(credential.login, credential.passive)
        if who.issuer not in self._profiles:
            raise Unauthenticated("the sign-in's issuer is not believed any more", code="identity.unknown_issuer")
        return who

    async def _known(self, token: str) -> Verified:
        digest = hashlib.sha256(token.encode("ascii")).digest()
        known = self._cache.get(digest, self._clock)
        if known is None or known.generation != self._keys[known.profile].generation:
            known = await self._verify(token, digest)
            self._cache.put(digest, known)
        return known

    async def _verify(self, token: str, digest: bytes) -> Verified:
        self._cache.drop(digest)
        compact = take_apart(token)
        claims = read_json_object(compact.payload, "payload")
        profile = self._profile(claims)
        keys = self._keys[profile.name]
        kid = compact.header.get("kid")
        if not kid:
            raise malformed("its header has no `kid`")
        if compact.algorithm not in profile.algorithms:
            raise bad_signature("its algorithm is not one this issuer may use")
        verify(compact, await keys.key(str(kid)), profile.algorithms)
        who = self._administrator(principal(profile, compact.header, claims, seconds(self._clock), digest.hex()))
        now = self._clock.monotonic()
        bound = _binding(profile, claims.get("cnf"))
        return Verified(
            principal=replace(who, key=bound) if bound else who,
            profile=profile.name,
            generation=keys.generation,
            until=min(now + CACHE_SECONDS_MAX, keys.usable_until),
            expires_ns=who.expires_at * 1_000_000_000,
            thumbprint=bound,
        )

    def _administrator(self, who: Principal) -> Principal:
        """``who`` with the role that configuration gives a person; agents and workloads get none."""
        if who.subject.id not in self._administrators or who.subject.kind is not PartyKind.HUMAN:
            return who
        return replace(who, subject=replace(who.subject, roles=who.subject.roles | {ADMINISTRATOR}))

    def _profile(self, claims: Mapping[str, Json]) -> IssuerProfile:
        """The profile that the unverified ``iss`` selects, else the trust domain of a SPIFFE ID; it brings the keys."""
        issuer = claims.get("iss")
        profile = self._profiles.get(issuer) if isinstance(issuer, str) else None
        profile = profile or self._profiles.get(trust_domain_of(claims.get("sub")))
        if profile is None:
            raise Unauthenticated(
                "the token's issuer is not one this gate believes",
                code="identity.unknown_issuer",
                remedy="sign in with an identity provider that is configured under [[identity.issuers]]",
            )
        return profile

    async def _check_proof(self, known: Verified, scheme: str, token: str, credential: Credential) -> None:
        kind, _, thumbprint = known.thumbprint.partition(":")
        if kind == SenderConstraint.MTLS:
            shown = credential.certificate
            if scheme != "bearer" or shown is None or shown.thumbprint != thumbprint:
                raise unproven("the client certificate is another one")
            self._certificates.check_not_taken_back(shown, seconds(self._clock))
            return
        if kind != SenderConstraint.DPOP:
            raise malformed("the scheme DPoP is for tokens that are bound to a key")
        if scheme != "dpop" or not credential.proof:
            raise unproven("it takes the scheme DPoP and a proof")
        expectation = Expected(token, thumbprint, credential.method, credential.url)
        await self._proofs.check(credential.proof, expectation, seconds(self._clock), known.principal.tenant)


def _alone(credential: Credential) -> bool:
    """Whether the request shows no token."""
    return not credential.authorization and not credential.proof


def _split(authorization: str) -> tuple[str, str]:
    """Scheme in lower case, and the token."""
    if not authorization:
        raise Unauthenticated("the request carries no credential", code="identity.missing")
    match = _CREDENTIAL.match(authorization)
    if match is None:
        raise malformed("the credential is not `Bearer <token>`")
    return match.group(1).lower(), match.group(2)


def _binding(profile: IssuerProfile, cnf: Json) -> str:
    """``dpop:<thumbprint>``, ``mtls:<thumbprint>`` or empty; a binding that the profile does not prove is refused."""
    constraint = profile.sender_constraint
    if cnf is None:
        if constraint is SenderConstraint.NONE:
            return ""
        raise unproven("this issuer's tokens must be bound, and it is not")
    member = {SenderConstraint.DPOP: "jkt", SenderConstraint.MTLS: "x5t#S256"}.get(constraint)
    expected = cnf.get(member) if isinstance(cnf, dict) and member and len(cnf) == 1 else None
    if not isinstance(expected, str) or not expected:
        raise unproven("its binding is not one that this issuer's profile proves")
    return f"{constraint}:{expected}"
