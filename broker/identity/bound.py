"""Issuers of workloads: whom a token stands for is decided by claims that configuration names, letter by letter.

Such an issuer (a forge's builds, a cluster, a SPIFFE trust domain) signs tokens for everybody on it, so a valid signature
alone says nothing. A token is the one party whose bound claims it meets; one that meets none, or two, is refused.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from broker.errors import Unauthenticated
from broker.model import Json, PartyKind

VALUE_MAX = 512
_GLOB = re.compile(r"\*+")
_PLAIN = re.compile(r"[\x21-\x7e]+\Z")
_EVERYTHING = re.compile(r"[*/]*\Z")

Path = str
At = Callable[[Mapping[str, Json], Path], Json]


@dataclass(frozen=True, slots=True)
class Bound:
    """One workload. ``claims``: dotted path -> texts of which the claim must be one; ``*`` is a run without ``/``."""

    name: str
    claims: Mapping[Path, tuple[str, ...]]
    kind: PartyKind
    roles: frozenset[str]
    tenant: str


def bindings(
    issuer: str,
    tables: tuple[Mapping[str, Json], ...],
    least: tuple[tuple[Path, ...], ...],
    also: Mapping[Path, tuple[str, ...]],
) -> tuple[Bound, ...]:
    """The workloads of one issuer. ``least``: of each group one claim must be bound; ``also`` is bound unless named.

    Raises ValueError naming what is too loose to believe.
    """
    if not tables:
        raise ValueError(
            f"issuer {issuer}: its profile is of workloads, so [[identity.issuers.bound]] must say who comes"
        )
    names = [str(table["name"]) for table in tables]
    if len(set(names)) != len(names):
        raise ValueError(f"issuer {issuer}: each name under bound may be given once")
    made = []
    for table in tables:
        claims = {**also, **{path: tuple(texts) for path, texts in table["claims"].items()}}
        where = f"issuer {issuer}, bound `{table['name']}`"
        for group in least:
            if not any(path in claims for path in group):
                raise ValueError(f"{where}: claims must bind {' or '.join(f'`{path}`' for path in group)}")
        for path, texts in claims.items():
            for text in texts:
                if not _PLAIN.match(text) or len(text) > VALUE_MAX or _EVERYTHING.match(text):
                    raise ValueError(f"{where}: a text of `{path}` is empty, too long, or fits everything")
            if not texts:
                raise ValueError(f"{where}: `{path}` lists nothing that it may be")
        made.append(
            Bound(str(table["name"]), claims, PartyKind(table["kind"]), frozenset(table["roles"]), str(table["tenant"]))
        )
    return tuple(made)


def who(listed: tuple[Bound, ...], claims: Mapping[str, Json], at: At) -> Bound:
    """The one workload that ``claims`` are of; raises ``identity.unbound``."""
    found = [one for one in listed if all(_meets(at(claims, path), texts) for path, texts in one.claims.items())]
    if len(found) == 1:
        return found[0]
    raise Unauthenticated(
        "the token's claims fit no workload of this gate" if not found else "the token's claims fit two workloads",
        code="identity.unbound",
        remedy="compare the token's claims with [[identity.issuers.bound]]: exactly one entry must fit all of them",
    )


def _meets(value: Json, texts: tuple[str, ...]) -> bool:
    return isinstance(value, str) and any(_fits(value, text) for text in texts)


def _fits(value: str, text: str) -> bool:
    if "*" not in text:
        return value == text
    parts = [re.escape(part) for part in _GLOB.split(text)]
    return re.fullmatch("[^/]*".join(parts), value) is not None
