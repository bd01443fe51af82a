"""A first agent: finds the failing service of the shop, and proposes its restart.

Everything it does goes through the gate: reading metrics and logs, asking the model, restarting. On its way it runs
into each kind of limit, on purpose, so that a person can watch the gate say no: a query without bounds, a target that
is forbidden, a model in a region where the data may not go, the review of its own proposal, and a burst.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from wicketgate import Approval, ApprovalPending, Done, Gate, GateError, Governed, Intent, Resource, TokenSource

from agents import actions
from agents.events import Teller
from agents.model import MAX_TOKENS, Conversation, Model, Tool, Turn

Json = Any

SYSTEM = (
    "You are an on-call assistant. You see a production shop through a gate that hides personal data behind tokens. "
    "Find the service that fails by its own fault, look at its log, and propose the one action that heals it."
)
NOTABLE_RATE = 0.05
BURST_MAX = 480
BURST_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Task:
    """What the agent is sent to do. ``model`` is empty where it works by rule alone."""

    gate: str
    token: TokenSource
    services: Sequence[str]
    alert: str
    model: str = ""
    far_model: str = ""
    forbidden: str = "secrets"
    approval_seconds: float = 900.0


@dataclass(frozen=True, slots=True)
class Rate:
    """A service's requests since it started, and those that failed by its own fault."""

    service: str
    requests: float
    errors: float

    @property
    def share(self) -> float:
        """Failed by its own fault, 0..1."""
        return self.errors / self.requests if self.requests else 0.0

    def __str__(self) -> str:
        return f"service={self.service} requests={self.requests:.0f} own_errors={self.errors:.0f} own_error_rate={self.share:.4f}"


async def work(task: Task, teller: Teller) -> bool:
    """Do the task; True where a restart was carried out."""
    async with Gate(task.gate, task.token, observer=teller.told, patience=0) as gate:
        teller.step("open a session")
        async with gate.session([Intent(kind="alert", text=task.alert, source="demo")]) as session:
            teller.tell("note", text=f"session {session.id}")
            run = Run(task, teller, gate, session.id)
            rates = await run.read()
            await run.overreach()
            restarted = await (run.by_model(rates) if task.model else run.by_rule(rates))
            if restarted:
                await run.verify(restarted)
            await run.burst()
            return bool(restarted)


class Run:
    """The steps inside one session."""

    def __init__(self, task: Task, teller: Teller, gate: Gate, session: str) -> None:
        self.task = task
        self.teller = teller
        self.gate = gate
        self.session = session
        self.restarted = ""

    async def read(self) -> Sequence[Rate]:
        """Metrics and logs of all services."""
        self.teller.step("read metrics and logs")
        rates = [await _rate(service) for service in self.task.services]
        for service in self.task.services:
            await actions.search_logs(service)
        return rates

    async def overreach(self) -> None:
        """Ask for what is not allowed; each is refused, and the work goes on."""
        self.teller.step("ask for a week of logs, every line")
        await self._refused(lambda: actions.search_all_logs(self.task.services[0]))
        self.teller.step("ask for a forbidden target")
        await self._refused(lambda: actions.read_config(self.task.forbidden))
        if self.task.far_model:
            self.teller.step("ask a model in a region where the data may not go")
            await self._refused(self._far)

    async def by_model(self, rates: Sequence[Rate]) -> str:
        """Ask the model, with tools; the name of the service that was restarted, or nothing."""
        self.teller.step(f"ask the model {self.task.model}")
        table = "\n".join(map(str, rates))
        conversation = Conversation(SYSTEM)
        conversation.messages.append(
            {"role": "user", "content": f"{self.task.alert}\n\nSince each service started:\n{table}"}
        )
        tools = [_tool(actions.search_error_logs, self._shown), _tool(actions.restart, self._restart)]
        async with self._model(self.task.model) as model:
            try:
                await model.converse(conversation, tools, self._heard)
            except GateError as error:
                self.teller.refused(error)
        return self.restarted

    async def by_rule(self, rates: Sequence[Rate]) -> str:
        """Without a model: the highest rate of own errors, if it is notable."""
        self.teller.step("decide by rule, without a model")
        worst = max(rates, key=lambda rate: rate.share)
        if worst.share < NOTABLE_RATE:
            return ""
        await actions.search_error_logs(worst.service)
        await self._refused(
            lambda: self._restart(
                {"service": worst.service, "reason": f"{worst.share:.0%} of its requests fail by its own fault"}
            )
        )
        return self.restarted

    async def verify(self, service: str) -> None:
        """Look again: did it help."""
        self.teller.step("verify")
        await self._refused(lambda: actions.status(service))
        self.teller.tell("note", text=f"after the restart: {await _rate(service)}")

    async def burst(self) -> None:
        """Ask faster than the limit, and stop at the first refusal."""
        self.teller.step("ask in a burst")
        quiet = Gate(self.task.gate, self.task.token, patience=0)
        target = Resource("process", self.task.services[0], "prod")
        spent: GateError | None = None
        async with quiet:
            for _ in range(BURST_MAX // BURST_AT_ONCE):
                calls = (
                    quiet.act("local.logs.search", target, {"window_seconds": 1, "lines_max": 1}, session=self.session)
                    for _ in range(BURST_AT_ONCE)
                )
                answers = await asyncio.gather(*calls, return_exceptions=True)
                failed = next((answer for answer in answers if isinstance(answer, BaseException)), None)
                if isinstance(failed, GateError):
                    spent = failed
                    break
                if failed is not None:
                    raise failed
        if spent is None:
            self.teller.tell("note", text=f"{BURST_MAX} requests met no limit")
        else:
            self.teller.refused(spent)

    async def _far(self) -> None:
        """A model call that policy must refuse."""
        conversation = Conversation(SYSTEM)
        conversation.messages.append({"role": "user", "content": self.task.alert})
        self.teller.tell(
            "asked", action="llm.messages.create", resource=f"model:{self.task.far_model}@prod", arguments={}
        )
        async with self._model(self.task.far_model) as model:
            try:
                await model.ask(conversation)
            except GateError as error:
                self.teller.refused(error)
                raise

    async def _restart(self, given: Mapping[str, Json]) -> Json:
        """Propose the restart, try to approve it itself (which must fail), and wait for a person."""
        try:
            done = await actions.restart.from_model(given)
        except ApprovalPending as pending:
            if pending.approval is not None:
                await self._refused(partial(self._approve, pending.approval))
                self.teller.step("wait for a person")
                self.teller.approval(pending.approval)
            done = await self.gate.actions.get(pending.action_id, wait=self.task.approval_seconds)
            self.teller.permitted(done.decision)
            self.teller.recorded(done.receipt)
        self.restarted = str(given["service"])
        return done.result

    async def _approve(self, approval: Approval) -> None:
        """Review the agent's own proposal."""
        self.teller.step("try to approve its own proposal")
        self.teller.tell(
            "asked", action="gate.review.create", resource="gate:gate@prod", arguments={"approval": approval.id}
        )
        try:
            await self.gate.approvals.review(approval.id, "approve", digest=approval.digest, reason="I need it")
        except GateError as error:
            self.teller.refused(error)
            raise

    async def _shown(self, given: Mapping[str, Json]) -> Json:
        """The log lines for the model."""
        done = await actions.search_error_logs.from_model(given)
        return done.result

    async def _refused(self, ask: Callable[[], Awaitable[object]]) -> None:
        """Go on after a refusal: the teller has told it."""
        try:
            await ask()
        except GateError:
            return

    def _heard(self, turn: Turn) -> None:
        """Tell that the model was asked, and what it said."""
        self.teller.tell(
            "asked",
            action="llm.messages.create",
            resource=f"model:{self.task.model}@prod",
            arguments={"max_tokens": MAX_TOKENS},
        )
        self.teller.tell("decided", verdict="permit", tier=None, code="", remedy="")
        wants = f" [uses {', '.join(turn.wants)}]" if turn.wants else ""
        self.teller.tell("said", text=turn.text + wants, tokens_in=turn.tokens_in, tokens_out=turn.tokens_out)

    def _model(self, name: str) -> Model:
        return Model(self.task.gate, token=self.task.token, session=self.session, name=name)


async def _rate(service: str) -> Rate:
    """Requests and own errors of a service since it started."""
    requests = _sum(await actions.read_metric(service, "shop_requests"), {})
    return Rate(service, requests, _sum(await actions.read_metric(service, "shop_errors"), {"origin": "self"}))


def _sum(done: Done, labels: Mapping[str, str]) -> float:
    """Sum of the counters (``*_total``) with these labels in a metrics answer."""
    series = ((done.result or {}).get("value") or {}).get("series", ())
    fitting = (one for one in series if str(one["name"]).endswith("_total") and labels.items() <= one["labels"].items())
    return float(sum(one["value"] for one in fitting))


def _tool(declared: Governed[Any], call: Callable[[Mapping[str, Json]], Awaitable[Json]]) -> Tool:
    return Tool(declared.tool, call)
