"""Every line of attack on the gate: what, how much of it, which tests hold it, which campaign measures it, which file has figures."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.attacks.doors import DOORS
from tests.attacks.faults import KINDS, RUN, STEPS, Run
from tests.attacks.reaching import WAYS
from tests.attacks.spellings import CLASSES
from tests.fuzz.targets import TARGETS
from tests.parts import ROOT

RESULTS = ROOT / "tests" / "bench" / "results"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of attack."""

    name: str
    what: str
    bound: str
    """What must hold."""
    cases: Callable[[], str]
    tests: tuple[str, ...]
    campaigns: tuple[str, ...] = ()
    """Of the drill; their newest kept row counts."""
    files: str = ""
    """Figures beside the drill's: a pattern below ``tests/bench/results``."""


def kept(campaign: str) -> tuple[str, str, list[dict[str, Any]]]:
    """The newest kept file with rows of ``campaign``: when (``YYYYmmddTHHMM``), its name, those rows; empty without one."""
    found: list[tuple[str, str, list[dict[str, Any]]]] = [("", "", [])]
    for path in RESULTS.glob("drill-*.json"):
        stamp = re.search(r"(\d{8}T\d{4})", path.name)
        rows = [row for row in json.loads(path.read_text()) if row.get("campaign") == campaign]
        if rows and stamp:
            found.append((stamp[1], path.name, rows))
    return max(found, key=lambda one: one[:2])


def _said(text: str) -> Callable[[], str]:
    return lambda: text


def _framing() -> str:
    return f"{len(json.loads((RESULTS / 'http-framing.json').read_text())['rows'])} probes, alone and behind the proxy"


def _spellings() -> str:
    urls = sum(len(of.urls) for of in CLASSES)
    return f"{len(CLASSES)} classes ({urls} addresses) x {len(WAYS)} ways, {len(DOORS)} doors"


def _faults() -> str:
    cells = sum(len(cell.steps) for kind in KINDS for cell in kind.cells if isinstance(cell, Run))
    return f"{len(KINDS)} kinds x {len(STEPS)} steps; {len(RUN)} kinds injected in {cells} cells"


def _races() -> str:
    _, _, rows = kept("races")
    return (
        f"{sum(row['races'] for row in rows)} seeded races in the newest drill" if rows else "seeded races in the drill"
    )


def _scenario() -> str:
    cases = json.loads((ROOT / "tests/vectors/authzen/scenario.json").read_text())["cases"]
    return f"{len(cases)} requests of the public scenario"


E2E, UNIT, HERE = "tests/e2e/", "tests/unit/", "tests/attacks/"
LINES: tuple[Line, ...] = (
    Line("HTTP framing", "requests of which two readers see the end at different places: llhttp's cases and smuggling probes",
         "gate and shipped proxy never disagree", _framing,
         (f"{E2E}test_front_proxy.py::test_gate_and_proxy_never_disagree_where_a_request_ends",
          f"{E2E}test_guard.py::test_requests_that_two_readers_could_read_differently_are_refused"), files="http-framing.json"),
    Line("SSRF", "an address that the gate may not reach, however it is written", "no connection off the list", _spellings,
         (f"{HERE}test_reach.py::test_no_way_of_writing_an_address_makes_a_connection_off_the_list",
          f"{HERE}test_reach.py::test_no_door_of_the_gate_connects_off_its_list",
          f"{HERE}test_reach.py::test_every_part_that_goes_out_is_a_door_that_is_driven",
          f"{E2E}test_egress_boundary.py::test_nothing_but_egress_opens_a_client")),
    Line("schemathesis", "requests that a fuzzer makes of the OpenAPI document, all checks", "no 5xx, no undocumented status",
         _said("every operation of the document"),
         (f"{E2E}test_openapi.py::test_no_request_from_the_document_gets_an_answer_that_is_not_in_it",)),
    Line("atheris", "bytes to what reads before anything is known", "each target's law holds", lambda: f"targets: {', '.join(TARGETS)}",
         ("tests/fuzz/test_targets.py::test_the_law_of_a_target_holds_for_its_seeds_and_their_mutations",), files="fuzz*.json"),
    Line("naughty strings", "the big list of naughty strings in every field", "they are data: no markup, no other path, no 5xx",
         _said("515 strings"),
         (f"{E2E}test_guard.py::test_naughty_strings_are_data_wherever_they_stand",
          f"{E2E}test_egress_boundary.py::test_no_naughty_string_leaves_its_place_in_a_path",
          f"{E2E}console/test_naughty_fields.py::test_no_field_of_a_form_and_no_part_of_an_address_becomes_markup",
          f"{E2E}console/test_naughty_fields.py::test_nothing_that_an_agent_says_of_itself_becomes_markup_and_it_can_be_read")),
    Line("approval races", "everybody at once about one approval, over three surfaces and two replicas",
         "one execution each; histories linearizable", _races,
         (f"{E2E}test_races.py::test_whoever_races_by_whatever_door_an_approved_action_runs_once_and_in_some_order",
          f"{UNIT}test_approval_races.py::test_racing_reviews_execute_once_however_they_interleave",
          f"{E2E}test_bad_days_approvals.py::test_two_gates_on_one_database_give_one_execution"), ("races",)),
    Line("limit races", "four replicas and one budget", "never more than burst and rate", _said("four processes, both databases"),
         (f"{UNIT}test_limits.py::test_four_processes_together_never_pass_more_than_burst_and_rate",
          f"{E2E}test_limit_races.py::test_gates_that_race_one_limit_let_through_exactly_what_it_allows"), ("limits",)),
    Line("clock steps", "the wall clock goes forward and back", "limits, leases and actions open nothing",
         _said("steps of up to a day, generated histories"),
         (f"{UNIT}test_limits.py::test_a_clock_that_steps_never_opens_the_gate",
          f"{UNIT}test_leases.py::test_a_clock_that_steps_never_gives_one_fence_to_two",
          "tests/property/state/test_limits_model.py::test_a_jumping_clock_passes_at_most_a_burst_and_the_rate_of_the_time_it_ever_showed",
          f"{HERE}test_faults.py::test_a_fault_at_a_step_is_refused_with_its_code_and_its_record_or_leaves_what_the_table_says")),
    Line("faults", "kinds of fault at every step of the pipeline", "refused with its code and its record, or it is said what stands", _faults,
         (f"{HERE}test_faults.py::test_a_fault_at_a_step_is_refused_with_its_code_and_its_record_or_leaves_what_the_table_says",
          f"{HERE}test_faults.py::test_every_kind_of_fault_at_every_step_is_run_held_or_reasoned"), ("faults",)),
    Line("mutation", "changed code of decision, obligations, approvals, identity and audit", "at least 90 % of it is found by a test",
         _said("mutmut"), (), files="mutation*.json"),
    Line("overload", "five times what the gate can do", "at least 90 % of the peak, controls within 250 ms (p99)", _said("30 s at 5x"),
         (f"{E2E}test_crowded.py::test_bodies_that_fill_all_room_keep_no_control_out",
          f"{UNIT}web/test_lanes.py::test_the_controls_have_places_of_their_own"), ("overload",)),
    Line("kill switch", "a pull under load on four replicas", "the last action within a second", _said("pulls on four replicas"),
         (f"{E2E}test_bad_days_kill.py::test_a_model_stream_ends_within_a_second_of_the_stop",
          f"{UNIT}test_killswitch.py::test_a_pulled_switch_is_seen_by_other_replicas_at_once_and_survives_a_restart"), ("kill-switch",)),
    Line("soak", "an hour at an even pace", "memory grows by 1 MB an hour at most", _said("an hour"), (), ("soak",)),
    Line("MCP conformance", "the public suite, both revisions: directly, and its reference server behind the gate",
         "every scenario passes that does not need another server's tools", _said("both revisions"),
         (f"{E2E}test_mcp_conformance.py::test_nothing_fails_but_what_needs_another_servers_tools",), ("conformance",)),
    Line("AuthZEN certification", "the public certification scenario of the Authorization API 1.0", "every answer is as the scenario says",
         _scenario, (f"{E2E}test_authzen.py::test_the_certification_scenario_holds_over_http",)),
)  # fmt: skip
