"""What an engine is: it answers one question for one verified bundle, and nothing else.

``decide`` takes the canonical bytes of one input and returns the JSON bytes of ``data.broker.main.decision`` with the
revision that answered. Everything that goes wrong is a ``PolicyUnavailable`` with its own code, none of which ever
carries a value of the input.
"""

from typing import NamedTuple, Protocol

from broker.errors import PolicyUnavailable
from broker.policy.bundle import Bundle

ENGINE_DOWN = "policy.engine_down"
ENGINE_TIMEOUT = "policy.engine_timeout"
ENGINE_ERROR = "policy.engine_error"
NO_RESULT = "policy.no_result"
WRONG_REVISION = "policy.wrong_revision"
BAD_DECISION = "policy.bad_decision"
BAD_INPUT = "policy.bad_input"
NOT_LOADED = "policy.not_loaded"


class EngineInfo(NamedTuple):
    """Which engine, in which version, holds which bundle."""

    name: str
    version: str
    revision: str
    digest: str

    @property
    def label(self) -> str:
        """``regorus 0.13.0``: what a decision and its record name."""
        return f"{self.name} {self.version}"


class Answer(NamedTuple):
    """The decision as JSON bytes, and the revision of the bundle that made it."""

    value: bytes
    revision: str


class PolicyEngine(Protocol):
    """One immutable snapshot for one verified bundle."""

    info: EngineInfo

    async def decide(self, input_json: bytes) -> Answer:
        """Evaluate; raises ``PolicyUnavailable``."""

    async def aclose(self) -> None:
        """Finish what is in flight, then let go of everything."""


class EngineHost(Protocol):
    """Where engines come from: one host for the life of the gate."""

    async def load(self, bundle: Bundle) -> PolicyEngine:
        """Return an engine that answers with ``bundle``; raises ``PolicyUnavailable`` or ``BadRequest`` and keeps the last good."""

    @property
    def workers_lost(self) -> int:
        """How many workers died or were ended so far."""

    async def withdraw(self, bundle: Bundle) -> None:
        """``bundle`` was loaded and then refused: go back to the last one that settled."""

    def settled(self, bundle: Bundle) -> None:
        """``bundle`` is now the active one; answers of its predecessor are no longer good."""

    async def aclose(self) -> None:
        """End the host."""


def unavailable(code: str, detail: str, *, retry_after: float | None = 1.0) -> PolicyUnavailable:
    """A ``PolicyUnavailable`` with the remedy that fits ``code``."""
    return PolicyUnavailable(detail, code=code, remedy=_REMEDIES.get(code), retry_after=retry_after)


_REMEDIES = {
    ENGINE_DOWN: "start the policy engine (OPA beside the gate, or restart the gate); then try again",
    ENGINE_TIMEOUT: "try again; if it repeats, the policy costs too much for this input: profile it with opa eval --profile",
    ENGINE_ERROR: "try the input with `wicketgate policy simulate` to see the policy's error",
    NO_RESULT: "load a bundle that defines data.broker.main.decision for every input",
    WRONG_REVISION: "wait for the policy engine to load the active bundle; then try again",
    BAD_DECISION: "mend the policy: its answer must fit broker.decision/v1",
    BAD_INPUT: "report this fault of the gate with the field that is named",
    NOT_LOADED: "activate a signed bundle: wicketgate policy activate FILE",
}
