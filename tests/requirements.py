"""What is asked of the gate, as data: id, source, behaviour, the tests that hold it, or why nothing does yet.

A test is named as a node id or as a whole file below ``tests/``. ``test_requirements.py`` checks both directions: each
name exists, and each test file serves some requirement. A gap is a promise to nobody: it is listed so that it is seen.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line of the contract."""

    id: str
    """``<area>:<feature>``, stable."""
    source: str
    """A specification, or the part of the house whose README states it."""
    behaviour: str
    tests: tuple[str, ...] = ()
    gap: str = ""


def _(id_: str, source: str, behaviour: str, *tests: str, gap: str = "") -> Requirement:
    return Requirement(id_, source, behaviour, tests, gap)


IDENTITY = "unit/identity/"
AUDIT = "unit/audit/"
POLICY = "unit/policy/"
BAD_DAYS = "e2e/test_bad_days_"

# fmt: off
REQUIREMENTS: tuple[Requirement, ...] = (
    # -- the way in
    _("in:guard", "broker/web", "one host, HTTP/1.1 only, bounded headers, plain paths, JSON bodies under size and deadline", "e2e/test_guard.py"),
    _("in:json", "RFC 7493", "JSON that two readers could read differently is refused with 400, never 5xx", "unit/test_strictjson.py", "e2e/test_guard.py::test_no_json_of_the_corpus_gets_through_any_body_route"),
    _("in:problems", "RFC 9457", "every refusal has a stable code, its reasons and a remedy; the page lists all", "test_docs.py::test_the_generated_pages_are_fresh", "test_docs.py::test_every_error_has_a_remedy_and_every_reason_of_policy_too"),
    _("in:routes", "broker/web", "every route declares its action; every kind of caller gets the reviewed answer", "matrix/test_access.py", "test_style.py"),
    _("in:openapi", "OpenAPI 3.1", "the document describes exactly the routes of the table", "matrix/test_access.py::test_the_application_serves_nothing_beside_the_table"),
    _("in:slow-headers", "deploy/proxy", "a client that sends headers slowly, or holds too many connections, is cut off by the proxy", "e2e/test_front_proxy.py::test_slow_headers_are_cut_off_before_the_gate_hears_of_them", "e2e/test_front_proxy.py::test_one_address_gets_no_more_connections_than_its_share"),
    _("in:framing", "RFC 9112", "gate and shipped proxy never disagree where a request ends; sizes agree, certificates are the proxy's own, events pass", "e2e/test_front_proxy.py"),
    _("in:shapes", "JSON Schema 2020-12", "the quick yes of a compiled schema is never a yes where the exact check says no", "unit/test_shapes.py"),
    _("in:alertmanager", "Alertmanager webhook 4", "alerts are read strictly; groups, cut-off and resolved ones say what they are", "unit/test_alertmanager.py"),
    _("in:authzen", "AuthZEN Authorization API 1.0", "decisions for who enforces them elsewhere: the certification scenario, by policy's leave, on record, without effect", "e2e/test_authzen.py"),
    # -- the Model Context Protocol, serving
    _("mcp:tools", "broker/web/mcp", "tools are those that policy could permit the caller, with hints of our own manifests; others do not exist", "unit/mcp/test_tools.py", "e2e/test_mcp_calls.py"),
    _("mcp:approvals", "broker/web/mcp", "rounds, held calls or an answer that it waits; the state is sealed, an elicitation is no approval", "e2e/test_mcp_approvals.py"),
    _("mcp:streams", "broker/web/mcp", "open streams are told that the tools changed, and end with their reader's sign-in", "e2e/test_mcp_streams.py"),
    _("mcp:clients", "broker/web/mcp", "the SDK's own client and the Inspector sign in by the gate's metadata, list, call and wait", "e2e/test_mcp_clients.py"),
    _("mcp:conformance", "MCP 2025-11-25, 2026-07-28", "the conformance suite passes in both revisions, but for what needs another server's tools", "e2e/test_mcp_conformance.py"),
    _("mcp:sessions", "broker/web/mcp", "an MCP session is one of the gate's; repetitions are known where that is certain; Origin, JSON and proofs first", "e2e/test_mcp_sessions.py"),
    # -- what needs more than a sign-in
    _("signature:approvals", "WebAuthn level 2", "tier 3 is approved by the reviewer's own key over the whole decision; the log shows it", "unit/authenticators/test_desk.py", "e2e/test_signed_approvals.py"),
    _("breakglass:life", "broker/breakglass.py", "two people open it, it ends by itself, everybody sees it, its records are one stream, somebody looks back", "unit/test_breakglass.py", "e2e/test_breakglass.py"),
    _("signature:browser", "WebAuthn level 2", "a browser's authenticator signs by keyboard; another decision's signature is refused", "browser/test_signing.py"),
    _("policy:patience", "broker/policy/opa.py", "an answer that lies in the socket of a busy gate counts; a gate busy without end gives up by the clock", "unit/policy/test_patience.py"),
    # -- incidents
    _("incident:intake", "broker/incidents", "alerts are counted, linked, ended and bounded; never two incidents for one alert, never an alert lost", "unit/incidents/test_intake.py", "unit/incidents/test_linking.py", "unit/incidents/test_floods.py"),
    _("incident:states", "broker/incidents", "states move along one table, in the database too; each change is one event; people act and are seen", "unit/incidents/test_states.py", "unit/incidents/test_people.py", "unit/incidents/test_excluded.py"),
    _("incident:lives", "broker/incidents", "whatever happens in whatever order, states, events and work agree", "property/incidents/test_lives.py"),
    _("incident:topology", "broker/topology.py", "impact, paths and owners follow the inventory; a circle or an unknown name stops the start", "unit/incidents/test_topology.py"),
    _("incident:memory", "broker/incidents", "traces, timeline and post-mortem tell what is on record and nothing else", "unit/incidents/test_traces.py", "unit/incidents/test_telling.py", "unit/incidents/test_parts.py"),
    _("work:claims", "broker/work.py", "one holder a step, under a fence; stale holders cause nothing; nothing is due before the log has it", "unit/work/test_claims.py"),
    _("work:polls", "policies/broker/limits", "looking for work costs the policy's limit though none is there; a worker that is told to wait waits", "e2e/test_incident_lists.py::test_policys_own_limit_counts_who_looks_for_work_though_none_is_there", "unit/agents/test_worker.py::test_a_worker_that_may_not_look_for_work_comes_again_when_it_was_told_to", "unit/policies/test_goldens.py::test_every_golden_decision_holds_on_regorus"),
    _("work:poison", "broker/work.py", "work that nobody can do is set aside, seen, and strands no incident", "unit/work/test_poison.py"),
    _("work:kills", "broker/work.py", "workers killed anywhere leave every incident finished, each step once", "unit/work/test_workers.py"),
    _("work:many", "tests/drill", "many incidents at once with workers killed: none stranded, none acted on twice, no two effects in conflict", "e2e/test_many_incidents.py", "e2e/test_killed_worker.py"),
    _("remedy:evidence", "policies/broker/remedies", "no diagnosis, no action; the right work, environment, fault and resource; who comes first; no loops", "e2e/test_remedies.py::test_no_diagnosis_no_work_or_a_lost_one_no_action", "unit/policies/test_goldens.py"),
    _("remedy:catalogue", "broker/remedies", "a remedy is derived from verified claims alone; a target's past is counted as it was", "unit/remedies/test_catalogue.py", "unit/remedies/test_history.py", "unit/store/test_writes.py"),
    _("remedy:verified", "broker/remedies", "what is measured before and after decides; what did not help is undone once, as approved, and escalated", "unit/remedies/test_verdict.py", "unit/remedies/test_measure.py", "e2e/test_remedies.py"),
    _("incident:api", "broker/web", "alerts, work, claims and what people do go down the one path, each event on record", "e2e/test_incidents.py", "e2e/test_incident_lists.py"),
    _("remedy:bounds", "broker/remedies", "a withdrawn diagnosis runs nothing, people are heard until the last look, an incident asks for one action whoever works on it", "e2e/test_remedy_bounds.py"),
    _("remedy:leases", "broker/remedies", "a remedy holds its target and its direct dependents, all or nothing, while it is done and never while it waits", "e2e/test_remedy_leases.py"),
    _("remedy:loops", "broker/remedies", "remedies in vain, too many, or at a beat end with people; facts of a remedy are the gate's", "e2e/test_remedy_loops.py"),
    _("incident:notices", "Standard Webhooks 1", "an escalation is told to people's systems, signed, with its evidence, once", "e2e/test_incident_notices.py"),
    _("incident:recorded", "broker/connectors", "recorded answers are read strictly, met exactly, and EMPTY elsewhere; a case goes through a temporary gate to the same judge", "unit/connectors/test_replay.py", "e2e/test_investigate_replay.py"),
    _("incident:rules", "agents/rules", "the first tier names a cause by two independent signals, follows errors upstream, and abstains from what it does not know", "unit/rules/test_investigate.py", "unit/rules/test_copies.py", "unit/rules/test_poor_answers.py", "unit/rules/test_scores.py", "unit/rules/test_templates.py"),
    _("incident:corpora", "HolmesGPT and opensre fixtures", "on recorded incidents at most 5 % are convicted wrongly, healthy ones never", "eval/test_recorded_cases.py"),
    # -- reading the log
    _("logbook:live", "WHATWG HTML 9.2", "the log is followed by number: resumed without loss or repeat, per tenant, bounded, ended with the reason", "e2e/test_events.py", "unit/sdk/test_events.py"),
    _("logbook:search", "broker/logbook", "every search finds exactly what fits, in pages both ways, looking at no more than it may", "unit/logbook/test_index.py", "e2e/test_log_reading.py"),
    _("logbook:exports", "broker/logbook", "exports are the log's own bytes, verify by themselves, run no formula, and expire", "unit/logbook/test_bundle.py", "e2e/test_exports.py"),
    _("logbook:bundle-signatures", "WebAuthn level 2, RFC 8032, FIPS 186-5", "a bundle's own verifier checks the checkpoint's and every approval's signature, with nothing but Python", "unit/logbook/test_verifier.py", "e2e/test_export_signatures.py"),
    _("console:lab", "broker/lab.py", "the redaction lab shows what redaction makes of a text, as the command line does, and keeps nothing of it", "e2e/console/test_redaction_lab.py"),
    _("console:failures", "broker/web/console", "what fails in the gate is a page for people with a reference and no stack, also where no template can be filled", "e2e/console/test_failures.py"),
    _("console:usage", "broker/usage.py", "tokens, money and what is left of limits by agent and model; every figure can be counted again from the log", "e2e/console/test_usage_page.py", "unit/logbook/test_usage.py"),
    _("logbook:pages", "broker/web/console", "live, audit, record, consistency and exports for people, naughty text shown as text", "e2e/console/test_log_pages.py"),
    _("incident:privacy", "broker/reading.py", "what an alert, a cause and a finish say is redacted before it is kept", "e2e/test_incident_privacy.py"),
    _("incident:never-begun", "broker/aftermath.py", "a remedy that never began is not followed for ever", "e2e/test_never_begun.py"),
    _("incident:bound-tokens", "RFC 9449", "an agent with a bound token claims work", "e2e/test_bound_tokens.py"),
    # -- the console
    _("console:login", "OpenID Connect", "people sign in by code and PKCE; a login is a row, its cookie a hash, its end seen everywhere", "unit/identity/test_login.py", "unit/test_logins.py", "e2e/console/test_signing_in.py"),
    _("console:forms", "broker/web/console", "no other site sends a form, and a cookie is good for its own session only", "e2e/console/test_forms_and_cookies.py"),
    _("console:matrix", "broker/web/console", "every page answers every kind of caller as reviewed", "matrix/test_console.py"),
    _("console:marks", "broker/web/console", "hidden and doubtful characters are seen; vendored files are pinned and small", "unit/console/test_marks.py", "unit/console/test_static.py"),
    _("console:review", "broker/web/console", "a person sees all of a request, answers it once, and may only narrow it", "e2e/console/test_reviewing.py", "e2e/console/test_reviewing_words.py", "unit/console/test_narrowing_fields.py"),
    _("console:incidents", "broker/web/console", "people follow an incident and take part; what agents write stays text", "e2e/console/test_incident_pages.py"),
    _("console:agents", "broker/web/console", "stopping takes two steps and a reason", "e2e/console/test_agents_page.py"),
    _("console:policies", "broker/web/console", "revisions, what each says, proves and changes; put into force by two people; refusals with their reason; hostile text stays text", "e2e/console/test_policy_pages.py", "e2e/console/test_policy_change.py", "unit/console/test_rego_lines.py"),
    _("console:simulate", "broker/web/console", "a request explained by any revision, as it would really be decided; nothing is executed by asking", "e2e/console/test_simulate_page.py"),
    _("console:browser", "WCAG 2.2 AA", "each page in a real browser, light and dark: no report of its policy, no violation", "browser/test_pages.py", "browser/test_full_pages.py"),
    _("console:open-pages", "broker/web/console", "a stream that is cut goes on without loss or repeat, an approval that expired or that somebody else answered is refused and the page says so, another site's page does nothing", "browser/test_bad_days.py"),
    _("console:many-records", "broker/web/console", "a page asks the same of the database however long the log is, and by index, on SQLite and PostgreSQL", "e2e/console/test_many_records.py", "unit/store/test_plans.py"),
    _("console:idle", "broker/web/console", "an open page that nobody touches asks less than once a second; the live page holds one stream and asks for nothing", "unit/console/test_idle.py", "unit/console/test_lines.py", "browser/test_by_keyboard.py::test_an_open_page_that_nobody_touches_asks_less_than_once_a_second"),
    _("console:slow-storage", "broker/web/console", "a page of a locked database ends in time, says what to do, and nothing was done", "e2e/console/test_slow_storage.py"),
    _("console:keyboard", "WCAG 2.2 AA", "from the sign-in to the fixed service without a mouse; the focus is seen, in order, never caught", "browser/test_by_keyboard.py"),
    _("console:corporate", "OpenID Connect", "sign-in, step-up and both logouts against the certified provider", "e2e/console/test_corporate_sign_in.py"),
    _("console:naughty", "broker/web/console", "no field of a form, no part of an address and nothing that an agent says of itself becomes markup, leads away or hides", "e2e/console/test_naughty_fields.py"),
    _("console:times", "broker/web/console", "times are absolute in UTC and relative", "unit/console/test_times.py"),
    _("console:million", "broker/web/console", "list pages take at most 50 ms of the server at a million records", gap="a figure of one machine: `make bench-console` prints it; tests hold what it rests on"),
    # -- identity
    _("identity:verifier", "RFC 9068, RFC 8725", "a token is read one way and believed only whole", IDENTITY + "test_forgeries.py", IDENTITY + "test_mutations.py"),
    _("identity:vectors", "Wycheproof", "no forged JOSE vector is accepted", "vectors/identity/test_wycheproof.py"),
    _("identity:keys", "RFC 7517, RFC 8725", "weak, doubtful and private keys are not used", IDENTITY + "test_keys.py"),
    _("identity:rotation", "OpenID Connect Discovery", "key sets are cached, rotated, and stale ones are not believed after a day", IDENTITY + "test_keyset.py"),
    _("identity:cache", "broker/identity", "a verified token is remembered for a minute at most; revocation counts at once", IDENTITY + "test_cache.py"),
    _("identity:principal", "RFC 8693", "profiles give party, roles and tenant; an agent on behalf brings both parties", IDENTITY + "test_principals.py"),
    _("identity:dpop", "RFC 9449", "a bound token works with its proof alone, once", IDENTITY + "test_dpop.py"),
    _("identity:mtls", "RFC 8705", "a certificate-bound token works over a TLS connection with that certificate", "e2e/test_client_certificates.py::test_a_bound_token_counts_with_its_certificate_alone_by_either_way"),
    _("identity:issuers", "Entra, Okta, GitHub Actions, Kubernetes, SPIFFE", "tokens of real issuers by their own shapes: who they are, bound claims, and what is refused", IDENTITY + "test_real_issuers.py"),
    _("identity:crl", "RFC 5280", "what an authority took back counts no more; a list that says nothing lets nobody in", IDENTITY + "test_crl.py"),
    _("identity:challenges", "RFC 6750, RFC 9470, RFC 9728", "a refusal says which token would help: how fresh, by which method, with which scope, for which path", "e2e/test_challenges.py"),
    _("connectors:exchange", "RFC 8693, RFC 7523", "a connector's token is for whoever asks; nothing of the caller's leaves; refused clearly", "unit/connectors/test_exchange.py", "e2e/test_exchange.py"),
    _("identity:certificates", "RFC 5280, RFC 9440", "a certificate alone is the sender of alerts that it is mapped to and nothing more; a header is believed from a configured proxy alone", IDENTITY + "test_certificates.py", "unit/test_client_cert_header.py", "e2e/test_client_certificates.py"),
    _("identity:resource", "RFC 9728, RFC 6750", "a client without a token learns whose tokens are believed and how they are shown", "e2e/test_protected_resource.py"),
    _("identity:development", "OAuth 2.1", "the development provider gives real tokens, on loopback and with its code only", IDENTITY + "test_dev_provider.py", IDENTITY + "test_dev_people.py"),
    _("identity:foreign", "OpenID Connect", "tokens of a certified provider that we did not write are believed rightly", "e2e/test_identity_providers.py"),
    _("identity:pages", "broker/identity", "the room's README names every code and its Keycloak example loads", IDENTITY + "test_identity_readme.py"),
    _("identity:roles-lost", "broker", "a role lost since a request was made binds what waits", "unit/test_parties.py"),
    _("identity:revocation-everywhere", "broker/identity", "a revocation reaches every replica", gap="per process; a token's life is bounded by its issuer profile"),
    # -- policy
    _("policy:rules", "policies", "each rule has a golden that breaks without it; both engines give every golden", "unit/policies/test_goldens.py", "unit/policies/test_configuration.py"),
    _("policy:tools", "OPA 1.20.2", "OPA and regal accept the folder: strict check, tests with coverage, format, lint", "unit/policies/test_tools.py", "unit/policies/test_load_gate.py"),
    _("policy:engines", "broker/policy", "OPA and the embedded engine decide alike on goldens and generated inputs", "property/policies/test_engines_agree.py", "e2e/test_policy_opa.py::test_both_engines_answer_500_generated_questions_alike"),
    _("policy:forms", "broker/policy", "forms of Rego on which the engines differ are refused before loading", POLICY + "test_lint.py", "e2e/test_policy_forms.py"),
    _("policy:bundle", "OPA bundles", "only a whole, signed, newer bundle of a configured signer is unpacked", POLICY + "test_bundle.py", POLICY + "test_keys.py"),
    _("policy:gate", "broker/policy", "load gate, swap, last good kept, rollback, lock-out undone on the host", POLICY + "test_pdp.py", POLICY + "test_shared.py", "unit/store/test_activations.py"),
    _("policy:opa", "OPA 1.20.2", "a server that is stopped, frozen, wrong or old denies, and recovers by itself", "e2e/test_policy_opa.py"),
    _("policy:delivery", "OPA bundles", "OPA gets the verified bundle by ETag and long polling, with a token", POLICY + "test_delivery.py"),
    _("policy:embedded", "broker/policy", "a runaway, panicking or dead worker ends one answer and nothing else", POLICY + "test_regorus.py"),
    _("policy:schemas", "JSON Schema 2020-12", "input and decision outside their schemas reach nobody", POLICY + "test_schema.py", POLICY + "test_decision.py"),
    _("policy:trial", "broker/policy", "what a bundle proves of itself is really run, in bounds; two bundles are compared in words", POLICY + "test_trial.py", POLICY + "test_compare.py"),
    _("policy:commands", "wicketgate policy", "check, test, build, activate, rollback, simulate", POLICY + "test_folder.py", POLICY + "test_golden.py", "e2e/test_cli_policy.py"),
    _("policy:replay", "wicketgate policy", "recorded decisions are decided again by another bundle", gap="planned; inputs are recorded by digest only"),
    # -- obligations
    _("obligation:limits", "GCRA", "limits hold over several keys, replicas and steps of the clock", "unit/test_limits.py", "property/state/test_limits_model.py"),
    _("obligation:approval", "broker/approvals", "bound to digest, plan and policy; quorum, separation, expiry, single use", "unit/test_approvals.py", "property/state/test_approvals_model.py"),
    _("obligation:on-record", "broker/reviews.py", "what lets something happen counts from its own record on, whatever kills the gate", "unit/test_on_record_first.py", "e2e/test_on_record_first.py"),
    _("obligation:races", "broker/approvals", "whatever races, one execution", "unit/test_approval_races.py", BAD_DAYS + "approvals.py::test_every_surface_at_once_gives_one_execution"),
    _("obligation:time-box", "broker/approvals", "silence counts only where policy lets it and all its conditions hold at the end; once, by rule, on record", "unit/test_time_box_rows.py", "e2e/test_time_boxes.py", "e2e/console/test_time_box_page.py"),
    _("obligation:narrow", "broker/approvals", "a reviewer may narrow and never widen", "property/state/test_narrowing.py"),
    _("obligation:attempts", "broker/attempts.py", "one party asks so often at most, whatever the answer", "unit/test_attempts.py"),
    _("obligation:lease", "broker/leases", "one holder a key, fenced", "unit/test_leases.py"),
    _("obligation:unknown", "broker.decision/v1", "an unknown obligation refuses", POLICY + "test_decision.py::test_whatever_the_gate_does_not_know_is_refused"),
    _("obligation:grant", "broker/obligations.py", "a grant is minted in one place and is a connector's only argument", "test_style.py::test_only_obligations_mint_grants"),
    _("obligation:kill", "broker/killswitch.py", "agent, connector, tenant, all: stopped at once; never resumed by the one stopped", "unit/test_killswitch.py"),
    _("session:bounds", "broker/sessions.py", "a session serves its own pair only, within budgets, and taint stays", "unit/test_sessions.py"),
    # -- the log
    _("log:format", "audit-record/1, RFC 8785", "one spelling, classified fields, vectors that do not move", AUDIT + "test_canonical.py", AUDIT + "test_record.py", AUDIT + "test_vectors.py", "property/audit/test_canonical_matches_jcs.py"),
    _("log:tree", "RFC 6962", "roots and proofs for every size", "property/audit/test_merkle.py"),
    _("log:checkpoints", "C2SP tlog-checkpoint, signed-note, tlog-tiles", "checkpoints and tiles that others read", AUDIT + "test_note.py", AUDIT + "test_publisher.py"),
    _("log:durable", "audit", "what was acknowledged is durable; a failing store refuses and recovers", AUDIT + "test_log.py", AUDIT + "test_faults.py", AUDIT + "test_store.py", "e2e/test_log_crash.py", "e2e/test_log_processes.py"),
    _("log:payloads", "audit", "sealed per session beside salted commitments; erasable", AUDIT + "test_payload.py"),
    _("log:verify", "audit", "any changed byte, gap, fork and roll-back is found and named", AUDIT + "test_verify.py", "property/audit/test_flips.py", AUDIT + "test_recheck.py"),
    _("log:commands", "wicketgate audit", "verify, prove, tail, export, with and without the rest of the gate", "e2e/test_log_cli.py", "e2e/test_cli_log.py"),
    _("log:foreign", "Tessera fsck 1.0.4", "a verifier that we did not write accepts the folder and refuses damage", "e2e/test_log_fsck.py"),
    _("log:witness", "C2SP tlog-witness", "witnesses cosign checkpoints", gap="planned; the note format already carries cosignatures"),
    _("log:signer-process", "audit", "the signer is a process of its own", gap="planned; the key is a file of the gate"),
    # -- redaction
    _("redaction:total", "broker/redaction", "every leaf is read in all its spellings; what cannot be read is withheld", "unit/redaction/test_redactor.py", "unit/redaction/test_views.py", "unit/redaction/test_scan.py", "property/redaction/test_properties.py"),
    _("redaction:measured", "presidio-research, noseyparker, loghub", "recall and quiet on published sets", "unit/redaction/test_corpora.py"),
    _("redaction:pseudonyms", "broker/redaction", "per session, in an encrypted vault, restored exactly and only where allowed", "unit/redaction/test_vault_and_restore.py", "unit/redaction/test_operators.py", "unit/store/test_vault.py", "vectors/redaction/test_token_vectors.py"),
    _("redaction:names", "broker/redaction", "names of people in free prose are found", gap="only by key; no model of language runs in the gate"),
    # -- connectors and egress
    _("egress:addresses", "broker/egress", "no address that is not named: by redirect, rebinding or spelling", "unit/test_egress.py", "unit/test_egress_addresses.py", "e2e/test_egress_boundary.py"),
    _("connector:http", "broker/connectors", "any REST server by a manifest, bounded, without code", "unit/connectors/test_http.py", "unit/connectors/test_registry.py", "test_docs.py::test_the_prometheus_lines_of_the_readme_make_a_connector_that_answers"),
    _("connector:local", "broker/connectors", "metrics, logs, configuration and restart of real processes, bounded", "unit/connectors/test_local.py"),
    _("connector:local-repairs", "broker/connectors", "the kept past of a metric, bounded; starts, caches moved aside and back, indexes: once an id, on the state that was planned on", "unit/connectors/test_local_repairs.py"),
    _("connector:llm", "Anthropic Messages API", "relayed byte for byte, streaming and not; the provider's key stays here", "unit/connectors/test_llm.py", "property/test_sse_splitter.py"),
    _("connector:notify", "Standard Webhooks 1", "people's systems are told by a signed message that they can check", "unit/connectors/test_notify.py"),
    _("connector:prometheus", "Prometheus HTTP API v1", "queries are parsed, bounded and pinned to an environment before they leave; a real server reads what we send as it reads what was asked", "unit/connectors/test_promql.py", "unit/connectors/test_prometheus.py"),
    _("connector:git", "git", "history, differences and blame in bounds; a revert that is pushed once and never forced, found again by its action", "unit/connectors/test_git.py", "unit/connectors/test_git_revert.py", "unit/connectors/test_git_http.py"),
    _("connector:mcp-stdio", "MCP 2025-11-25 and 2026-07-28, stdio", "an MCP server as a child: bounded, with nothing of the gate's in it, ended with all it started; what it breaks is in doubt and never repeated", "unit/connectors/test_mcp_stdio.py"),
    _("connector:logs", "broker/connectors", "lines and templates of a window from files that rotate, in bounds; a log store fits the same protocol", "unit/connectors/test_logs.py"),
    _("connector:log-templates", "Drain (ICWS 2017), loghub", "lines of one statement are one template, as their publishers group them", "unit/connectors/test_log_templates.py"),
    _("connector:observing", "broker", "through the whole gate: a change is found, taken back after approval, and not when the branch moved; one environment reads nothing of another", "e2e/test_observing.py"),
    _("connector:mcp", "Model Context Protocol", "MCP servers behind the gate", gap="planned"),
    # -- evidence
    _("evidence:selectors", "broker/evidence", "the selector language is bounded, total, exact and deterministic", "unit/evidence/test_selectors.py"),
    _("evidence:verdicts", "broker/evidence", "a claim is verified only by what its observation holds; empty, failed and cut-off answers are told apart", "unit/evidence/test_verdicts.py"),
    _("evidence:diagnosis", "broker/evidence", "a diagnosis needs independent sources and kinds, cause before symptom, a path, and nothing refuted; confidence and prose come from verdicts alone", "unit/evidence/test_diagnosis.py"),
    _("evidence:telling", "broker/evidence", "a claim counts only for the component that the gate's own record says it is about, and only if it was not as true before; trivially true claims make no diagnosis", "unit/evidence/test_telling.py", "e2e/test_trivial_claims.py"),
    _("evidence:places", "broker/evidence", "a place of the inventory is no subject and no cause, for the judge and for the rules", "unit/evidence/test_telling.py::test_a_place_is_no_cause_even_where_the_submission_names_it", "unit/rules/test_investigate.py::test_a_place_is_never_at_fault_though_everything_depends_on_it", "unit/incidents/test_topology.py::test_what_only_keeps_or_measures_is_a_place_and_what_shares_a_component_s_name_is_that_component"),
    _("incident:record", "broker/cli", "what was asked in an incident becomes a case that keeps what was empty, cut off or an error", "e2e/test_cli_gate.py::test_what_was_asked_in_an_incident_becomes_a_case_that_keeps_what_was_empty_cut_off_or_an_error"),
    _("evidence:judge", "broker/evidence", "only this incident's observations in this tenant count, unexpired, unerased, as recorded; what an agent asserts changes nothing", "unit/evidence/test_judge.py"),
    _("evidence:kept", "broker/kept.py", "of too many actions reads make room for writes; a write that a crash cut off is told with what recovery found", "unit/evidence/test_kept.py"),
    _("evidence:falsified", "corpus opensre-rds", "true claims of given responses are accepted, and refused once a number, time, name or sign is falsified", "eval/opensre/test_given_responses.py"),
    # -- the path
    _("path:read", "broker/pipeline.py", "an allowed read takes all nine steps and answers with its receipt", "e2e/test_one_path.py::test_an_allowed_read_is_redacted_recorded_and_answered_with_its_receipt"),
    _("path:restart", "broker/pipeline.py", "an approved restart happens once", "e2e/test_one_path.py::test_a_restart_waits_for_another_person_and_happens_once"),
    _("path:model", "broker/streams.py", "a model sees only what redaction left; a stream's end waits for the outcome", "e2e/test_one_path.py::test_a_model_sees_only_what_redaction_left", "e2e/test_one_path.py::test_a_stream_is_relayed_and_its_end_waits_for_the_outcome"),
    _("agents:injection", "agents", "orders planted in logs, labels, alerts, commits, settings and runbooks change no effect", "e2e/test_injection.py"),
    _("agents:worker", "agents", "a worker does the step that a state asks for, under its hold, and keeps nothing", "unit/agents/test_worker.py"),
    _("agents:remedy", "agents", "at most one remedy of the gate's catalogue, or the evidence to people", "unit/agents/test_remediate.py"),
    _("agents:tiers", "agents", "rules first, memory checked again, the model to refute; both failing closed", "unit/agents/test_investigate.py"),
    _("agents:killed", "agents", "a worker killed in the middle of anything: nothing is bought or done twice, and the next one ends the step", "e2e/test_killed_worker.py"),
    _("agents:model", "agents", "the model's part, and each of its bad days", "unit/agents/test_model_loop.py"),
    _("path:model-keyed", "broker/README.md", "a model call with an idempotency key is asked once, read to its end whoever listens, and given again", "e2e/test_keyed_model_calls.py"),
    _("path:one-owner", "broker/background.py", "of several replicas one publishes", gap="covered for one replica by the log's tests; no test of a change of owner"),
    # -- bad days
    _("bad-day:storage", "broker", "locked, full, read-only: nothing executes, 503 with a reason, recovery without a human", BAD_DAYS + "storage.py"),
    _("bad-day:approvals", "broker", "requester, replay, changed arguments, policy, role, kill switch, two surfaces", BAD_DAYS + "approvals.py"),
    _("bad-day:streams", "broker", "a stream cut by either side has its outcome", BAD_DAYS + "streams.py"),
    _("bad-day:crash", "broker", "killed between intent and outcome: reported as unknown, the target is asked, nothing is repeated", BAD_DAYS + "crash.py"),
    _("bad-day:way-in", "broker/web", "nothing of a stranger's body is read; large bodies on the model's routes only", BAD_DAYS + "way_in.py"),
    _("bad-day:records", "broker", "a caller's words reach no leaf, a reviewer sees the change and no secret", BAD_DAYS + "records.py"),
    _("bad-day:investigation", "agents", "restarts, ended alerts, people and services above in the middle of an investigation", "e2e/test_investigation_bad_days.py"),
    _("bad-day:model", "broker/streams.py", "no position of a prompt and no event of a stream carries what redaction hides", BAD_DAYS + "model.py", "unit/test_model_relay.py"),
    _("bad-day:owners", "broker", "what an agent did for one person is no other person's", BAD_DAYS + "owners.py"),
    _("drill:crash", "tests/drill", "kill -9 under load on both databases: nothing acknowledged is lost, nothing is done without an intent, nothing twice", "e2e/test_drill.py"),
    _("bad-day:policy", "broker/policy", "OPA stopped, frozen, lying; a bundle unsigned, tampered, unfit: denied, and the last good one goes on", BAD_DAYS + "policy.py"),
    _("bad-day:kill", "broker", "a pull is on record before it stops; what cannot be recorded says so", BAD_DAYS + "kill.py"),
    _("bad-day:secrets", "broker", "tokens and planted values stay out of every place; bursts are refused on record", BAD_DAYS + "secrets_and_limits.py"),
    _("bad-day:taint", "broker/provenance.py", "what an attacker can write taints, again when it is read again, and over an incident", BAD_DAYS + "taint.py", "unit/test_provenance.py"),
    _("bad-day:two-doors", "broker/web", "what one route refuses, the other refuses too", BAD_DAYS + "two_doors.py"),
    # -- tenants and state
    _("tenant:strangers", "broker", "a stranger with every role meets nothing of another tenant; keys answer their own party", BAD_DAYS + "tenants_and_keys.py", BAD_DAYS + "tenants.py"),
    _("config:settings", "broker/config.py", "every setting is read somewhere, and what the gate does not do cannot be configured", "unit/test_config.py"),
    _("obligation:bounds", "broker/obligations.py", "bounds, residency and caps as policy says them", "unit/test_obligations.py"),
    _("bench:ratios", "broker", "a gated action costs at most so many raw requests", "bench/test_ratios.py"),
    _("tenant:isolation", "broker/store", "nothing of one tenant is visible or touchable from another", "unit/store/test_isolation.py"),
    _("store:databases", "broker/store", "SQLite and PostgreSQL: same tables, same queries, faults told apart", "unit/store/test_engine.py", "unit/store/test_migrations.py"),
    # -- surfaces
    _("sdk:client", "sdk", "a result is a result, everything else is raised; one key over retries", "unit/sdk/test_gate.py", "unit/sdk/test_areas.py", "unit/sdk/test_tokens.py"),
    _("sdk:governed", "sdk", "a governed function never runs the effect itself", "unit/sdk/test_governed.py"),
    _("cli:gate", "wicketgate", "login, token, act, approvals, agents, serve; exit codes", "e2e/test_cli_gate.py", "unit/cli/test_words.py"),
    _("cli:host", "wicketgate", "config, migrate, doctor, redact", "unit/cli/test_host_commands.py"),
    _("cli:doctor", "wicketgate", "the doctor looks at every part that a gate needs; each that is wrong is named with what to do; no secret is printed", "unit/cli/test_doctor.py"),
    _("cli:names", "wicketgate", "commands and options that scripts count on", "test_docs.py::test_the_commands_that_scripts_count_on_are_there"),
    # -- bad days of an investigation
    _("day:injection", "agents", "orders planted in log lines, metric labels, alert texts, commit messages, configuration values or runbooks have no effect that the clean run lacks", "e2e/test_injection.py::test_the_effects_of_a_poisoned_incident_are_those_of_a_clean_one"),
    _("day:poor-answers", "agents/rules", "EMPTY, ERROR, TRUNCATED, late and contradicting answers convict nobody else; when nothing answers nothing is known", "unit/rules/test_poor_answers.py::test_one_poor_answer_convicts_nobody_else", "unit/rules/test_poor_answers.py::test_whatever_mixture_of_poor_answers_comes_the_rules_are_right_or_abstain", "unit/evidence/test_verdicts.py::test_what_a_cut_off_answer_left_out_could_change_the_verdict"),
    _("day:resolved", "agents", "an alert that ends in the middle ends the investigation", "e2e/test_investigation_bad_days.py::test_an_alert_that_ends_in_the_middle_ends_the_investigation_as_noise", "unit/agents/test_remediate.py::test_what_ends_by_itself_while_waiting_is_left_alone"),
    _("day:second-alert", "broker/incidents", "a second alert of one cause is counted or joins, and nothing is acted on twice", "unit/incidents/test_intake.py::test_many_alerts_of_one_cause_at_once_leave_one_incident_that_is_worked_on", "e2e/test_investigation_bad_days.py::test_of_an_alert_above_that_came_first_the_agent_makes_one_incident"),
    _("day:dependent", "broker/remedies", "a second incident on a dependent joins, or waits for the one that acts", "e2e/test_investigation_bad_days.py::test_an_alert_of_a_service_above_joins_the_incident_below_and_is_not_acted_on_twice", "e2e/test_remedies.py::test_of_two_incidents_that_meet_the_other_waits_for_the_one_that_has_begun"),
    _("day:world-changed", "broker/approvals", "an approval that comes after the world changed does nothing", "e2e/test_remedies.py::test_an_approval_that_comes_after_the_world_changed_does_nothing"),
    _("day:half-way", "broker/remedies", "a fix whose answer is lost, or that the target refused, is judged by what is measured", "e2e/test_remedies.py::test_a_remedy_whose_answer_is_lost_is_judged_by_what_is_measured", "e2e/test_remedies.py::test_a_remedy_that_the_target_refused_is_escalated_and_counts_for_nothing"),
    _("day:worse", "broker/remedies", "a fix that makes it worse is undone before its window is over", "e2e/test_remedies.py::test_a_dependent_that_gets_worse_undoes_the_remedy_before_the_window_is_over"),
    _("day:nothing", "broker/remedies", "a fix that does nothing is undone once, its diagnosis is wrong, and people are called", "e2e/test_remedies.py::test_a_remedy_that_does_nothing_is_undone_once_and_people_are_called"),
    _("day:gate-restarts", "agents", "the gate restarts under an investigation, and under a verification", "e2e/test_investigation_bad_days.py::test_the_gate_restarts_under_a_running_investigation", "e2e/test_remedies.py::test_the_gate_goes_on_measuring_after_a_restart_and_reads_no_sample_twice"),
    _("day:worker-killed", "agents", "a worker killed before any request buys nothing and does nothing twice", "e2e/test_killed_worker.py::test_a_worker_killed_anywhere_buys_nothing_and_does_nothing_twice"),
    _("day:model", "agents", "nonsense, refusal, overload, a cut stream and a tool that was not offered end the model's tier or are asked anew", "unit/agents/test_model_loop.py::test_words_alone_are_no_submission_and_end_as_nonsense", "unit/agents/test_model_loop.py::test_a_refusal_or_a_full_context_ends_the_model_tier_at_once", "unit/agents/test_model_loop.py::test_an_overload_is_waited_for_and_asked_anew_under_a_fresh_key", "unit/agents/test_model_loop.py::test_a_stream_that_breaks_off_on_the_way_is_had_again_under_the_same_key", "unit/agents/test_model_loop.py::test_a_tool_that_was_not_offered_is_refused_told_and_noted"),
    _("day:twenty", "tests/drill", "20 incidents at once over dependent services, workers killed: none stranded, none twice, no two effects in conflict", "e2e/test_many_incidents.py::test_twenty_incidents_at_once_over_services_that_meet_end_each_once_and_apart"),
    _("day:manual", "broker/policy", "a remedy that only people may carry out is refused to the agent, and who is called is told so", "e2e/test_incident_notices.py::test_a_manual_remedy_is_refused_to_the_agent_and_the_call_for_people_says_so"),
    # -- agents and the demo
    _("agents:first", "agents", "an agent holds an identity and nothing else, and works through the gate alone", "unit/agents/test_first.py", "unit/agents/test_events.py"),
    _("demo:story", "demo", "the main job ends with what the log and the files show", "e2e/test_demo.py", "e2e/test_demo_approval.py", "unit/demo/test_tally.py", "unit/demo/test_layout.py", "unit/demo/test_outcome.py"),
    _("demo:alert", "Alertmanager webhook v4", "the alert fires from what is measured, by Prometheus and Alertmanager or by a watcher that sends the same", "unit/demo/test_alerting.py"),
    _("demo:shop", "demo", "real processes, traffic, faults; nothing outlives the demo", "unit/demo/test_shop.py", "unit/demo/test_supervisor.py", "unit/demo/test_children.py"),
    _("demo:names", "agents/rules", "each fault of the demo is called by its own name, at its place, from what the shop logs and measures", "unit/demo/test_fault_names.py"),
    _("demo:policy", "demo", "the run decides by the repository's policy, but for the rests that it names", "unit/demo/test_policy.py"),
    _("demo:pager", "Standard Webhooks 1", "who is called takes what is signed and fresh, once", "unit/demo/test_pager.py"),
    _("demo:model", "demo", "the scripted model sees its prompt only; what is planted is hidden", "unit/demo/test_modelserver.py", "unit/demo/test_thinking.py", "unit/demo/test_plant_is_hidden.py"),
    # -- the house
    _("house:style", "docs", "sizes, clocks, edges, fields, words", "test_style.py"),
    _("house:imports", "docs", "layers, one home for each library; each rule bites", "test_imports.py"),
    _("house:docs", "docs", "pages, commands and promises agree with the code", "test_docs.py"),
    _("house:requirements", "docs", "this table and the tests name each other", "test_requirements.py"),
    _("house:deploy", "deploy", "the deployment files are what their readers accept", "test_deploy.py"),
    _("house:systemd", "deploy/systemd", "the units verify, are shut, take secrets as credentials, and run what compose runs", "test_systemd.py"),
    _("house:watching", "deploy/monitoring", "each alert fires for its own reason alone; rules and dashboard name what the gate shows", "test_monitoring.py"),
    _("house:chart", "deploy/helm", "the chart renders to objects that Kubernetes knows: restricted pods, the gate as agents' only way out, a configuration that the gate reads", "test_helm.py"),
    _("house:image", "deploy", "the container image builds and starts", gap="needs a container engine; its parts are checked by test_deploy.py"),
    _("house:macos", "README", "everything runs on macOS", gap="written for it and resolved for it; not run there by us"),
)
# fmt: on
