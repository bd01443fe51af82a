"""Policies: revisions, what one says and proves, what it changes of another, and putting one into force with a second person."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from broker.errors import BadRequest
from broker.web.console import words
from broker.web.console.desk import Desk, Told
from broker.web.console.pages.difference import pretty
from broker.web.console.pages.rego_lines import Line, lines_of

PAGE = "/console/policies"
READ, TEST, WAITING = "gate.policy.read", "gate.policy.test", "gate.approvals.read"
CHANGES = {"activate": "gate.policy.activate", "rollback": "gate.policy.rollback"}
REASON_CHARACTERS = 4_096
_MARKS = {"+": "new", "-": "gone"}


@dataclass(frozen=True, slots=True)
class Revision:
    """One kept bundle as a line of the list; ``at`` is when it last came into force, 0 for never."""

    digest: str
    revision: str
    signer: str
    state: str
    look: str
    kind: str
    by: str
    at: int
    gate: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A change that waits for a second person."""

    path: str
    action: str
    requester: str
    reason: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class PoliciesView:
    """What the list shows."""

    active: Mapping[str, Any] | None
    engine: str
    problem: str
    revisions: list[Revision]
    history: list[Mapping[str, Any]]
    waiting: list[Waiting]
    waiting_off: str
    receipt: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RevisionView:
    """What a revision's page shows; ``off`` says why this person cannot ask for ``change``, or is empty."""

    value: Mapping[str, Any]
    path: str
    manifest: str
    change: str
    off: str
    others: list[tuple[str, str]]
    receipt: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SourceView:
    """One file, in lines of pieces."""

    value: Mapping[str, Any]
    path: str
    lines: list[Line]
    receipt: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CaseFile:
    """The cases of one file; those that did not pass come first."""

    file: str
    totals: str
    look: str
    cases: list[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ResultsView:
    """What came of the tests."""

    value: Mapping[str, Any]
    path: str
    kinds: list[tuple[str, str, str, list[CaseFile]]]
    """Heading, words for none, totals, files."""
    progress: str
    ask: str
    approve: str
    locked_out: bool
    receipt: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FileLines:
    """One file's difference; each line with its kind (``new``, ``gone``, ``same``)."""

    path: str
    kind: str
    lines: list[tuple[str, str]]
    more: int


@dataclass(frozen=True, slots=True)
class DifferenceView:
    """What one revision changes of another."""

    value: Mapping[str, Any]
    path: str
    files: list[FileLines]
    receipt: Mapping[str, Any]


class PolicyPages:
    """``/console/policies`` and below."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def console_policies(self, request: Request) -> Response:
        """GET /console/policies."""
        off = self._desk.may((await self._desk.visit(request)).principal, WAITING)
        asked = [READ] if off else [READ, WAITING]
        # At once, so that the records of both are made durable together.
        told, *waits = await asyncio.gather(*(self._desk.ask(request, one) for one in asked))
        value = told.value
        view = PoliciesView(
            active=value["active"],
            engine=value["engine"],
            problem=value["problem"],
            revisions=_revisions(value),
            history=list(reversed(value["history"]))[:50],
            waiting=[
                _waiting(one)
                for found in waits
                for one in found.value["approvals"]
                if one["action"] in CHANGES.values()
            ],
            waiting_off=off,
            receipt=told.receipt,
        )
        return await self._desk.render(request, "policies.html", view, title=words.policies.title)

    async def console_policy(self, request: Request) -> Response:
        """GET /console/policies/{digest}."""
        told = await self._ask(request, "revision")
        listed = await self._desk.ask(request, READ)
        value = told.value
        change = "rollback" if value["history"] else "activate"
        others = [(one["digest"], one["revision"]) for one in listed.value["kept"] if one["digest"] != value["digest"]]
        view = RevisionView(
            value=value,
            path=f"{PAGE}/{value['digest']}",
            manifest=pretty(value["manifest"]),
            change=change,
            off=await self._why_not(request, value, change),
            others=others,
            receipt=told.receipt,
        )
        title = words.policies.one.format(revision=value["revision"])
        return await self._desk.render(request, "policy.html", view, title=title)

    async def console_policy_change(self, request: Request) -> Response:
        """POST /console/policies/{digest}: ask to put it into force; done, or waiting for a second person."""
        form = await self._desk.form(request)
        action, reason = CHANGES.get(form.get("change", "")), form.get("reason", "").strip()
        if action is None:
            raise BadRequest(words.policies.unknown_change, code="request.parameter")
        if not reason or len(reason) > REASON_CHARACTERS:
            raise BadRequest(words.policies.no_reason, code="request.parameter", remedy=words.policies.no_reason_remedy)
        said = {"digest": request.path_params["digest"]}
        told = await self._desk.ask(request, action, said, reason=reason, key=form.get("key", ""))
        return self._desk.see_other(PAGE, told=words.policies.done if told.status == "done" else words.policies.asked)

    async def console_policy_source(self, request: Request) -> Response:
        """GET /console/policies/{digest}/source?path=…."""
        told = await self._ask(request, "file", path=request.query_params.get("path", ""))
        value = told.value
        lines = lines_of(value["text"], rego=value["path"].endswith(".rego"))
        view = SourceView(value, f"{PAGE}/{value['digest']}", lines, told.receipt)
        title = words.policies.source.format(path=value["path"], revision=value["revision"])
        return await self._desk.render(request, "policy_source.html", view, title=title)

    async def console_policy_results(self, request: Request) -> Response:
        """GET /console/policies/{digest}/results: runs them, or shows how they ended before."""
        told = await self._desk.ask(request, TEST, {"digest": request.path_params["digest"]})
        value, say = told.value, words.policies
        ask, wanted, approve = _way_back(value["answers"])
        view = ResultsView(
            value=value,
            path=f"{PAGE}/{value['digest']}",
            kinds=[
                (say.goldens, say.nobody, *_files(value["cases"], "golden")),
                (say.unit_tests, say.unit_tests_none, *_files(value["cases"], "test")),
            ],
            progress=say.results_under_way.format(seen=_reached(value["cases"]), all=len(value["cases"])),
            ask=", ".join(ask) or say.nobody,
            approve=", ".join(approve) or (say.nobody if wanted else say.nobody_must),
            locked_out=bool(value["answers"]) and not (ask and (approve or not wanted)),
            receipt=told.receipt,
        )
        title = say.results_title.format(revision=value["revision"])
        return await self._desk.render(request, "policy_results.html", view, title=title)

    async def console_policy_difference(self, request: Request) -> Response:
        """GET /console/policies/{digest}/difference?older=…: without one, what is in force."""
        told = await self._ask(request, "difference", older=request.query_params.get("older", ""))
        value = told.value
        files = [FileLines(one["path"], one["kind"], _marked(one["lines"]), one["more"]) for one in value["files"]]
        view = DifferenceView(value, f"{PAGE}/{value['newer']['digest']}", files, told.receipt)
        title = words.policies.difference.format(older=value["older"]["revision"], newer=value["newer"]["revision"])
        return await self._desk.render(request, "policy_difference.html", view, title=title)

    async def _ask(self, request: Request, what: str, **more: str) -> Told:
        return await self._desk.ask(request, READ, {"what": what, "digest": request.path_params["digest"], **more})

    async def _why_not(self, request: Request, value: Mapping[str, Any], change: str) -> str:
        """Why this person cannot ask to put it into force; the act says the same."""
        say, principal = words.policies, (await self._desk.visit(request)).principal
        if value["active"] == value["digest"]:
            return say.is_active
        if value["too_old"]:
            return say.too_old.format(newest=value["newest"])
        return self._desk.may(principal, CHANGES[change])


def _revisions(value: Mapping[str, Any]) -> list[Revision]:
    """Kept bundles, what is not in force yet first, then as they last came into force."""
    last = {one["digest"]: one for one in value["history"]}
    active = value["active"]["digest"] if value["active"] else ""
    before = next((one["digest"] for one in reversed(value["history"]) if one["digest"] != active), "")
    found = []
    for one in value["kept"]:
        digest, seen = one["digest"], last.get(one["digest"])
        state, look = _state(digest, active, before, seen is not None)
        found.append(
            Revision(
                digest=digest,
                revision=one["revision"],
                signer=one["signer"],
                state=state,
                look=look,
                kind=words.policies.kinds.get(seen["kind"], seen["kind"]) if seen else "",
                by=seen["by"] if seen else "",
                at=seen["at"] if seen else 0,
                gate=words.policies.gate_passed if seen else words.policies.gate_unknown,
            )
        )
    order = {one["digest"]: one["seq"] for one in value["history"]}
    return sorted(found, key=lambda one: (one.digest in order, -order.get(one.digest, 0), one.digest))


def _state(digest: str, active: str, before: str, seen: bool) -> tuple[str, str]:
    say = words.policies
    if digest == active:
        return say.active, "good"
    if not seen:
        return say.staged, "warn"
    return (say.last_good if digest == before else say.formerly), "plain"


def _waiting(one: Mapping[str, Any]) -> Waiting:
    return Waiting(f"/console/inbox/{one['id']}", one["action"], one["requester"], one["reason"], one["expires_at"])


def _way_back(answers: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], set[str], list[str]]:
    """Roles that may ask to go back, those of whom one must approve it, and those of the latter that may review."""
    permitted = {name: one for name, one in answers.items() if one["effect"] == "permit"}
    ask = {name.removeprefix("ask:"): one["roles"] for name, one in permitted.items() if name.startswith("ask:")}
    wanted = {role for roles in ask.values() for role in roles}
    return sorted(ask), wanted, sorted(role for role in wanted if f"approve:{role}" in permitted)


def _files(cases: Sequence[Mapping[str, Any]], kind: str) -> tuple[str, list[CaseFile]]:
    """Totals of one kind, and its cases by file."""
    mine = sorted((one for one in cases if one["kind"] == kind), key=lambda one: one["file"])
    files = []
    for file, group in groupby(mine, key=lambda one: one["file"]):
        whole = list(group)
        well = all(one["ended"] == "passed" for one in whole)
        shown = sorted(whole, key=lambda one: (one["ended"] == "passed", one["line"], one["name"]))
        files.append(CaseFile(file, _totals(whole), "good" if well else "bad", shown))
    return _totals(mine), sorted(files, key=lambda one: (one.look == "good", one.file))


def _reached(cases: Sequence[Mapping[str, Any]]) -> int:
    return sum(one["ended"] != "not_run" for one in cases)


def _totals(cases: Sequence[Mapping[str, Any]]) -> str:
    counts = Counter(one["ended"] for one in cases)
    return words.policies.totals.format(**{name: counts[name] for name in ("passed", "failed", "not_run")})


def _marked(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Lines of a unified difference by kind; headers of hunks stay as they are."""
    return [(_MARKS.get(line[:1], "same"), line[1:] if line[:1] in _MARKS else line) for line in lines]


def source_path(digest: str, file: str, line: int = 0) -> str:
    """The address of one line of one file."""
    return f"{PAGE}/{digest}/source?{urlencode({'path': file})}" + (f"#L{line}" if line else "")
