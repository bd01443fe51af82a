"""Fresh databases of both kinds, and the people and requests that the state rooms' tests speak about."""

import hashlib
import itertools
import uuid
from pathlib import Path
from typing import Any

import orjson

from broker.model import (
    ActionRequest,
    Constrain,
    Decision,
    Obligation,
    Party,
    PartyKind,
    Plan,
    Principal,
    RequireApproval,
    Resource,
)
from broker.store import Store, Timeouts
from tests.parts import fresh_database

KINDS = ("sqlite", "postgresql")
FAR = 4_000_000_000
PATIENT = Timeouts(lock_ms=60_000, statement_ms=60_000, connect_s=60)
"""For stores that race for one database: whoever holds it may wait for a slow disk meanwhile."""
_numbers = itertools.count()


def fresh_url(kind: str, folder: Path) -> str:
    """URL of a new, empty database; PostgreSQL skips where it is not installed."""
    if kind == "sqlite":
        return f"sqlite:///{folder}/gate-{next(_numbers)}.db"
    return fresh_database().replace("postgresql://", "postgresql+psycopg://", 1)


def open_store(kind: str, folder: Path, **options: Any) -> Store:
    """A migrated store on a fresh database; patient, unless ``options`` hurry it from then on."""
    url = fresh_url(kind, folder)
    patient = Store(url, timeouts=PATIENT)
    patient.migrate()
    patient.close()
    return Store(url, **{"timeouts": PATIENT, **options})


def fresh_tenant() -> str:
    """A tenant that no other test has."""
    return f"tenant-{uuid.uuid4().hex[:12]}"


def human(name: str, *roles: str, tenant: str = "default", expires_at: int = FAR) -> Principal:
    """A person by their own sign-in."""
    return Principal(tenant, Party(f"dev:{name}", PartyKind.HUMAN, frozenset(roles)), "dev", expires_at, acr="fresh")


def agent(name: str, tenant: str = "default", *, behalf: Principal | None = None) -> Principal:
    """An agent, under its own identity or on behalf of a person."""
    party = Party(f"dev:{name}", PartyKind.AGENT, frozenset({"agent"}))
    if behalf is None:
        return Principal(tenant, party, "dev", FAR, client=name)
    return Principal(tenant, behalf.subject, "dev", FAR, actor=party, client=name, scopes=frozenset({"act"}))


def digest_of(arguments: Any, action_id: str = "") -> str:
    """Digest over arguments, as the catalog's over a whole request."""
    return hashlib.sha256(orjson.dumps([action_id, dict(arguments)], option=orjson.OPT_SORT_KEYS)).hexdigest()


def request_of(tenant: str, *, action_id: str = "", session: str = "ses_x", **arguments: Any) -> ActionRequest:
    """A request for one restart."""
    known = action_id or f"act_{uuid.uuid4().hex[:26]}"
    resource = Resource("process", "checkout", "prod", "eu-west-1", {"team": "shop"})
    return ActionRequest(
        known, tenant, session, "local.process.restart", resource, arguments, "it hangs", digest_of(arguments, known)
    )


def decision_of(*obligations: Obligation, revision: str = "r1") -> Decision:
    """A permit of tier 2."""
    digest = hashlib.sha256(revision.encode()).hexdigest()
    return Decision("dec_1", "permit", 2, (), (), obligations, {}, revision, digest, "opa", "0" * 64)


def duty_of(**changes: Any) -> RequireApproval:
    """One on-call person within a quarter of an hour."""
    values: dict[str, Any] = {"quorum": 1, "roles": ("oncall",), "expires_s": 900, "separation": "actor"}
    return RequireApproval(**{**values, **changes})


PLAN = Plan("restart checkout", "f" * 64, before={"pid": 1}, after={"pid": 2}, affected=("checkout",))
SHRINK = Constrain({"amount": {"max": 100}, "targets": {"one_of": ["a", "b", "c"]}})
