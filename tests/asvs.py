"""OWASP ASVS as data: every requirement of levels 1 and 2 in ten chapters, and what of the gate answers it.

Ids and levels are those of ASVS 5.0.0 (repository OWASP/ASVS, ``5.0/docs_en/OWASP_Application_Security_Verification_Standard_5.0.0_en.csv``
at commit 5cf9b032440be53ce345ab3c130fda46ba1ce7a2). What they ask stands there and not here: the claims are our own words.
A claim names tests that fail when it is false (node ids below ``tests/``), and where it is about a document, the page. What
does not apply says why; what is missing is a gap. ``test_asvs.py`` checks all of it; ``make docs`` writes ``docs/asvs.md``.
"""

from dataclasses import dataclass

VERSION = "5.0.0"
SOURCE = "OWASP/ASVS, 5.0/docs_en, commit 5cf9b032440b"
CHAPTERS = {
    2: "Validation and business logic",
    4: "API and web service",
    6: "Authentication",
    7: "Sessions",
    8: "Authorization",
    9: "Self-contained tokens",
    10: "OAuth and OIDC",
    13: "Configuration",
    14: "Data protection",
    16: "Logging and errors",
}
COUNTS = {
    2: (4, 7), 4: (2, 8), 6: (13, 22), 7: (6, 12), 8: (4, 3), 9: (4, 3), 10: (5, 24), 13: (1, 12), 14: (2, 7), 16: (0, 16),
}  # fmt: skip
"""Chapter -> how many requirements of level 1 and of level 2 the source has."""
LEVEL_3 = frozenset({
    "2.3.5", "2.4.2", "4.1.4", "4.1.5", "4.2.2", "4.2.3", "4.2.4", "4.2.5", "6.3.5", "6.3.6", "6.3.7", "6.3.8",
    "6.4.5", "6.4.6", "6.5.6", "6.5.7", "6.5.8", "6.6.4", "6.7.1", "6.7.2", "7.5.3", "8.1.3", "8.1.4", "8.2.4",
    "8.3.2", "8.3.3", "8.4.2", "10.2.3", "10.3.5", "10.4.12", "10.4.13", "10.4.14", "10.4.15", "10.4.16", "13.1.2", "13.1.3",
    "13.1.4", "13.2.6", "13.3.3", "13.3.4", "13.4.6", "13.4.7", "14.2.5", "14.2.6", "14.2.7", "14.2.8", "16.5.4",
})  # fmt: skip
"""The chapters' requirements of level 3, which are not judged here: with them each section counts without a hole."""


@dataclass(frozen=True, slots=True)
class Item:
    """One requirement. With ``tests`` it is held, with ``why_not`` it does not apply, with ``gap`` something is missing."""

    id: str
    level: int
    claim: str = ""
    tests: tuple[str, ...] = ()
    page: str = ""
    """``file#heading`` of the document that a requirement about documents asks for."""
    why_not: str = ""
    gap: str = ""


def _(id_: str, level: int, claim: str, *tests: str, page: str = "") -> Item:
    return Item(id_, level, claim, tests, page)


def _na(id_: str, level: int, why_not: str) -> Item:
    return Item(id_, level, why_not=why_not)


def _gap(id_: str, level: int, gap: str, *tests: str) -> Item:
    """``tests`` hold the part that is there."""
    return Item(id_, level, tests=tests, gap=gap)


NO_PASSWORD = "nobody has a password here: people sign in at the configured identity provider"
NO_FACTOR = "no lookup secret, code or one-time password is made or taken here: factors are the identity provider's"
NO_SERVER = (
    "the gate is no authorization server; that of `serve --dev` answers its own machine alone and is no security"
)
NO_GRAPHQL = "there is no GraphQL"
NO_WEBSOCKET = "there is no WebSocket: a handshake for one is closed"
IDENTITY = "unit/identity/"
FORGED = IDENTITY + "test_forgeries.py::test_a_forged_token_is_refused_with_its_code_and_repeats_nothing_of_it"
CONSOLE = "e2e/console/"
SIGNING_IN = CONSOLE + "test_signing_in.py::"
BAD_DAYS = "e2e/test_bad_days_"
MATRIX = "matrix/test_access.py::test_every_route_answers_every_kind_of_caller_as_reviewed"
GOLDENS = "unit/policies/test_goldens.py::test_every_golden_decision_holds_on_regorus"
POLICIES = "unit/policies/test_configuration.py::"
PAGES = "test_documents.py::"

# fmt: off
ITEMS: tuple[Item, ...] = (
    # -- V2
    _("2.1.1", 1, "every body, parameter and argument has a schema, in `/openapi.json` and in the actions' manifests; what is not in it is refused", "e2e/test_openapi.py::test_no_request_from_the_document_gets_an_answer_that_is_not_in_it", POLICIES + "test_each_manifest_fits_the_manifest_schema", "matrix/test_access.py::test_the_application_serves_nothing_beside_the_table", page="policies/README.md#Changing it"),
    _("2.1.2", 2, "what must fit together (action, target, environment, arguments, session, evidence) is policy's rules; each has a title, a reason and goldens that show it", POLICIES + "test_every_rule_that_gives_a_reason_names_it_in_its_metadata", "unit/policies/test_goldens.py::test_removing_any_rule_or_condition_breaks_a_golden", page="policies/README.md#How a decision comes about"),
    _("2.1.3", 2, "limits of a party, session, tenant, target and of all are values of the policy; those of the process stand in the settings and in the table of queues", POLICIES + "test_each_area_of_the_configuration_fits_its_schema", "test_docs.py::test_the_generated_pages_are_fresh", page="broker/web/README.md#Overload"),
    _("2.2.1", 1, "strict JSON, closed schemas, arguments by the manifest's types and policy's bounds; anything else is refused by field", "e2e/test_guard.py::test_json_that_readers_disagree_on_is_400", BAD_DAYS + "two_doors.py::test_what_a_route_refuses_post_actions_refuses_too", POLICIES + "test_schemas_allow_no_unknown_field", "unit/test_obligations.py::test_a_bound_keeps_what_it_names_and_refuses_what_it_cannot_compare"),
    _("2.2.2", 1, "the gate alone checks; a page that offers less or more changes nothing", BAD_DAYS + "two_doors.py::test_what_a_route_refuses_post_actions_refuses_too", CONSOLE + "test_reviewing.py::test_what_is_narrowed_on_the_page_runs_so_and_a_form_that_widens_is_refused_there"),
    _("2.2.3", 2, "what must fit together is asked of policy and connectors at each request: half a target, a window that is too wide for its step, another decision's digest", GOLDENS, "e2e/test_breakglass.py::test_an_action_that_does_not_exist_or_half_a_target_is_refused", "unit/connectors/test_promql.py::test_a_window_too_wide_or_too_fine_is_refused_with_the_step_that_would_do", BAD_DAYS + "approvals.py::test_an_approval_is_for_what_was_shown_and_serves_once"),
    _("2.3.1", 1, "nothing begins before its approval, and an incident goes along its table of states, in the database too", "unit/test_approvals.py::test_what_is_not_approved_does_not_begin", "unit/incidents/test_states.py::test_the_database_allows_exactly_the_transitions_of_the_table"),
    _("2.3.2", 2, "policy's buckets and a session's budgets hold, over replicas and steps of the clock", "unit/test_limits.py::test_four_processes_together_never_pass_more_than_burst_and_rate", BAD_DAYS + "secrets_and_limits.py::test_a_burst_is_refused_with_when_to_come_back_and_on_record", "unit/test_sessions.py::test_racing_actions_never_overdraw_a_budget"),
    _("2.3.3", 2, "one transaction a step: all of it or nothing; an effect whose end is unknown is closed as that and not repeated", "unit/store/test_engine.py::test_a_query_that_raises_leaves_nothing", "unit/incidents/test_states.py::test_a_transition_whose_event_cannot_be_written_did_not_happen", "unit/test_limits.py::test_all_limits_pass_together_or_none_is_charged", BAD_DAYS + "crash.py::test_a_crash_in_the_middle_is_closed_by_what_the_target_says_and_never_repeated"),
    _("2.3.4", 2, "an approval serves once and a target has one holder, whoever races on however many replicas", "unit/test_approval_races.py::test_of_eight_threads_on_two_replicas_one_executes", "unit/test_leases.py::test_racing_holders_of_overlapping_keys_never_hold_one_key_together"),
    _("2.4.1", 2, "attempts are counted by party at every door, work waits in bounded lanes by tenant, tokens and bytes have budgets", BAD_DAYS + "way_in.py::test_attempts_are_counted_on_every_door_of_the_path", BAD_DAYS + "way_in.py::test_refusals_cannot_fill_the_log", "unit/web/test_lanes.py::test_in_a_full_queue_the_tenant_with_most_in_it_gives_way"),
    # -- V4
    _("4.1.1", 1, "every answer with a body says its type, text with its characters", "e2e/test_answers.py::test_every_answer_says_what_it_is_in_which_characters_and_is_kept_by_nobody"),
    _("4.1.2", 2, "no answer leads to another scheme, and no program anywhere: only a person's browser is led, to the sign-in and back", "e2e/test_answers.py::test_only_people_are_led_elsewhere_and_never_to_another_scheme"),
    _("4.1.3", 2, "`Client-Cert` counts from a configured proxy alone, which takes away what clients send; no `X-Forwarded-*` is read", "e2e/test_client_certificates.py::test_the_header_counts_from_a_configured_proxy_alone", "e2e/test_front_proxy.py::test_a_certificate_is_what_the_proxy_saw_and_never_what_a_client_says", "e2e/test_answers.py::test_what_a_client_says_of_forwarding_changes_nothing"),
    _("4.2.1", 2, "HTTP/1.1 alone; a request with two lengths, or a length and chunks, is refused by gate and proxy alike", "e2e/test_front_proxy.py::test_gate_and_proxy_never_disagree_where_a_request_ends", "e2e/test_guard.py::test_requests_that_two_readers_could_read_differently_are_refused"),
    _na("4.3.1", 2, NO_GRAPHQL),
    _na("4.3.2", 2, NO_GRAPHQL),
    _na("4.4.1", 1, NO_WEBSOCKET),
    _na("4.4.2", 2, NO_WEBSOCKET),
    _na("4.4.3", 2, NO_WEBSOCKET),
    _na("4.4.4", 2, NO_WEBSOCKET),
    # -- V6
    _na("6.1.1", 1, NO_PASSWORD + "; what is taken (signed tokens, 256 random bits) cannot be guessed, and there is no account to lock"),
    _na("6.1.2", 2, NO_PASSWORD),
    _("6.1.3", 2, "one table names every way in, by what, and what it cannot do; a test compares it with the routes", PAGES + "test_the_ways_in_are_those_of_the_routes", page="broker/identity/README.md#Ways in"),
    *(_na(f"6.2.{number}", 1, NO_PASSWORD) for number in range(1, 9)),
    *(_na(f"6.2.{number}", 2, NO_PASSWORD) for number in range(9, 13)),
    _na("6.3.1", 1, NO_PASSWORD + "; wrong codes at the development provider close it for a while all the same"),
    _("6.3.2", 1, "the gate has no account of its own; the development personas come with `--dev` alone, behind a code that is drawn at the start", "unit/test_config.py::test_the_development_profile_comes_with_development_alone", IDENTITY + "test_dev_provider.py::test_it_is_not_built_outside_development_or_with_a_code_that_can_be_guessed"),
    _gap("6.3.3", 2, "to sign in, the provider's own rule counts. The gate asks for a method where people approve (`console.step_up_acr`) and for a security key at tier 3; it does not ask for two factors of everybody", "e2e/test_challenges.py::test_approving_asks_for_the_configured_method_and_refusing_does_not", "e2e/test_signed_approvals.py::test_no_other_signature_approves_it"),
    _("6.3.4", 2, "a route that is not in the table does not exist, each kind of credential counts on its own side, and a bound token is proven at every door", "matrix/test_access.py::test_the_application_serves_nothing_beside_the_table", CONSOLE + "test_forms_and_cookies.py::test_each_credential_counts_on_its_own_side_only", "e2e/test_bound_tokens.py::test_the_doors_are_all_that_ask_who_is_there", "e2e/test_bound_tokens.py::test_every_door_asks_for_the_proof_of_a_token_bound_to_a_key", PAGES + "test_the_ways_in_are_those_of_the_routes"),
    _na("6.4.1", 1, NO_PASSWORD),
    _na("6.4.2", 1, NO_PASSWORD),
    _na("6.4.3", 2, NO_PASSWORD),
    _("6.4.4", 2, "who lost a security key registers another as the first one: with a fresh sign-in, and it counts when a second person has confirmed it", "unit/authenticators/test_desk.py::test_a_key_counts_from_its_confirmation_by_somebody_else_until_it_is_removed", "e2e/test_signed_approvals.py::test_registering_needs_a_fresh_sign_in_and_its_own_person"),
    *(_na(f"6.5.{number}", 2, NO_FACTOR) for number in range(1, 6)),
    *(_na(f"6.6.{number}", 2, NO_FACTOR) for number in range(1, 4)),
    _("6.8.1", 2, "a party is issuer profile and subject together; the keys of one issuer sign for no other", IDENTITY + "test_principals.py::test_equal_subjects_of_two_issuers_are_two_parties", IDENTITY + "test_forgeries.py::test_a_token_of_one_issuer_signed_by_the_key_of_another_is_refused"),
    _("6.8.2", 2, "every token's signature is checked over the bytes received; unsigned or changed ones are nobody's", FORGED, "vectors/identity/test_wycheproof.py::test_no_forged_vector_is_accepted", IDENTITY + "test_login.py::test_an_id_token_of_another_key_or_another_issuer_signs_nobody_in"),
    _na("6.8.3", 2, "there is no SAML"),
    _("6.8.4", 2, "where policy wants presence or a method, `auth_time` and `acr` of the issuer count, at the API and at the console; an issuer that says nothing has proven nothing", "e2e/test_challenges.py::test_a_review_with_an_old_sign_in_is_told_how_fresh_it_must_be", "e2e/test_challenges.py::test_approving_asks_for_the_configured_method_and_refusing_does_not", IDENTITY + "test_login.py::test_a_step_up_asks_for_presence_and_believes_only_what_was_done"),
    # -- V7
    _("7.1.1", 2, "limits, defaults and the reason of each; a test compares them with the code", PAGES + "test_the_limits_of_a_login_are_those_of_the_settings", page="broker/web/console/README.md#How long, how many"),
    _("7.1.2", 2, "any number of logins, one a browser; said with the reason, and shown", SIGNING_IN + "test_the_providers_logout_ends_every_login_of_the_person", "unit/test_logins.py::test_a_new_sign_in_ends_the_one_that_the_browser_had_and_no_other", page="broker/web/console/README.md#How long, how many"),
    _("7.1.3", 2, "which provider's session a login hangs on, what ends which, and when it is asked again", CONSOLE + "test_corporate_sign_in.py::test_the_providers_logout_ends_the_login_of_that_session_alone", CONSOLE + "test_corporate_sign_in.py::test_signing_out_here_ends_the_providers_session_too", page="broker/web/console/README.md#How long, how many"),
    _("7.2.1", 1, "a cookie's value is looked up in the gate's database at every request", "unit/test_logins.py::test_any_other_value_is_nobody", CONSOLE + "test_forms_and_cookies.py::test_each_credential_counts_on_its_own_side_only", "matrix/test_console.py::test_every_console_route_answers_every_kind_of_caller_as_reviewed"),
    _("7.2.2", 1, "each sign-in draws a value of its own; tokens of the API live for at most their profile's time; there are no static keys", SIGNING_IN + "test_signing_in_makes_a_new_login_and_ends_the_one_the_browser_had", FORGED),
    _("7.2.3", 1, "256 bits of the system's generator, kept as a keyed hash; nothing of the gate draws from another generator", "unit/test_logins.py::test_the_value_brings_the_person_back_and_the_database_knows_its_hash_only", PAGES + "test_what_must_not_be_guessed_comes_from_the_systems_generator"),
    _("7.2.4", 1, "a sign-in, a repeated one too, makes a new value and ends the old one in the same step", SIGNING_IN + "test_signing_in_makes_a_new_login_and_ends_the_one_the_browser_had", "unit/test_logins.py::test_a_new_sign_in_ends_the_one_that_the_browser_had_and_no_other"),
    _("7.3.1", 2, "half an hour without use ends a login; a page that refreshes itself is no use", SIGNING_IN + "test_a_login_ends_without_use_and_at_its_limit_and_a_page_that_refreshes_itself_is_no_use", "unit/test_logins.py::test_a_page_that_refreshes_itself_keeps_nobody_signed_in"),
    _("7.3.2", 2, "eight hours end a login however it is used", SIGNING_IN + "test_a_login_ends_without_use_and_at_its_limit_and_a_page_that_refreshes_itself_is_no_use", "unit/test_logins.py::test_it_ends_without_use_and_at_its_limit"),
    _("7.4.1", 1, "an ended login is closed in the database for every replica at once; who holds a token is stopped by the kill switch", SIGNING_IN + "test_signing_out_ends_the_login_and_leads_to_the_providers_own_logout", SIGNING_IN + "test_a_logout_on_one_replica_is_seen_by_the_other_at_once", "unit/test_killswitch.py::test_a_pulled_switch_is_seen_by_other_replicas_at_once_and_survives_a_restart"),
    _("7.4.2", 1, "accounts are the provider's: its back-channel logout ends every login of the person, and a role that is gone counts at the next request", SIGNING_IN + "test_the_providers_logout_ends_every_login_of_the_person", CONSOLE + "test_forms_and_cookies.py::test_a_role_lost_while_a_page_is_open_counts_at_the_next_request"),
    _na("7.4.3", 2, "the factors of a sign-in are the provider's to change, and its logout reaches the gate (7.4.2); a security key of the gate signs approvals and signs nobody in"),
    _("7.4.4", 2, "every page for a signed-in person has the button to sign out", "unit/console/test_static.py::test_every_page_has_the_button_to_sign_out", "browser/test_pages.py::test_signing_out_is_one_button_and_leaves_nothing"),
    _("7.4.5", 2, "for one person by the provider's administrator (back-channel logout), for everybody by a new `keys/console.key`", SIGNING_IN + "test_the_providers_logout_ends_every_login_of_the_person", "e2e/test_key_rotation.py::test_a_new_console_key_signs_everybody_out"),
    _("7.5.1", 2, "to register a security key needs a fresh sign-in of its own person; all else that bears on signing in is the provider's", "e2e/test_signed_approvals.py::test_registering_needs_a_fresh_sign_in_and_its_own_person"),
    _gap("7.5.2", 2, "a person ends the login of the browser at hand; there is no list of one's logins, and to end the others is the provider's (back-channel logout)", SIGNING_IN + "test_signing_out_ends_the_login_and_leads_to_the_providers_own_logout"),
    _("7.6.1", 2, "the provider's logout ends what it names, a login has limits of its own, and presence is asked of the provider anew where policy wants it", CONSOLE + "test_corporate_sign_in.py::test_the_providers_logout_ends_the_login_of_that_session_alone", CONSOLE + "test_corporate_sign_in.py::test_a_review_needs_presence_and_the_method_that_is_configured", SIGNING_IN + "test_a_login_ends_without_use_and_at_its_limit_and_a_page_that_refreshes_itself_is_no_use"),
    _("7.6.2", 2, "a sign-in begins where the person opens the console or clicks in it; whom another site led here is asked first, though the provider may still know them", SIGNING_IN + "test_another_sites_page_makes_no_login_without_a_click_here", SIGNING_IN + "test_a_code_counts_in_the_browser_that_began_the_sign_in_only"),
    # -- V8
    _("8.1.1", 1, "grants by role, action, environment and type of target are values with a schema; how they make a decision is said", POLICIES + "test_grants_name_declared_actions_and_every_action_is_granted_to_somebody", POLICIES + "test_each_area_of_the_configuration_fits_its_schema", page="policies/README.md#How a decision comes about"),
    _("8.1.2", 2, "which arguments are bound, which fields are replaced and for whom they are restored are values of the policy (`bounds`, `redaction`, `disclosure`)", POLICIES + "test_bounds_and_restored_arguments_are_arguments_of_their_actions", POLICIES + "test_zones_classes_and_profiles_are_defined_where_they_are_used", page="policies/README.md#How a decision comes about"),
    _("8.2.1", 1, "no grant, no action: every route for every kind of caller, and every rule by its goldens", MATRIX, "matrix/test_console.py::test_every_console_route_answers_every_kind_of_caller_as_reviewed", GOLDENS),
    _("8.2.2", 1, "what is somebody else's does not exist: sessions, actions, observations and answers are their owners'", BAD_DAYS + "owners.py::test_an_agent_reads_for_bob_nothing_that_it_made_for_alice", "unit/test_sessions.py::test_a_session_serves_the_pair_that_opened_it_and_nobody_else", BAD_DAYS + "tenants_and_keys.py::test_a_stranger_with_every_role_meets_nothing_of_another_tenant"),
    _("8.2.3", 2, "fields are refused or left out one by one: unknown ones in, arguments beyond policy's bounds, settings and names for whom they are not", "unit/test_obligations.py::test_a_bound_keeps_what_it_names_and_refuses_what_it_cannot_compare", CONSOLE + "test_forms_and_cookies.py::test_the_health_page_shows_no_secret_and_settings_to_the_operators_tenant_only", BAD_DAYS + "tenants.py::test_who_changed_the_policy_is_told_to_the_operators_people_only", BAD_DAYS + "two_doors.py::test_what_a_route_refuses_post_actions_refuses_too"),
    _("8.3.1", 1, "policy decides in the gate, from facts that the gate gathered; what a caller says stands apart and permits nothing", MATRIX, "e2e/test_remedy_loops.py::test_what_an_agent_says_of_tier_reach_or_evidence_changes_no_facts", "e2e/test_incidents.py::test_claims_are_recomputed_and_what_the_agent_asserts_changes_nothing"),
    _("8.4.1", 2, "every query names its tenant, and a stranger with every role meets nothing", "unit/store/test_isolation.py::test_a_foreign_tenants_rows_are_absent_and_untouched", "unit/store/test_isolation.py::test_every_query_that_takes_a_tenant_is_probed_here", BAD_DAYS + "tenants_and_keys.py::test_a_stranger_with_every_role_meets_nothing_of_another_tenant"),
    # -- V9
    _("9.1.1", 1, "nothing of a token counts before its signature holds", FORGED, IDENTITY + "test_mutations.py::test_a_token_with_any_character_changed_added_or_removed_is_refused"),
    _("9.1.2", 1, "the profile's list of asymmetric algorithms; `none` and HMAC by a public key are refused", FORGED, IDENTITY + "test_forgeries.py::test_the_signature_check_alone_holds_algorithm_key_and_curve_together"),
    _("9.1.3", 1, "keys come from the issuer's configured or discovered set; a token that names its own is refused", FORGED, IDENTITY + "test_keyset.py::test_a_discovery_document_that_names_another_issuer_or_an_unsafe_address_is_not_followed", IDENTITY + "test_keyset.py::test_a_key_that_the_set_names_twice_is_not_used"),
    _("9.2.1", 1, "`nbf`, `iat` and `exp` by the gate's clock, also while a token is remembered", FORGED, IDENTITY + "test_cache.py::test_a_cached_token_expires_by_its_own_time"),
    _("9.2.2", 2, "access tokens at the API, ID tokens at the sign-in, logout tokens at the logout, by type and claims", FORGED, IDENTITY + "test_login.py::test_another_kind_of_token_is_no_id_token", IDENTITY + "test_login.py::test_a_logout_token_with_anything_wrong_ends_nothing"),
    _("9.2.3", 2, "a token for another audience is refused", FORGED, IDENTITY + "test_login.py::test_an_id_token_that_does_not_fit_signs_nobody_in"),
    _("9.2.4", 2, "what the gate signs for a token exchange names the one authorization server that it is for; it issues no other tokens", "e2e/test_exchange.py::test_an_agent_on_behalf_of_a_person_reaches_the_system_as_both_and_its_token_stays_here"),
    # -- V10
    _("10.1.1", 2, "the browser holds a cookie and no token; the caller's token goes neither to a target nor into the database", SIGNING_IN + "test_the_database_and_the_log_hold_neither_cookie_nor_token", "e2e/test_exchange.py::test_an_agent_on_behalf_of_a_person_reaches_the_system_as_both_and_its_token_stays_here", BAD_DAYS + "secrets_and_limits.py::test_tokens_and_planted_values_stay_out_of_every_place"),
    _("10.1.2", 2, "state, nonce and verifier are drawn for one attempt and sealed into the browser that began it", SIGNING_IN + "test_a_code_counts_in_the_browser_that_began_the_sign_in_only", IDENTITY + "test_login.py::test_what_the_browser_carries_is_sealed_and_of_this_gate", CONSOLE + "test_corporate_sign_in.py::test_an_answer_that_was_changed_or_is_anothers_signs_nobody_in"),
    _("10.2.1", 2, "PKCE and `state`, both", IDENTITY + "test_login.py::test_the_code_is_redeemed_with_the_verifier_of_its_challenge_and_the_clients_secret", SIGNING_IN + "test_an_answer_of_the_provider_that_does_not_fit_signs_nobody_in"),
    _("10.2.2", 2, "the console signs in at one issuer, whose answer must name it where it promises to", SIGNING_IN + "test_an_answer_of_the_provider_that_does_not_fit_signs_nobody_in", IDENTITY + "test_login.py::test_the_answer_must_name_the_issuer_where_the_provider_promises_to", CONSOLE + "test_corporate_sign_in.py::test_an_answer_that_was_changed_or_is_anothers_signs_nobody_in"),
    _("10.3.1", 2, "a token for another audience is refused", FORGED),
    _("10.3.2", 2, "subject, actor, scopes and groups are what policy decides on; a token for details that nobody here reads is refused", IDENTITY + "test_principals.py::test_an_agent_on_behalf_brings_both_parties_each_with_its_own_roles", IDENTITY + "test_real_issuers.py::test_a_token_without_a_scope_that_configuration_asks_for_is_no_right", GOLDENS, FORGED),
    _("10.3.3", 2, "a party is issuer profile and subject; of Entra the object id", IDENTITY + "test_principals.py::test_equal_subjects_of_two_issuers_are_two_parties", IDENTITY + "test_real_issuers.py::test_each_shape_is_the_party_that_configuration_says"),
    _("10.3.4", 2, "`auth_time` and `acr` of the token shown are what a review is judged by", "e2e/test_challenges.py::test_a_review_with_an_old_sign_in_is_told_how_fresh_it_must_be", "e2e/test_challenges.py::test_approving_asks_for_the_configured_method_and_refusing_does_not"),
    *(_na(f"10.4.{number}", 1, NO_SERVER) for number in range(1, 6)),
    *(_na(f"10.4.{number}", 2, NO_SERVER) for number in range(6, 12)),
    _("10.5.1", 2, "the ID token's nonce is the attempt's", IDENTITY + "test_login.py::test_an_id_token_that_does_not_fit_signs_nobody_in"),
    _("10.5.2", 2, "the person is the issuer's profile and `sub` (of Entra `oid`), the same in both tokens", IDENTITY + "test_login.py::test_an_id_token_that_does_not_fit_signs_nobody_in", IDENTITY + "test_login.py::test_the_person_is_who_the_access_token_says_with_the_presence_of_the_id_token"),
    _("10.5.3", 2, "metadata that does not name its issuer letter by letter ends the sign-in", IDENTITY + "test_login.py::test_metadata_that_is_not_the_issuers_own_ends_the_sign_in", IDENTITY + "test_keyset.py::test_a_discovery_document_that_names_another_issuer_or_an_unsafe_address_is_not_followed"),
    _("10.5.4", 2, "`aud` and `azp` of the ID token are the console's client", IDENTITY + "test_login.py::test_an_id_token_that_does_not_fit_signs_nobody_in"),
    _("10.5.5", 2, "a logout token has its type, its event, an age of two minutes at most, and no nonce", IDENTITY + "test_login.py::test_a_logout_token_with_anything_wrong_ends_nothing", SIGNING_IN + "test_a_logout_token_that_is_none_ends_nothing"),
    *(_na(f"10.6.{number}", 2, NO_SERVER) for number in (1, 2)),
    *(_na(f"10.7.{number}", 2, NO_SERVER) for number in (1, 2, 3)),
    # -- V13
    _("13.1.1", 2, "one table names all that the gate connects to, by which setting; no caller can name an address", PAGES + "test_what_the_gate_talks_to_is_all_that_can_be_configured", "e2e/test_egress_boundary.py::test_nothing_but_egress_opens_a_client", page="deploy/README.md#What it talks to"),
    _gap("13.2.1", 2, "OPA is reached on a socket of its group, the bundle by a token, targets by short-lived tokens where they take an exchange; a model provider's key, a bearer file and a database's password stay what they are until somebody changes them", "e2e/test_exchange.py::test_an_agent_on_behalf_of_a_person_reaches_the_system_as_both_and_its_token_stays_here", "e2e/test_cluster_keys.py::test_the_clusters_keys_are_fetched_with_the_pods_own_token_as_it_is_now"),
    _("13.2.2", 2, "pods and units without rights, OPA for one question, a database's writer that cannot change the past, servers that are children with an environment of their own", "test_helm.py::test_every_pod_is_restricted_and_writes_to_its_volumes_alone", "test_systemd.py::test_the_units_are_shut", "e2e/test_policy_opa.py::test_the_deployed_authorization_allows_the_gates_question_alone", "unit/audit/test_log.py::test_on_postgresql_the_writer_needs_no_right_to_change_the_past", "unit/connectors/test_mcp_stdio.py::test_a_server_finds_nothing_of_the_gates_in_its_environment"),
    _("13.2.3", 2, "nothing ships with a credential: passwords and tokens are files that the operator draws", "test_deploy.py::test_no_secret_stands_in_the_files", "test_helm.py::test_no_value_of_a_secret_is_rendered", "unit/test_config.py::test_the_development_profile_comes_with_development_alone"),
    _("13.2.4", 2, "each connection goes to a configured origin at an address of a named network, whatever a name resolves to", "e2e/test_egress_boundary.py::test_no_connector_reaches_an_address_off_its_list_after_any_lookup", "unit/test_egress.py::test_a_target_outside_the_origin_is_refused_before_a_connection", "unit/test_egress.py::test_a_redirect_is_refused_and_not_followed", "unit/connectors/test_logs.py::test_a_log_file_that_is_a_link_leads_nowhere_else"),
    _("13.2.5", 2, "around it, network policies and networks of the shipped deployments let out what is named", "test_helm.py::test_every_pod_reaches_what_is_named_and_nothing_else", "test_deploy.py::test_the_outside_reaches_the_proxy_alone_and_only_the_gate_reaches_the_outside"),
    _gap("13.3.1", 2, "secrets are files that a vault, a cluster or systemd brings, and none is in the source or the image; the gate's own keys are files of mode 0600 in its data folder, without a vault or KMS", "unit/audit/test_log.py::test_keys_of_others_eyes_or_wrong_length_are_refused", "test_systemd.py::test_every_secret_of_the_example_is_a_credential_of_the_unit", "test_deploy.py::test_no_secret_stands_in_the_files"),
    _("13.3.2", 2, "a key that others can read is refused, the doctor tells of such a file, and neither a policy worker nor a child has the gate's environment", "unit/audit/test_log.py::test_keys_of_others_eyes_or_wrong_length_are_refused", "unit/cli/test_doctor.py::test_a_credential_for_everybody_is_told", "unit/policy/test_regorus.py::test_the_worker_has_an_empty_environment_and_no_other_descriptor", "unit/connectors/test_mcp_stdio.py::test_a_server_finds_nothing_of_the_gates_in_its_environment"),
    _("13.4.1", 1, "the image holds what is listed and no source control; no such path is served", "test_deploy.py::test_what_the_image_copies_is_let_through_by_the_ignore_file", "e2e/test_answers.py::test_no_folder_is_listed_and_no_file_but_the_consoles_own_is_served"),
    _("13.4.2", 2, "a failure is a reference and nothing of itself; development is a mode of its own that answers this machine alone", CONSOLE + "test_failures.py::test_a_broken_template_is_a_page_with_a_reference_and_no_stack", BAD_DAYS + "way_in.py::test_a_defect_in_reading_refuses_on_record_and_says_nothing_of_itself", "unit/cli/test_host_commands.py::test_dev_listens_on_loopback_only"),
    _("13.4.3", 2, "files are served by name from memory; no folder is listed", "e2e/test_answers.py::test_no_folder_is_listed_and_no_file_but_the_consoles_own_is_served"),
    _("13.4.4", 2, "TRACE is refused, as is every method that a path does not take", "e2e/test_guard.py::test_requests_that_two_readers_could_read_differently_are_refused", BAD_DAYS + "way_in.py::test_other_methods_are_405_on_every_path_and_name_those_that_it_takes"),
    _("13.4.5", 2, "metrics, readiness and the bundle stay inside at the shipped proxy; `/openapi.json` is meant to be read; nothing else is there", "e2e/test_front_proxy.py::test_an_event_goes_through_when_it_comes_and_the_gates_own_pages_stay_inside", "matrix/test_access.py::test_the_application_serves_nothing_beside_the_table"),
    # -- V14
    _("14.1.1", 2, "one table of levels; it holds every class of the log's fields and every data class of the policy", PAGES + "test_the_levels_of_data_are_those_of_log_and_policy", page="SECURITY.md#Data, by how it is protected"),
    _("14.1.2", 2, "the table says of each level where it is kept, how, who reads it and how long", PAGES + "test_the_levels_of_data_are_those_of_log_and_policy", page="SECURITY.md#Data, by how it is protected"),
    _("14.2.1", 1, "a token counts in its header alone and a text to be looked at goes in a body; a search of the log names whom it looks for in its address, and the return from a sign-in carries a code for one use, bound by PKCE", "e2e/test_answers.py::test_a_token_counts_in_its_header_alone", CONSOLE + "test_redaction_lab.py::test_nothing_of_the_text_is_kept_anywhere"),
    _("14.2.2", 2, "no answer may be kept on the way; of a token the process remembers a hash", "e2e/test_answers.py::test_every_answer_says_what_it_is_in_which_characters_and_is_kept_by_nobody", IDENTITY + "test_cache.py::test_no_part_of_a_token_is_kept"),
    _("14.2.3", 2, "models and targets get what redaction and policy leave; pages load nothing from elsewhere", "e2e/test_one_path.py::test_a_model_sees_only_what_redaction_left", BAD_DAYS + "model.py::test_no_position_of_a_prompt_carries_a_planted_value_to_the_model", CONSOLE + "test_forms_and_cookies.py::test_every_answer_of_the_console_says_the_same_to_the_browser"),
    _("14.2.4", 2, "contents are encrypted and can be erased, leaves hold no name or text, personal data never leaves its region's rules", "unit/audit/test_log.py::test_a_payload_reads_back_and_is_nowhere_in_clear", "unit/audit/test_log.py::test_erasing_a_key_takes_its_payloads_and_nothing_else", BAD_DAYS + "records.py::test_a_callers_own_words_never_enter_a_leaf", "unit/test_obligations.py::test_data_goes_only_where_it_may", BAD_DAYS + "secrets_and_limits.py::test_tokens_and_planted_values_stay_out_of_every_place"),
    _("14.3.1", 1, "signing out replaces the page, and no page of before comes back from the browser's keeping; an open stream ends", "browser/test_pages.py::test_signing_out_is_one_button_and_leaves_nothing", "browser/test_bad_days.py::test_a_sign_out_elsewhere_ends_the_stream_for_good_and_the_page_says_why"),
    _("14.3.2", 2, "every answer but the console's own stylesheet and scripts is `no-store`", "e2e/test_answers.py::test_every_answer_says_what_it_is_in_which_characters_and_is_kept_by_nobody", CONSOLE + "test_forms_and_cookies.py::test_every_answer_of_the_console_says_the_same_to_the_browser"),
    _("14.3.3", 2, "the console keeps in a browser whether its keys are on, the login, a sealed sign-in under way, and for a minute the notice of what was just done", "unit/console/test_static.py::test_the_browser_keeps_nothing_but_whether_keys_are_on", IDENTITY + "test_login.py::test_what_the_browser_carries_is_sealed_and_of_this_gate"),
    # -- V16
    _("16.1.1", 2, "one table says what is written where, who reads it and how long; it names every event, and a test compares it with the code", PAGES + "test_the_events_of_telemetry_are_those_that_are_described", "test_docs.py::test_the_generated_pages_are_fresh", page="broker/telemetry/README.md#What is written where"),
    _("16.2.1", 2, "a record says when, who, what, to what, by which decision, and is found by each", "e2e/test_log_reading.py::test_records_are_found_by_who_what_when_and_why", "unit/audit/test_vectors.py::test_the_recorded_leaves_hold_every_kind_and_hash_as_recorded", "unit/telemetry/test_lines_and_counts.py::test_a_line_carries_the_ids_of_what_is_under_way_and_nobody_elses"),
    _("16.2.2", 2, "times are nanoseconds of the epoch on record and UTC in lines; the doctor compares the clocks of host, database and issuers", "unit/telemetry/test_refused_credentials.py::test_what_could_be_an_attempt_to_get_by_is_a_line_and_what_is_nobodys_fault_is_none", "unit/cli/test_doctor.py::test_the_databases_clock_is_asked", "unit/cli/test_doctor.py::test_clocks_apart_are_told_by_how_much_it_matters"),
    _("16.2.3", 2, "what is written goes where the table says: nothing else opens a connection, and OPA writes no decision down", "e2e/test_egress_boundary.py::test_nothing_but_egress_opens_a_client", "test_deploy.py::test_opa_writes_no_decision_down_and_asks_nobody_but_the_gate", PAGES + "test_the_events_of_telemetry_are_those_that_are_described"),
    _("16.2.4", 2, "lines are JSON, records are canonical JSON in a published format that others' tools read", "unit/telemetry/test_lines_and_counts.py::test_no_secret_of_the_corpus_gets_into_a_line_or_a_span_by_any_field", "e2e/test_log_fsck.py::test_it_accepts_every_size_of_a_growing_log", "unit/audit/test_vectors.py::test_an_auditor_can_follow_the_worked_example_with_sha256sum_and_jq"),
    _("16.2.5", 2, "by level: no credential, text or name in lines or leaves; a login is named by a keyed hash", "unit/telemetry/test_lines_and_counts.py::test_no_secret_of_the_corpus_gets_into_a_line_or_a_span_by_any_field", BAD_DAYS + "secrets_and_limits.py::test_tokens_and_planted_values_stay_out_of_every_place", "test_style.py::test_each_field_of_a_record_is_classified", SIGNING_IN + "test_each_sign_in_each_refused_one_and_each_end_of_one_is_a_line_that_names_nobody"),
    _("16.3.1", 2, "each sign-in to the console, its end and each refused one is a line with issuer and method; a token's every use is an action on record, a token that does not hold a line, one that ran out a count", SIGNING_IN + "test_each_sign_in_each_refused_one_and_each_end_of_one_is_a_line_that_names_nobody", "unit/telemetry/test_refused_credentials.py::test_a_line_a_code_and_a_while_says_how_many_there_were", CONSOLE + "test_forms_and_cookies.py::test_a_page_is_an_action_of_the_person_on_record"),
    _("16.3.2", 2, "every decision, a no too, is on record with its code, and a flood of them as one", "e2e/test_log_reading.py::test_records_are_found_by_who_what_when_and_why", BAD_DAYS + "way_in.py::test_refusals_cannot_fill_the_log", "e2e/test_mcp_calls.py::test_a_hidden_tool_and_a_name_that_nobody_has_get_the_same_answer_on_record"),
    _("16.3.3", 2, "limits and denials are on record, requests in a form to get by are lines, and all are counted by code for the alert rules", BAD_DAYS + "secrets_and_limits.py::test_a_burst_is_refused_with_when_to_come_back_and_on_record", "unit/telemetry/test_refused_credentials.py::test_what_could_be_an_attempt_to_get_by_is_a_line_and_what_is_nobodys_fault_is_none", "test_monitoring.py::test_every_refusal_that_a_rule_waits_for_is_a_code_of_the_gate"),
    _("16.3.4", 2, "a failure is a line with its class and place, and a target that fails an outcome on record with its code", CONSOLE + "test_failures.py::test_a_broken_template_is_a_page_with_a_reference_and_no_stack", "e2e/test_exchange.py::test_an_agent_on_behalf_of_a_person_reaches_the_system_as_both_and_its_token_stays_here", "unit/test_egress.py::test_a_server_is_believed_only_with_a_certificate_of_the_named_authority"),
    _("16.4.1", 2, "a value passes by its form alone, as one JSON line; records hold no line break, whatever a caller wrote", "unit/telemetry/test_lines_and_counts.py::test_no_secret_of_the_corpus_gets_into_a_line_or_a_span_by_any_field", "e2e/test_guard.py::test_naughty_strings_are_data_wherever_they_stand"),
    _("16.4.2", 2, "the log is read by policy's leave; triggers refuse a change, and a changed byte of the published log is found", "unit/audit/test_store.py::test_triggers_refuse_changes_of_the_past", "property/audit/test_flips.py::test_every_flipped_byte_of_checkpoint_tile_and_bundle_is_found", "e2e/test_cli_log.py::test_an_agent_may_not_read_the_log", "e2e/test_events.py::test_one_tenant_never_sees_the_other"),
    _gap("16.4.3", 2, "the log is there for others to copy (published tiles, exports, `GET /v1/events`) and a kept checkpoint shows what was changed since; the gate itself sends neither records nor lines to another system", "unit/audit/test_verify.py::test_a_rewritten_history_needs_a_known_checkpoint", "e2e/test_events.py::test_a_cut_stream_resumes_where_it_was_without_loss_or_repeat"),
    _("16.5.1", 2, "a failure is told as a reference and a remedy; refusals name fields and never values", CONSOLE + "test_failures.py::test_a_broken_template_is_a_page_with_a_reference_and_no_stack", BAD_DAYS + "way_in.py::test_a_defect_in_reading_refuses_on_record_and_says_nothing_of_itself", BAD_DAYS + "secrets_and_limits.py::test_an_error_names_fields_and_never_a_value", "e2e/test_openapi.py::test_no_request_from_the_document_gets_an_answer_that_is_not_in_it"),
    _("16.5.2", 2, "an issuer, engine, collector or target that is away refuses or costs a count, and is used again when it is back", IDENTITY + "test_keyset.py::test_a_silent_issuer_is_tolerated_for_a_day_and_then_nothing_is_believed", "e2e/test_policy_opa.py::test_a_frozen_opa_denies_by_timeout_and_recovers", "e2e/test_traces.py::test_a_collector_that_is_away_costs_a_counter_and_holds_nothing_up", "unit/audit/test_faults.py::test_a_full_disk_refuses_and_then_recovers"),
    _("16.5.3", 2, "no decision, no record, no scan: nothing is done, whatever failed", "e2e/test_policy_opa_answers.py::test_every_answer_that_is_no_decision_has_its_own_refusal", BAD_DAYS + "storage.py::test_a_locked_log_stops_everything_until_it_is_free", "unit/test_killswitch.py::test_an_unreadable_switch_is_not_an_open_one", "unit/test_limits.py::test_nothing_passes_uncounted_while_the_counters_are_locked"),
)
# fmt: on
