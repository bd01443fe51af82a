"""The rooms of a gate: rows and rules that know nothing of the one path."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from broker.approvals import Approvals, Boxes
from broker.authenticator_acts import AuthenticatorActs
from broker.authenticators import Authenticators
from broker.breakglass import BreakGlass
from broker.breakglass_acts import BreakglassActs
from broker.catalog import Action
from broker.evidence import Diagnosis, Evidence
from broker.incident_acts import IncidentActs
from broker.incidents import Incident, Incidents
from broker.kept import KeptInLog
from broker.killswitch import KillSwitch
from broker.lab import Lab
from broker.limits import Limits
from broker.logbook import Exports, Feed, Lines, LogActs, LogIndex, Names
from broker.model import Json
from broker.profiles import ActiveProfiles
from broker.remedies import Finding, Times, remedies_for, times_of
from broker.reviews import Reviews
from broker.roster import Roster
from broker.sessions import Sessions
from broker.timebox_acts import TimeBoxActs
from broker.topology import Topology
from broker.usage import Usage
from broker.wiring.foundations import Foundations
from broker.work import Work


class Rooms(Foundations):
    """State, log, policy and identity, and what stands on them alone."""

    # -- who acts, and what waits -----------------------------------------------------------------------------------------

    @cached_property
    def sessions(self) -> Sessions:
        """Runs of agents."""
        return Sessions(self.store, self.clock)

    @cached_property
    def approvals(self) -> Approvals:
        """Proposals and reviews."""
        return Approvals(self.store, self.clock, self.settings.console.step_up_acr)

    @cached_property
    def kills(self) -> KillSwitch:
        """What is stopped."""
        who, gate = self.settings.kill, self.settings.gate
        tenant = gate.operator_tenant or gate.default_tenant
        return KillSwitch(
            self.store, self.clock, roles=who.roles, roles_for_all=who.roles_for_all, operator_tenant=tenant
        )

    # -- incidents ----------------------------------------------------------------------------------------------------

    @cached_property
    def topology(self) -> Topology:
        """What depends on what."""
        return Topology.of(self.settings)

    @cached_property
    def work(self) -> Work:
        """What is due."""
        return Work(self.store, self.clock)

    @cached_property
    def incidents(self) -> Incidents:
        """From alerts to their end."""
        return Incidents(self.store, self.clock, self.sessions, self.topology, self.settings.incidents)

    @cached_property
    def kept(self) -> KeptInLog:
        """Past results."""
        return KeptInLog(self.records)

    @cached_property
    def evidence(self) -> Evidence:
        """Judges claims."""
        return Evidence(self.store, self.clock, results=self.kept, signal_of=self._signal_of, well_of=self._well_of)

    @cached_property
    def incident_acts(self) -> IncidentActs:
        """What people and agents do about incidents."""
        return IncidentActs(
            incidents=self.incidents,
            work=self.work,
            evidence=self.evidence,
            kept=self.kept,
            topology=self.topology,
            sessions=self.sessions,
            records=self.records,
            settings=self.settings.incidents,
            remedies=self._remedies,
        )

    # -- what people read out of the log ------------------------------------------------------------------------------

    @cached_property
    def names(self) -> Names:
        """Who is behind a pseudonym."""
        return Names(self.store, self.records, self.clock)

    @cached_property
    def lines(self) -> Lines:
        """Records as lists show them."""
        return Lines(self.records, self.sessions.incident_of)

    @cached_property
    def feed(self) -> Feed:
        """The log as it grows."""
        return Feed(self.records, self.lines, self.settings.events, self.telemetry)

    @cached_property
    def log_index(self) -> LogIndex:
        """Finds records."""
        return LogIndex(
            store=self.store,
            records=self.records,
            lines=self.lines,
            names=self.names,
            clock=self.clock,
            telemetry=self.telemetry,
        )

    @cached_property
    def exports(self) -> Exports:
        """Files made of the log."""
        return Exports(
            records=self.records,
            lines=self.lines,
            index=self.log_index,
            names=self.names,
            store=self.store,
            work=self.work,
            clock=self.clock,
            folder=self.settings.gate.data / "exports",
        )

    @cached_property
    def log_acts(self) -> LogActs:
        """What people do with the log."""
        return LogActs(
            feed=self.feed,
            index=self.log_index,
            records=self.records,
            lines=self.lines,
            names=self.names,
            store=self.store,
            clock=self.clock,
            exports=self.exports,
        )

    async def _log_upkeep(self) -> None:
        """The index up to the log, and no bytes of exports beyond their time."""
        await self.log_index.run()
        await self.exports.sweep()

    def _signal_of(self, action: str) -> str:
        """The signal class of an action's result."""
        declared = self.policy.catalog.find(action)
        return declared.signal if declared else ""

    def _well_of(self, action: str) -> Sequence[Mapping[str, Json]]:
        """What its manifest says of a result that is well."""
        declared = self.policy.catalog.find(action)
        return declared.well if declared else ()

    def _remedies(self, incident: Incident, found: Diagnosis | None) -> list[dict[str, Json]]:
        """The catalogue of remedies, filled in with what was found."""
        finding = Finding(
            tenant=incident.tenant,
            env=incident.env,
            service=incident.service,
            component=str(found.cause["component"]) if found else "",
            fault=str(found.cause["fault"]) if found else "",
            claims=found.claims if found else (),
        )
        graph = self.topology.graph(incident.tenant, incident.env)
        return remedies_for(self.policy.catalog, graph, self.settings.resource, finding)

    def _times(self, action: Action) -> Times:
        """When a remedy is measured: as its manifest says, or as configured here."""
        chosen = self.settings.incidents
        return times_of(
            action,
            settle=chosen.verify_settle_seconds,
            window=chosen.verify_window_seconds,
            interval=chosen.verify_interval_seconds,
        )

    @cached_property
    def limits(self) -> Limits:
        """Counts against limits."""
        return Limits(self.store)

    @cached_property
    def lab(self) -> Lab:
        """The redaction lab."""
        return Lab(profiles=ActiveProfiles(self.policy), key=self.keys.secret("id.key"))

    @cached_property
    def breakglass(self) -> BreakGlass:
        """What two people open for a while."""
        return BreakGlass(self.store, self.clock, self.settings.breakglass)

    @cached_property
    def breakglass_acts(self) -> BreakglassActs:
        """Opening, confirming, ending, reviewing."""
        return BreakglassActs(
            desk=self.breakglass,
            records=self.records,
            catalog=lambda: self.policy.catalog,
            clock=self.clock,
        )

    @cached_property
    def authenticators(self) -> Authenticators:
        """What people sign with."""
        return Authenticators(self.store, self.clock, key=self.keys.secret("authenticators.key"), url=self.settings.url)

    @cached_property
    def authenticator_acts(self) -> AuthenticatorActs:
        """Registering, confirming, removing."""
        return AuthenticatorActs(self.authenticators, self.records, self.reviews.settle)

    @cached_property
    def boxes(self) -> Boxes:
        """Time boxes of approvals."""
        return Boxes(self.store, self.clock)

    @cached_property
    def reviews(self) -> Reviews:
        """What people answered, on record."""
        return Reviews(approvals=self.approvals, records=self.records, approved=self.approved, telemetry=self.telemetry)

    @cached_property
    def timebox_acts(self) -> TimeBoxActs:
        """Acknowledging."""
        return TimeBoxActs(boxes=self.boxes, records=self.records)

    @cached_property
    def usage(self) -> Usage:
        """What is used, and what of limits is left."""
        return Usage(
            store=self.store,
            index=self.log_index,
            names=self.names,
            limits=self.limits,
            policy=self.policy,
            prices=self.settings.usage.prices,
            clock=self.clock,
        )

    @cached_property
    def roster(self) -> Roster:
        """Who acts."""
        return Roster(
            store=self.store,
            kills=self.kills,
            sessions=self.sessions,
            records=self.records,
            index=self.log_index,
            usage=self.usage,
            policy=self.policy,
            clock=self.clock,
        )
