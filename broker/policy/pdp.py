"""The policy decision point: the active bundle with its engine, and everything that may change which one it is.

``decide`` reads one reference, so a swap never waits and never mixes: what began on the old bundle ends on it. A
bundle becomes active only through the load gate (signature, safe unpacking, layout, schemas, lint, the engine's own
probes, every golden decision on the engine that will decide) and a durable row; until one is, everything is denied
with ``policy.not_loaded``.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.catalog import Catalog
from broker.clock import Clock
from broker.errors import BadRequest, BrokerError, Conflict
from broker.model import Decision, Json
from broker.policy.activations import Activation, ActivationRows
from broker.policy.bundle import Bundle, open_bundle, revision_number
from broker.policy.content import failure_text
from broker.policy.decision import Readings, read_decision
from broker.policy.engine import ENGINE_DOWN, NOT_LOADED, WRONG_REVISION, EngineHost, PolicyEngine, unavailable
from broker.policy.explain import Simulation, simulate
from broker.policy.gate import check_content, check_goldens
from broker.policy.input import ReadyInput, facts_of, prepare, told
from broker.policy.schema import Check, compile_schema

DECIDING_MAX = 1_024
"""Decisions at once, whichever engine makes them."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One active bundle, ready to decide."""

    bundle: Bundle
    engine: PolicyEngine
    check: Check = field(repr=False)
    readings: Readings = field(repr=False)
    catalog: Catalog = field(repr=False)
    seq: int
    facts: frozenset[str] = field(repr=False)
    """The names under ``context`` that the bundle's own schema of the input has."""


class PolicyDecisionPoint:
    """Owns the active snapshot. One per process; several replicas share one ``ActivationRows``."""

    def __init__(
        self, *, signers: Mapping[str, Ed25519PublicKey], rows: ActivationRows, host: EngineHost, clock: Clock
    ) -> None:
        """``signers`` are the configured public keys by key id; ``host`` makes engines (embedded or OPA)."""
        self._signers = signers
        self._rows = rows
        self._host = host
        self._clock = clock
        self._active: Snapshot | None = None
        self._incoming: Bundle | None = None
        self._changing = asyncio.Lock()
        self._deciding = 0
        self._turned_away = 0
        self._retiring: set[asyncio.Task[None]] = set()
        self.swapped: list[Callable[[], None]] = []
        """Called when another bundle decides, whoever activated it."""
        self.problem = "no bundle was activated yet"
        """Why nothing is loaded, for readiness and the operator; empty when something is."""

    @property
    def active(self) -> Bundle | None:
        """The bundle that decides, or None."""
        return self._active.bundle if self._active else None

    @property
    def catalog(self) -> Catalog:
        """The actions that the active bundle's manifests declare; none while nothing is loaded."""
        return self._active.catalog if self._active else Catalog(())

    def verify(self, archive: bytes, signature: str) -> Bundle:
        """Check signature and form of a bundle without putting it into force; raises ``BadRequest``."""
        return open_bundle(archive, signature, self._signers)

    @property
    def engine_label(self) -> str:
        """The engine that decides, such as ``regorus 0.13.0``; empty when nothing is loaded."""
        return self._active.engine.info.label if self._active else ""

    async def decide(self, value: Mapping[str, Json]) -> Decision:
        """Return policy's answer for one ``broker.input/v1``; raises ``PolicyUnavailable`` with a code of ``engine.py``."""
        snapshot = self._active
        if snapshot is None:
            raise unavailable(NOT_LOADED, "no verified policy bundle is loaded")
        if self._deciding >= DECIDING_MAX:
            self._turned_away += 1
            raise unavailable(ENGINE_DOWN, "too many requests wait for a policy decision")
        self._deciding += 1
        try:
            return await self._decide_on(snapshot, prepare(told(value, snapshot.facts), snapshot.check))
        finally:
            self._deciding -= 1

    @property
    def depth(self) -> tuple[int, int, int]:
        """Decisions under way, the most there may be, and how many were turned away."""
        return self._deciding, DECIDING_MAX, self._turned_away

    @property
    def workers_lost(self) -> int:
        """How many of the embedded engine's workers died or were ended."""
        return self._host.workers_lost

    async def start(self) -> None:
        """Load the newest activation, if it still verifies; else stay not loaded and say why in ``problem``."""
        await self.poll()

    async def poll(self) -> bool:
        """Follow the newest activation, whoever recorded it; True when the active bundle changed.

        A failure leaves the last good bundle in place and its reason in ``problem``.
        """
        async with self._changing:
            latest = await self._rows.latest()
            if latest is None or (self._active and self._active.seq == latest.seq):
                return False
            try:
                archive, signature = await self._rows.bundle(latest.digest)
                snapshot = await self._admit(open_bundle(archive, signature, self._signers), latest.seq)
            except BrokerError as error:
                self.problem = failure_text(error)
                return False
            self._swap(snapshot)
            return True

    async def activate(self, archive: bytes, signature: str, *, by: str) -> Activation:
        """Run the load gate on a new bundle and make it active; the same digest again changes nothing.

        Raises ``BadRequest`` when the bundle is refused, ``Conflict`` when its revision is not newer than every one
        that was ever active, ``PolicyUnavailable`` when the engine did not take it. The last good bundle stays.
        """
        bundle = open_bundle(archive, signature, self._signers)
        async with self._changing:
            history = await self._rows.history()
            if history and history[-1].digest == bundle.digest and self._active:
                return history[-1]
            newest = max((revision_number(each.revision) for each in history), default=-1)
            if revision_number(bundle.revision) <= newest:
                raise Conflict(
                    f"revision `{bundle.revision}` is not newer than {newest}, which was active before",
                    code="policy.revision_not_newer",
                    remedy="build a newer revision, or go back explicitly: wicketgate policy rollback DIGEST",
                )
            return await self._change(bundle, "activate", by, len(history) + 1)

    async def rollback(self, digest: str, *, by: str) -> Activation:
        """Go back to a bundle that was active before; raises ``BadRequest``, ``NotFound`` or ``PolicyUnavailable``."""
        async with self._changing:
            history = await self._rows.history()
            bundle = await formerly_active(self._rows, digest, self._signers)
            return await self._change(bundle, "rollback", by, len(history) + 1)

    async def simulate(self, value: Mapping[str, Json], bundle: Bundle | None = None) -> Simulation:
        """Say what ``bundle`` (default: the active one) would decide, and why; nothing is recorded or counted."""
        asked = bundle or self.active
        if asked is None:
            raise unavailable(NOT_LOADED, "no verified policy bundle is loaded")
        return await simulate(value, asked)

    async def aclose(self) -> None:
        """Finish what is in flight and end every engine."""
        snapshot, self._active = self._active, None
        if snapshot:
            await snapshot.engine.aclose()
        await asyncio.gather(*self._retiring)
        await self._host.aclose()

    async def _change(self, bundle: Bundle, kind: str, by: str, seq: int) -> Activation:
        """Admit, record durably, then swap: a crash in between leaves the row, and the next start follows it."""
        snapshot = await self._admit(bundle, seq)
        activation = Activation(seq, bundle.digest, bundle.revision, kind, by, self._clock.now_ns())
        try:
            await self._rows.keep_bundle(bundle.digest, bundle.archive, bundle.signature)
            await self._rows.append(activation)
        except BaseException:
            await self._refuse(snapshot)
            raise
        self._swap(snapshot)
        return activation

    async def _admit(self, bundle: Bundle, seq: int) -> Snapshot:
        """Run the load gate after the signature; the engine that passed is the one that will decide."""
        content = bundle.content
        await check_content(content)
        schema = content.schema("input.v1")
        check, facts = compile_schema(schema), facts_of(schema)
        catalog = Catalog.from_manifests(content.manifests)
        # Named before the engine has it: OPA may answer with it from the moment that it has loaded it.
        self._incoming = bundle
        try:
            engine = await self._host.load(bundle)
        except BaseException:
            self._incoming = None
            raise
        snapshot = Snapshot(bundle, engine, check, Readings(content.remedies), catalog, seq, facts)
        try:
            await check_goldens(content, check, snapshot.engine)
        except BaseException:
            await self._refuse(snapshot)
            raise
        return snapshot

    async def _refuse(self, snapshot: Snapshot) -> None:
        self._incoming = None
        await snapshot.engine.aclose()
        await self._host.withdraw(snapshot.bundle)

    def _swap(self, snapshot: Snapshot) -> None:
        """One reference changes; the old engine finishes its requests on its own time."""
        old, self._active, self._incoming = self._active, snapshot, None
        self.problem = ""
        self._host.settled(snapshot.bundle)
        for tell in self.swapped:
            tell()
        if old:
            task = asyncio.get_running_loop().create_task(old.engine.aclose())
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _decide_on(self, snapshot: Snapshot, ready: ReadyInput) -> Decision:
        """Ask the snapshot's engine and read its answer against the bundle whose revision answered."""
        answer = await snapshot.engine.decide(ready.json)
        known = (snapshot.bundle, self.active, self._incoming)
        bundle = next((each for each in known if each and each.revision == answer.revision), None)
        if bundle is None or (
            bundle is not snapshot.bundle and not facts_of(bundle.content.schema("input.v1")) <= snapshot.facts
        ):
            raise unavailable(WRONG_REVISION, "the engine answered with a revision that is not active")
        return read_decision(
            answer.value,
            readings=snapshot.readings if bundle is snapshot.bundle else Readings(bundle.content.remedies),
            revision=bundle.revision,
            digest=bundle.digest,
            engine=snapshot.engine.info.label,
            input_digest=ready.digest,
        )


async def formerly_active(rows: ActivationRows, digest: str, signers: Mapping[str, Ed25519PublicKey]) -> Bundle:
    """Return the kept bundle ``digest`` if it was ever active and still verifies; raises ``BadRequest`` or ``NotFound``."""
    if digest not in {each.digest for each in await rows.history()}:
        raise BadRequest(
            "this digest was never active here",
            code="policy.never_active",
            remedy="take a digest from `wicketgate policy history`, or activate the bundle from its file",
        )
    bundle = open_bundle(*await rows.bundle(digest), signers)
    if bundle.digest != digest:
        raise BadRequest("the kept bundle is not the one that was active", code="policy.untrusted")
    return bundle


async def rollback_offline(
    rows: ActivationRows, digest: str, signers: Mapping[str, Ed25519PublicKey], clock: Clock, *, by: str
) -> Activation:
    """Undo a lockout on the host: record that a formerly active bundle is active again; the gate follows at its next poll.

    Needs no decision, because the active policy may be what denies it; the caller writes the audit record first.
    """
    bundle = await formerly_active(rows, digest, signers)
    seq = len(await rows.history()) + 1
    activation = Activation(seq, bundle.digest, bundle.revision, "offline", by, clock.now_ns())
    await rows.append(activation)
    return activation
