"""Kinds of fault x the nine steps of an action's life: what the caller is told, whether it happened, what is on record.

The action is an automatic write of an agent. A fault begins with a step and stays until the caller has its answer. Each
(kind, step) is one cell: run by the table itself (``Run``), held by a test that exists (``Held``), or reasoned (``Never``).
"""

from collections.abc import Iterable
from dataclasses import dataclass

STEPS = (
    "authenticate",
    "read strictly",
    "gather facts",
    "decide",
    "discharge before",
    "record intent",
    "execute once",
    "discharge after",
    "record outcome",
)


@dataclass(frozen=True, slots=True)
class Run:
    """What the table asserts after injecting the fault at each of ``steps``."""

    steps: tuple[int, ...]
    answer: str
    records: tuple[str, ...]
    effects: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """What another test asserts about ``steps``."""

    steps: tuple[int, ...]
    tests: tuple[str, ...]
    says: str


@dataclass(frozen=True, slots=True)
class Never:
    """Why the fault changes nothing that could happen at ``steps``."""

    steps: tuple[int, ...]
    why: str


Cell = Run | Held | Never


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault; ``what`` is what really breaks. ``name`` finds the fault of ``breaking.FAULTS`` where cells are run."""

    name: str
    what: str
    cells: tuple[Cell, ...]

    def cell(self, step: int) -> Cell:
        """The one cell of ``step``; raises ``LookupError`` for none or two."""
        found = [cell for cell in self.cells if step in cell.steps]
        if len(found) != 1:
            raise LookupError(f"{self.name}, step {step}: {len(found)} cells")
        return found[0]


def steps(said: str) -> tuple[int, ...]:
    """``"1-3"`` or ``"4"`` as numbers."""
    first, _, last = said.partition("-")
    return tuple(range(int(first), int(last or first) + 1))


def refused(said: str, answer: str, *, why: str = "") -> Run:
    """Nothing happens, and the refusal is on record with its code."""
    return Run(steps(said), answer, (f"refusal {answer.partition(' ')[2]}",), why=why)


def unrecorded(said: str, answer: str, why: str) -> Run:
    """Nothing happens, the answer says so, and no record can stand."""
    return Run(steps(said), answer, (), why=why)


def goes_on(said: str, why: str) -> Run:
    """The step and those after it do not need what broke: the action is done, once, on record."""
    return Run(steps(said), "200 done", ("intent", "outcome done"), 1, why)


def begun(said: str, answer: str, outcome: str, *, effects: int = 0, why: str = "") -> Run:
    """The intent stands; the outcome says what became of it."""
    return Run(steps(said), answer, ("intent", outcome), effects, why)


def held(said: str, says: str, *tests: str) -> Held:
    return Held(steps(said), tests, says)


def never(said: str, why: str) -> Never:
    return Never(steps(said), why)


BAD = "tests/e2e/test_bad_days_"
LATER = "the record is made up for as soon as the log takes it; until then nothing is said of the effect"
DECIDED = "the engine is asked in step 4 alone, and what was decided stands"
ANSWERED = "the target has answered already"
ASKED = "the target is asked from step 7 on"


def _log(name: str, what: str, *, once: bool = False) -> Kind:
    """The log takes no record: before the intent nothing happens, after it the outcome is owed."""
    before = (
        refused("1-6", "503 audit.unavailable", why="the intent fails; the writer heals, and the refusal is on record")
        if once
        else unrecorded("1-6", "503 audit.unavailable", "the log itself is down; the answer says that nothing was done")
    )
    return Kind(name, what, (before, begun("7-9", "503 outcome.unrecorded", "outcome done", effects=1, why=LATER)))


def _target(name: str, what: str, code: str) -> Kind:
    """The target fails before it does anything."""
    return Kind(
        name,
        what,
        (
            begun("1-7", f"502 {code}", "outcome failed", why=f"{ASKED}; it says that it did not do it"),
            goes_on("8-9", ANSWERED),
        ),
    )


RUN: tuple[Kind, ...] = (
    _log("log locked", "another process holds the lock of the log's database"),
    _log("log read-only", "the log's connection takes no write, once", once=True),
    _log("log full", "as many records wait for the log as may"),
    _log("log halted", "somebody found that the log's history does not fit"),
    Kind("store locked", "another process holds the lock of the gate's database", (
        refused("1-5", "503 store.unavailable"),
        goes_on("6-9", "what follows is on record in the log; rows that could not be written are settled later"),
    )),
    Kind("store overloaded", "as many calls wait for the gate's database as may", (
        refused("1-5", "503 store.overloaded"),
        goes_on("6-9", "what follows is on record in the log; rows that could not be written are settled later"),
    )),
    Kind("counters locked", "another process holds the lock of the limits' database", (
        refused("1-5", "503 store.unavailable", why="nothing passes uncounted"),
        goes_on("6-9", "limits were charged in step 5"),
    )),
    Kind("policy not loaded", "no verified bundle is in force", (
        unrecorded("1", "503 policy.not_loaded", "what cannot be decided cannot be redacted either: nothing of it is kept"),
        refused("2", "503 redaction.profile", why="the profiles of redaction are policy's, too"),
        refused("3-4", "503 policy.not_loaded"),
        goes_on("5-9", DECIDED),
    )),
    Kind("engine killed", "the system kills every policy worker", (
        held("1-3", "another is there by the time that it is asked, or it is refused", f"{BAD}policy.py::test_a_killed_policy_worker_is_replaced_under_way"),
        refused("4", "503 policy.engine_down"),
        goes_on("5-9", DECIDED),
    )),
    Kind("clock a day ahead", "the wall clock steps forward", (
        unrecorded("1", "401 identity.expired", "nobody is authenticated: there is nobody to put on record"),
        refused("2", "404 session.not_found", why="the session is over by this clock"),
        goes_on("3-5", "who asks and in which session was judged before; grants are minted by the new clock"),
        refused("6", "403 grant.expired"),
        goes_on("7-9", "the intent stands: what began ends"),
    )),
    Kind("clock a day behind", "the wall clock steps back", (
        goes_on("1-9", "the token was believed before; limits and leases give nothing back to a clock that steps"),
    )),
    Kind("vault key gone", "the key under which this region's pseudonyms are kept is gone", (
        refused("1-2", "503 redaction.region", why="what cannot be redacted is not read"),
        goes_on("3-9", "the session is open already, and this result needs no pseudonym"),
    )),
    Kind("kill switch", "a person stops the agent", (
        refused("1-6", "403 kill.stopped"),
        goes_on("7-9", "the intent stands: what began ends, and is on record"),
    )),
    Kind("target held", "another action holds the target", (
        refused("1-5", "409 lease.held"),
        never("6-9", "the action itself holds its target from step 5 on: nobody else can"),
    )),
    Kind("limit spent", "the agent has had all the writes that it may have", (
        refused("1-5", "429 limit.exceeded"),
        never("6-9", "the action was charged in step 5; what others spend is their own"),
    )),
    Kind("session over", "the session ends", (
        refused("1-2", "404 session.not_found"),
        goes_on("3-9", "the session was read in one snapshot in step 2; a stop of what runs is the kill switch's"),
    )),
    Kind("caller gone", "the caller hangs up", (
        held("1-2", "what nobody waits for is not begun",
             "tests/e2e/test_connections.py::test_what_its_caller_does_not_wait_for_any_more_is_not_begun"),
        Run(steps("3-9"), "none", ("intent", "outcome done"), 1, "from here on the action is detached: it ends on record"),
    )),
    Kind("told to stop", "the process is told to end", (
        goes_on("1-9", "what is under way has its time; new work is turned away at the door (gate.stopping)"),
    )),
    Kind("defect of ours", "something fails in a way that nobody thought of", (
        unrecorded("1", "500 gate.failed", "nobody is authenticated: there is nobody to put on record"),
        refused("2-6", "500 gate.failed"),
        begun("7", "500 gate.failed", "outcome unknown", why="nobody knows whether it was sent; it is not repeated"),
        begun("8", "500 gate.failed", "outcome unknown", effects=1, why="the answer is withheld; it is not repeated"),
        begun("9", "500 gate.failed", "recovery done", effects=1, why="the open intent is closed by what the target says"),
    )),
    Kind("target down", "nobody listens at the target's port", (
        begun("1-7", "502 upstream.unreachable", "outcome failed", why=f"{ASKED}; nothing was sent"),
        goes_on("8-9", ANSWERED),
    )),
    _target("target resets", "the target breaks the connection", "upstream.cut"),
    _target("target answers garbage", "the target answers with what is no HTTP", "upstream.garbage"),
    _target("target answers half", "the target's answer breaks off", "upstream.cut"),
    _target("target answers too much", "the target's answer has no end", "upstream.too_large"),
    _target("target redirects", "the target sends the gate elsewhere", "upstream.redirect"),
    _target("target fails", "the target answers 500", "upstream.status"),
    Kind("target acts and cuts", "the target does it and breaks the line", (
        begun("1-7", "502 upstream.cut", "outcome done", effects=1, why=f"{ASKED}; asked again, it says that it did it"),
        goes_on("8-9", ANSWERED),
    )),
    Kind("target acts and lies", "the target does it and answers with what is no answer", (
        begun("1-7", "502 upstream.garbage", "outcome done", effects=1, why=f"{ASKED}; asked again, it says that it did it"),
        goes_on("8-9", ANSWERED),
    )),
)  # fmt: skip
"""Faults that the table itself injects, at every step that is not reasoned."""

CRASH = f"{BAD}crash.py::test_a_crash_in_the_middle_is_closed_by_what_the_target_says_and_never_repeated"
APPROVALS = f"{BAD}approvals.py::"
STORAGE = f"{BAD}storage.py::"
KEYSET = "tests/unit/identity/test_keyset.py::"
NOT_ASKED = "the engine is asked in step 4 alone"
FULL = "503, and nothing happens; it heals by itself"
OWED = "the effect stands, the outcome is owed and follows"
UNSTORED = f"{STORAGE}test_an_effect_whose_end_cannot_be_stored_is_owed_its_outcome"
PEOPLE = "approvals are used in step 5, after the request was decided again"


def _engine(name: str, what: str, says: str, test: str) -> Kind:
    """OPA fails: step 4 has no decision."""
    return Kind(
        name, what, (never("1-3", NOT_ASKED), held("4", says, f"{BAD}policy.py::{test}"), never("5-9", DECIDED))
    )


def _approval(name: str, what: str, says: str, *tests: str) -> Kind:
    """What is wrong with an approval is seen where it is used."""
    return Kind(
        name, what, (never("1-4", PEOPLE), held("5", says, *tests), never("6-9", "the approval was used up in step 5"))
    )


ELSEWHERE: tuple[Kind, ...] = (
    _engine("OPA gone", "its socket refuses", "503 policy.engine_down, on record, and it heals",
            "test_an_opa_that_stops_or_freezes_lets_nothing_through_until_it_is_back"),
    _engine("OPA frozen", "it takes the question and never answers", "503 policy.engine_timeout, on record, and it heals",
            "test_an_opa_that_stops_or_freezes_lets_nothing_through_until_it_is_back"),
    _engine("OPA answers wrongly", "no JSON, no result, an unknown effect, obligation or field, another revision, half an answer",
            "503 with the reason of each", "test_an_engine_that_answers_garbage_is_not_believed"),
    _engine("bundle changed on disk", "bytes of the bundle in force are not what was signed", "503 policy.not_loaded",
            "test_a_bundle_tampered_on_disk_is_not_loaded_and_nothing_is_decided"),
    Kind("signing keys stale", "the issuer is silent for longer than its keys may be believed", (
        held("1", "503: nobody is believed, and nobody is told that their token is wrong",
             f"{KEYSET}test_a_silent_issuer_is_tolerated_for_a_day_and_then_nothing_is_believed",
             f"{KEYSET}test_an_issuer_that_never_answered_gives_unavailable_and_not_unauthenticated"),
        never("2-9", "the caller is known"),
    )),
    Kind("queue full", "as many requests wait as may", (
        held("1", "503 with Retry-After before anything is read, and the controls answer",
             f"{BAD}way_in.py::test_a_full_gate_turns_away_the_neighbours_of_the_controls",
             "tests/unit/web/test_lanes.py::test_who_waits_too_long_is_told_to_come_again_and_leaves_no_trace"),
        never("2-9", "the request has its place"),
    )),
    Kind("body never comes", "the caller sends headers and half a body", (
        held("1-2", "408 at its deadline, and it holds nothing",
             "tests/e2e/test_guard.py::test_a_slow_body_ends_at_its_deadline_and_holds_nothing"),
        never("3-9", "the request is read"),
    )),
    Kind("time is up", "what the caller waits for takes longer than it waits", (
        never("1-5", "time is looked at where the intent would be recorded"),
        held("6", "refused on record; it may come again",
             "tests/e2e/test_connections.py::test_what_is_over_its_time_before_the_intent_is_refused_on_record_and_may_come_again"),
        never("7-9", "the intent stands: what began ends"),
    )),
    Kind("disk full", "not one more byte fits", (
        held("1-6", FULL, f"{STORAGE}test_a_full_disk_stops_everything_until_there_is_room"),
        held("7-9", OWED, UNSTORED, "tests/unit/audit/test_faults.py::test_a_full_disk_refuses_and_then_recovers"),
    )),
    Kind("database read-only", "PostgreSQL takes no writes", (
        held("1-6", FULL, f"{STORAGE}test_a_database_that_turns_read_only_or_drops_us_stops_everything_until_it_is_back"),
        held("7-9", OWED, UNSTORED),
    )),
    Kind("database gone", "PostgreSQL drops connections and takes none", (
        held("1-6", FULL, f"{STORAGE}test_a_database_that_turns_read_only_or_drops_us_stops_everything_until_it_is_back"),
        held("7-9", OWED, UNSTORED, "tests/unit/audit/test_faults.py::test_a_lost_connection_refuses_and_then_recovers"),
    )),
    Kind("process killed", "SIGKILL", (
        held("1-6", "no effect without an intent; what was taken for it is given back",
             f"{BAD}crash.py::test_a_crash_after_the_approval_was_taken_but_before_the_intent_withdraws_it",
             "tests/e2e/test_drill.py::test_ten_kills_lose_no_acknowledged_record_and_repeat_no_effect"),
        held("7-9", "the next start closes the intent by what the target says, and repeats nothing", CRASH),
    )),
    _approval("approval row changed", "somebody writes into the proposal's row", "the database itself refuses",
              "tests/unit/store/test_migrations.py::test_what_a_proposal_binds_cannot_change_in_the_database",
              "tests/unit/store/test_migrations.py::test_the_digest_of_an_approved_proposal_cannot_change"),
    _approval("approval too late", "the approval comes, or is used, after its time", "403 approval.expired",
              f"{APPROVALS}test_an_approval_that_comes_too_late_is_none",
              f"{APPROVALS}test_an_approval_that_was_not_used_in_time_is_none"),
    _approval("policy changed meanwhile", "another bundle is in force than when it was shown", "403 approval.policy_changed",
              f"{APPROVALS}test_a_policy_activated_while_it_waits_makes_the_approval_worthless"),
    _approval("target changed meanwhile", "the target is not what the plan saw", "409 approval.plan_drifted",
              f"{APPROVALS}test_a_target_that_changed_after_the_plan_is_planned_again"),
    Kind("lease lost", "the hold of the target runs out while it is used", (
        never("1-4", "nothing is held before step 5"),
        held("5-9", "the late holder may not act and frees nothing of its successor's",
             "tests/unit/test_leases.py::test_a_holder_whose_time_ran_out_may_not_act_and_cannot_free_its_successors_key"),
    )),
    Kind("model provider fails", "the provider refuses, never answers, or cuts the stream", (
        never("1-6", "the provider is asked in step 7"),
        held("7-9", "each call has its outcome; what was cut is partial with what was said",
             f"{BAD}streams.py::test_a_call_that_the_provider_refuses_or_never_answers_has_its_outcome",
             f"{BAD}streams.py::test_a_stream_cut_by_the_provider_is_partial_with_what_was_said"),
    )),
    Kind("redaction out of time", "a part of what is to be redacted cannot be read in time", (
        never("1", "nothing is read yet"),
        held("2", "the part is withheld", "tests/unit/redaction/test_redactor.py::test_what_the_deadline_leaves_unread_is_withheld"),
        never("3-7", "redaction is asked in steps 2 and 8"),
        held("8", "the part is withheld, or the whole where the profile allows none",
             "tests/unit/redaction/test_redactor.py::test_what_the_deadline_leaves_unread_is_withheld",
             "tests/unit/redaction/test_redactor.py::test_a_profile_that_allows_nothing_withheld_refuses"),
        never("9", "only what was redacted comes here"),
    )),
)  # fmt: skip
"""Faults whose injection another test owns."""

KINDS = (*RUN, *ELSEWHERE)


def edges(kind: Kind) -> Iterable[int]:
    """The last step of each cell that is run: nearest to where the answer changes."""
    return (cell.steps[-1] for cell in kind.cells if isinstance(cell, Run))
