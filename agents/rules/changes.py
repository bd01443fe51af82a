"""Changes shortly before the trouble: commits, deploys, reconfigurations, as any tool lists them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agents.rules.finding import claim
from agents.rules.reading import DEPTH_MAX, excerpt, seconds, target, workload
from agents.rules.signs import CAUSE, Sign
from agents.rules.view import Seen

Json = Any
BEFORE_SECONDS = 3600
"""A change explains what begins at most this long after it."""
NEAR_SECONDS = 900
SLACK_SECONDS = 60
"""Clocks of two systems, and a metric's step, may differ by this much."""
_IDS = ("commit", "sha", "revision", "version", "deploy", "id", "change")
_WORDS = ("subject", "message", "title", "summary", "what", "description", "kind", "text")
_CONFIG = re.compile(r"\.(?:toml|ya?ml|json|ini|conf|cfg|env|properties)$|(?:^|/)config", re.IGNORECASE)
_DOCUMENT = re.compile(r"\.(?:md|rst|txt)$|(?:^|/)docs?/|^readme", re.IGNORECASE)
_CHANGED = re.compile(
    r"\b(?:deploy(?:ed|ment)?|releas\w+|roll(?:ed )?out|upgrad\w+|migrat\w+|reconfigur\w+|changed|updated|modified|"
    r"parameter group|feature flag|config\w*)\b",
    re.IGNORECASE,
)
_WRITTEN = re.compile(r"\bconfig|\bsetting|\bflag\b|\bvariable\b|\blimit\b|\bpool|\btimeout", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Change:
    """One change: what it is called, when it was made, what it says, the paths that it touched."""

    id: str
    at: int
    text: str
    paths: tuple[str, ...]
    component: str
    selector: str
    """Gives the entry."""
    member: str
    """Where ``at`` stands in it."""
    words: str
    """Where ``text`` stands in it, or an empty text."""
    named: str = ""
    """Where ``id`` stands in it, or an empty text."""

    @property
    def fault(self) -> str:
        """A changed configuration or a new version, by what was touched, or else by what is said."""
        if self.paths:
            return "bad-config" if all(_CONFIG.search(path) for path in self.paths) else "bad-deploy"
        return "bad-config" if _WRITTEN.search(self.text) else "bad-deploy"

    def touches(self, component: str) -> bool:
        """True where the change names the component, in its own field, a path or its text."""
        if self.component:
            return self.component == component
        stem = re.compile(rf"(?<![A-Za-z0-9]){re.escape(component)}(?![A-Za-z0-9])", re.IGNORECASE)
        return any(stem.search(path) for path in self.paths) or (not self.paths and bool(stem.search(self.text)))


def read(seen: Seen) -> list[Change]:
    """The changes in an answer, oldest first; documents do not break anything."""
    found = [one for one in _walk(seen.value, "$", DEPTH_MAX) if not one.paths or not _documents(one.paths)]
    own = target(seen.query)
    if own and seen.query.type not in {"repository", "replay", "git"}:
        found = [one if one.component or one.paths else _of(one, own) for one in found]
    return sorted(found, key=lambda one: (one.at, one.id))


def _of(change: Change, component: str) -> Change:
    return replace(change, component=component)


def _documents(paths: Sequence[str]) -> bool:
    return all(_DOCUMENT.search(path) for path in paths)


def _walk(value: Json, path: str, depth: int) -> Iterator[Change]:
    if depth == 0:
        return
    if isinstance(value, Mapping):
        for name, item in value.items():
            if isinstance(item, (Mapping, list)) and "'" not in name:
                yield from _walk(item, f"{path}['{name}']", depth - 1)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            made = _change(item, f"{path}[{place}]") if isinstance(item, Mapping) else None
            if made is not None:
                yield made
            elif isinstance(item, (Mapping, list)):
                yield from _walk(item, f"{path}[{place}]", depth - 1)


def _change(entry: Mapping[str, Json], selector: str) -> Change | None:
    """An entry that is a change: it has an instant, and an id or a text that tells what was done."""
    member = next((name for name in ("at", "time", "timestamp", "date", "deployed_at", "when") if name in entry), "")
    at = seconds(entry[member]) if member else None
    words = next((name for name in _WORDS if isinstance(entry.get(name), str)), "")
    named = next((name for name in _IDS if isinstance(entry.get(name), (str, int))), "")
    if at is None or not _is_change(entry, str(entry.get(words, ""))):
        return None
    touched = next((entry[name] for name in ("paths", "files") if isinstance(entry.get(name), list)), ())
    owner = next((entry[name] for name in ("component", "service", "resource") if isinstance(entry.get(name), str)), "")
    return Change(
        id=str(entry.get(named, "")),
        at=at,
        text=str(entry.get(words, "")),
        paths=tuple(path for path in touched if isinstance(path, str)),
        component=workload(owner) if owner else "",
        selector=selector,
        member=member,
        words=words,
        named=named,
    )


def _is_change(entry: Mapping[str, Json], text: str) -> bool:
    """Something was changed by somebody: a commit, a version, touched files, or words that say so."""
    made = {"commit", "sha", "revision", "version", "paths", "files", "diff", "deployed_at", "author"} & set(entry)
    return bool(made) or _CHANGED.search(text) is not None


def sign(seen: Seen, change: Change, component: str, onset: int | None) -> Sign | None:
    """The change as a sign at ``component``; None where it does not touch it, or comes after the trouble or long before."""
    if not change.touches(component):
        return None
    if onset is not None and not -SLACK_SECONDS <= onset - change.at <= BEFORE_SECONDS:
        return None
    near = onset is not None and onset - change.at <= NEAR_SECONDS
    said = change.text or change.id
    place, op, value = _cited(change)
    made = claim(
        seen.observation,
        f"{change.selector}.{place}",
        op,
        value,
        text=f"changed shortly before: {said}"[:300],
        component=component,
        at=f"{change.selector}.{change.member}",
    )
    return Sign(
        component,
        change.fault,
        CAUSE,
        800 if near else 500,
        seen.query.signal or "change",
        seen.query.source or f"{seen.query.type}/{seen.query.id}",
        seen.observation,
        change.at,
        made,
        said,
        kind="change",
    )


def _cited(change: Change) -> tuple[str, str, str | None]:
    """Member, operator and value of the claim: a commit by its id, from which a remedy takes it; else what is said of it."""
    if change.named == "commit":
        return change.named, "eq", change.id
    if change.words:
        return change.words, "contains", excerpt(change.text.splitlines()[0]) if change.text else None
    return change.member, "exists", None
