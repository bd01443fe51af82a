"""What a bundle proves of itself, for people: its load gate, its golden decisions and its own unit tests, really run.

Everything runs on the embedded engine in workers of its own, so that a candidate cannot disturb decisions; each question
has the bounds of a decision, the whole has a bound by the clock, and what was not reached says so.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass
from enum import StrEnum

import orjson

from broker.errors import BadRequest, PolicyUnavailable
from broker.model import Json
from broker.policy import rego
from broker.policy.bundle import Bundle
from broker.policy.content import Content
from broker.policy.engine import EngineInfo, PolicyEngine
from broker.policy.gate import golden_fault, schema_findings
from broker.policy.golden import Golden, read_goldens
from broker.policy.input import prepare
from broker.policy.lint import lint_content
from broker.policy.regorus import ENGINE_NAME, ENGINE_VERSION, Bounds, Program, RegorusEngine, RegorusHost, syntax_trees
from broker.policy.schema import compile_schema

_TEST = "test_"


class Ended(StrEnum):
    """How one case ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True)
class Case:
    """One golden decision (``file`` is the golden's, ``line`` 0) or one unit test."""

    kind: str
    file: str
    line: int
    name: str
    ended: Ended
    detail: str = ""


class Stands(StrEnum):
    """How far a trial came."""

    UNDER_WAY = "under_way"
    """What was not reached yet may be later."""
    COMPLETE = "complete"
    """Everything was reached."""
    REFUSED = "refused"
    """The engine does not take the bundle, now or later: nothing was run."""
    BROKEN = "broken"
    """The gate's engine failed."""
    TIME = "time"
    """Its time was over before everything was reached."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it. ``findings`` are the load gate's, empty where it takes the bundle; ``answers`` are to the asks.

    An answer: ``{"effect": permit, deny or the code of what failed, "roles": who must approve, where somebody must}``.
    """

    digest: str
    revision: str
    engine: str
    findings: tuple[str, ...]
    cases: tuple[Case, ...]
    answers: Mapping[str, Mapping[str, Json]]
    stands: Stands


class Trying:
    """A trial that runs on by itself, whoever looks at it or goes."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        seconds: float,
        asks: Mapping[str, Mapping[str, Json]],
        crashed: Callable[[BaseException], None],
        places: AbstractAsyncContextManager[object] | None = None,
    ) -> None:
        """Begin; in at most ``seconds`` from when it has one of ``places``. ``asks`` are inputs that the bundle answers.

        ``crashed`` is told what broke it while nobody looked.
        """
        self._bundle = bundle
        self._crashed = crashed
        self._looking = 0
        self._found = _Found(bundle.content)
        self._task = asyncio.create_task(self._run(seconds, asks, places or nullcontext()))
        self._task.add_done_callback(self._unseen)

    async def seen(self, seconds: float) -> Trial:
        """What is known when it has ended, or after ``seconds``; raises what broke it."""
        self._looking += 1
        try:
            await asyncio.wait((self._task,), timeout=seconds)
        finally:
            self._looking -= 1
        if self._task.done() and not self._task.cancelled():
            self._task.result()
        found = self._found
        return Trial(
            digest=self._bundle.digest,
            revision=self._bundle.revision,
            engine=f"{ENGINE_NAME} {ENGINE_VERSION}",
            findings=tuple(found.findings),
            cases=tuple(found.cases.values()),
            answers=dict(found.answers),
            stands=self._stands(),
        )

    @property
    def fell_short(self) -> bool:
        """Whether it ended with more to learn: another one may come further."""
        return self._stands() in {Stands.BROKEN, Stands.TIME, Stands.STOPPED}

    async def aclose(self) -> None:
        """Stop it; its workers end."""
        self._task.cancel()
        await asyncio.wait((self._task,))

    def _stands(self) -> Stands:
        if not self._task.done():
            return Stands.UNDER_WAY
        if self._task.cancelled():
            return Stands.STOPPED
        return Stands.BROKEN if self._task.exception() else self._found.ended

    def _unseen(self, task: asyncio.Task[None]) -> None:
        if not self._looking and not task.cancelled() and (error := task.exception()) is not None:
            self._crashed(error)

    async def _run(
        self, seconds: float, asks: Mapping[str, Mapping[str, Json]], places: AbstractAsyncContextManager[object]
    ) -> None:
        async with places:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._found.run(self._bundle, asks)


class _Found:
    """What is known so far; every case stands there as not run until it was."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self.findings: list[str] = []
        self.cases: dict[tuple[str, str, str], Case] = {}
        self.answers: dict[str, Mapping[str, Json]] = {}
        self.ended = Stands.TIME
        """What it comes to when it ends here."""

    async def run(self, bundle: Bundle, asks: Mapping[str, Mapping[str, Json]]) -> None:
        """The load gate, goldens and asks on one engine, unit tests on another that has them too."""
        content = self._content
        goldens = self._listed()
        try:
            self.findings += [*schema_findings(content), *(str(one) for one in await lint_content(content))]
            check = compile_schema(content.schema("input.v1"))
            engine = await RegorusHost().start(bundle)
        except (BadRequest, PolicyUnavailable) as error:
            self.findings.append(error.detail)
            self.ended = Stands.REFUSED if isinstance(error, BadRequest) else Stands.BROKEN
            return
        try:
            for golden in goldens:
                file, _, name = golden.where.partition(": ")
                self._ended("golden", file, 0, name, await golden_fault(golden, check, engine))
            for name, value in asks.items():
                self.answers[name] = await _answer(engine, value, content)
        finally:
            await engine.aclose()
        await self._unit_tests(bundle)
        self.ended = Stands.COMPLETE

    def _listed(self) -> list[Golden]:
        """The goldens, each on the list before anything runs."""
        try:
            goldens = read_goldens(self._content.goldens)
        except BadRequest as error:
            self.findings.append(error.detail)
            return []
        for golden in goldens:
            file, _, name = golden.where.partition(": ")
            self.cases["golden", file, name] = Case("golden", file, 0, name, Ended.NOT_RUN)
        return goldens

    async def _unit_tests(self, bundle: Bundle) -> None:
        """Each rule ``test_…`` of the tests; true is a pass, anything else is not."""
        content = self._content
        found = await _tests(content)
        for file, line, rule, fault in found:
            if fault:
                self._ended("test", file, line, rule, fault)
            else:
                self.cases["test", file, rule] = Case("test", file, line, rule, Ended.NOT_RUN)
        program = Program({**content.modules, **content.tests}, content.data)
        info = EngineInfo(ENGINE_NAME, ENGINE_VERSION, bundle.revision, bundle.digest)
        try:
            engine = await RegorusEngine.start(program, info, Bounds(workers=1))
        except (BadRequest, PolicyUnavailable) as error:
            for file, line, rule, _ in found:
                self._ended("test", file, line, rule, error.detail)
            return
        try:
            for file, line, rule, fault in found:
                if not fault:
                    self._ended("test", file, line, rule, await _test_fault(engine, rule))
        finally:
            await engine.aclose()

    def _ended(self, kind: str, file: str, line: int, name: str, fault: str) -> None:
        ended = Ended.FAILED if fault else Ended.PASSED
        self.cases[kind, file, name] = Case(kind, file, line, name, ended, fault)


async def _answer(engine: PolicyEngine, value: Mapping[str, Json], content: Content) -> dict[str, Json]:
    """Effect and approvers of one decision, or the code of what kept the engine from answering."""
    try:
        answer = await engine.decide(prepare(value, compile_schema(content.schema("input.v1"))).json)
    except PolicyUnavailable as error:
        return {"effect": error.error_code, "roles": []}
    raw = orjson.loads(answer.value)
    return {"effect": raw.get("effect"), "roles": raw.get("obligations", {}).get("approval", {}).get("roles", [])}


async def _test_fault(engine: RegorusEngine, rule: str) -> str:
    """What is wrong with one unit test; empty when it holds."""
    try:
        values = orjson.loads(await engine.trace(orjson.dumps({"input": "{}", "rules": [rule]})))
    except PolicyUnavailable as error:
        return error.error_code
    return "" if values.get(rule) is True else "it does not hold"


async def _tests(content: Content) -> list[tuple[str, int, str, str]]:
    """``(file, line, rule, fault)`` of every rule that is a test; a file that does not parse is one fault."""
    modules = list(content.tests.items())
    found: dict[str, tuple[str, int, str, str]] = {}
    for (path, _), parsed in zip(modules, await syntax_trees(modules) if modules else [], strict=True):
        if "error" in parsed:
            found[path] = (path, 1, path, str(parsed["error"]).strip().splitlines()[0])
            continue
        tree = parsed["tree"]
        package = rego.path_of(tree["package"]["refr"])
        for rule in tree["rules"]:
            _, reference, _ = rego.rule_head(rule)
            name = str(rego.path_of(reference)[0])
            if name.startswith(_TEST):
                whole = ".".join(["data", *map(str, package), name])
                found.setdefault(whole, (path, rego.line_of(reference), whole, ""))
    return list(found.values())
