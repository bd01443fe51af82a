"""Where pseudonyms and values meet: per session, sealed, and gone for good when the session's key is shredded.

Each session has a random 32-byte data key, wrapped by the key-encryption key of its region. Every row holds one
value under AES-256-GCM with the associated data ``tenant|session|entity|token``, so a row copied to another session,
token or entity does not open. Rows are written before the text that carries their tokens is released.
"""

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.errors import RedactionUnavailable
from broker.redaction.tokens import SessionKeys, entity_of

_NONCE = 12


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose pseudonyms: equal values get equal tokens within one scope and unrelated ones outside."""

    tenant: str
    session: str
    region: str = ""


@dataclass(frozen=True, slots=True)
class VaultRow:
    """One sealed value: nonce (12 bytes) and ciphertext with tag."""

    token: str
    entity: str
    sealed: bytes


class VaultRows(Protocol):
    """Storage of wrapped keys and rows. Errors are ``StoreUnavailable``; each method is one transaction."""

    async def session_key(self, tenant: str, session: str) -> bytes | None:
        """The session's wrapped data key, or None."""

    async def put_session_key(self, tenant: str, session: str, wrapped: bytes) -> bytes:
        """Store ``wrapped`` unless the session has a key; the key that is stored now."""

    async def load(self, tenant: str, session: str) -> Sequence[VaultRow]:
        """All rows of the session."""

    async def put(self, tenant: str, session: str, rows: Sequence[VaultRow]) -> None:
        """Add ``rows``, durable on return; a token that is there already keeps its row."""

    async def shred(self, tenant: str, session: str) -> None:
        """Delete the session's key and rows."""


class MemoryRows:
    """Rows in memory: for one process's own use (`wicketgate redact`) and tests."""

    def __init__(self) -> None:
        self.keys: dict[tuple[str, str], bytes] = {}
        self.rows: dict[tuple[str, str], dict[str, VaultRow]] = {}

    async def session_key(self, tenant: str, session: str) -> bytes | None:
        """The wrapped key, or None."""
        return self.keys.get((tenant, session))

    async def put_session_key(self, tenant: str, session: str, wrapped: bytes) -> bytes:
        """First writer wins."""
        return self.keys.setdefault((tenant, session), wrapped)

    async def load(self, tenant: str, session: str) -> Sequence[VaultRow]:
        """All rows."""
        return list(self.rows.get((tenant, session), {}).values())

    async def put(self, tenant: str, session: str, rows: Sequence[VaultRow]) -> None:
        """First row of a token wins."""
        held = self.rows.setdefault((tenant, session), {})
        for row in rows:
            held.setdefault(row.token, row)

    async def shred(self, tenant: str, session: str) -> None:
        """Forget key and rows."""
        self.keys.pop((tenant, session), None)
        self.rows.pop((tenant, session), None)


class OpenSession:
    """One unlocked session: its keys, and the values of the tokens known to be stored."""

    def __init__(self, scope: Scope, data_key: bytes) -> None:
        self.scope = scope
        self.keys = SessionKeys(data_key)
        self.values: dict[str, str] = {}
        """Token -> surface form, for every row known to be durable."""
        self._cipher = AESGCM(self.keys.seal)

    def seal(self, token: str, surface: str) -> VaultRow:
        """The row to store for ``token``."""
        nonce = os.urandom(_NONCE)
        entity = entity_of(token)
        sealed = self._cipher.encrypt(nonce, surface.encode("utf-8", "surrogatepass"), self._bound(entity, token))
        return VaultRow(token, entity, nonce + sealed)

    def learn(self, row: VaultRow) -> None:
        """Open ``row`` and remember its value; a row that does not open is an attack or damage, and stops all."""
        try:
            plain = self._cipher.decrypt(row.sealed[:_NONCE], row.sealed[_NONCE:], self._bound(row.entity, row.token))
        except InvalidTag as error:
            raise RedactionUnavailable(
                "a vault row does not open with its session's key", code="redaction.vault_corrupt"
            ) from error
        self.values[row.token] = plain.decode("utf-8", "surrogatepass")

    def _bound(self, entity: str, token: str) -> bytes:
        return f"{self.scope.tenant}|{self.scope.session}|{entity}|{token}".encode()


class Vault:
    """Opens sessions of the regions whose key-encryption keys it holds; keeps the most recent ones open."""

    def __init__(self, rows: VaultRows, keks: Mapping[str, bytes], *, kept_open: int = 256) -> None:
        """``keks``: region -> 32-byte key-encryption key."""
        self._rows = rows
        self._keks = {region: AESGCM(key) for region, key in keks.items()}
        self._open: OrderedDict[tuple[str, str], OpenSession] = OrderedDict()
        self._kept_open = kept_open

    async def open(self, scope: Scope) -> OpenSession:
        """The session's keys and known tokens; made on first use. Another region's session is refused."""
        held = self._open.get((scope.tenant, scope.session))
        if held is not None and held.scope.region == scope.region:
            self._open.move_to_end((scope.tenant, scope.session))
            return held
        kek = self._kek(scope.region)
        wrapped = await self._rows.session_key(scope.tenant, scope.session)
        if wrapped is None:
            nonce = os.urandom(_NONCE)
            fresh = nonce + kek.encrypt(nonce, AESGCM.generate_key(256), self._bound(scope))
            wrapped = await self._rows.put_session_key(scope.tenant, scope.session, fresh)
        session = OpenSession(scope, self._unwrapped(kek, wrapped, scope))
        await self._read(session)
        self._open[scope.tenant, scope.session] = session
        while len(self._open) > self._kept_open:
            self._open.popitem(last=False)
        return session

    async def refresh(self, session: OpenSession) -> bool:
        """Read what other replicas stored since; False when the session's key is gone (shredded)."""
        scope = session.scope
        if await self._rows.session_key(scope.tenant, scope.session) is None:
            self._open.pop((scope.tenant, scope.session), None)
            session.values.clear()
            return False
        await self._read(session)
        return True

    async def remember(self, session: OpenSession, minted: Mapping[str, str]) -> None:
        """Store new tokens (token -> surface form); they are durable when this returns."""
        if not minted:
            return
        rows = [session.seal(token, surface) for token, surface in sorted(minted.items())]
        await self._rows.put(session.scope.tenant, session.scope.session, rows)
        session.values.update(minted)

    async def forget(self, scope: Scope) -> None:
        """Shred: without the data key no row of the session opens again, here or in a backup."""
        self._open.pop((scope.tenant, scope.session), None)
        await self._rows.shred(scope.tenant, scope.session)

    async def _read(self, session: OpenSession) -> None:
        for row in await self._rows.load(session.scope.tenant, session.scope.session):
            if row.token not in session.values:
                session.learn(row)

    def _kek(self, region: str) -> AESGCM:
        found = self._keks.get(region)
        if found is None:
            raise RedactionUnavailable(
                f"this gate holds no vault key for region `{region or '(none)'}`",
                code="redaction.region",
                remedy="send the request to a gate of that region, or configure the region's vault key",
            )
        return found

    def _unwrapped(self, kek: AESGCM, wrapped: bytes, scope: Scope) -> bytes:
        try:
            return kek.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], self._bound(scope))
        except InvalidTag as error:
            raise RedactionUnavailable(
                "the session's data key does not open with this region's key",
                code="redaction.vault_key",
                remedy="check that the vault key configured for the region is the one the session was opened with",
            ) from error

    @staticmethod
    def _bound(scope: Scope) -> bytes:
        return f"{scope.tenant}|{scope.session}|{scope.region}".encode()
