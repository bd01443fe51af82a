"""Lines that name a fault: one table of general wording, and how a match becomes a sign with its claim.

The wording is that of the systems themselves (Kubernetes' reasons and events, PostgreSQL's and the resolver's messages,
runtimes' errors); some of it was seen in single recorded cases, or is the demo's own, as README.md tells. A ``cause``
names what is wrong; a ``symptom`` only says that something is.
Documents (signal ``config``) are not read for signs: a runbook names every fault there is.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from re import Pattern

from agents.rules.finding import Claim, claim
from agents.rules.reading import Line, excerpt
from agents.rules.view import Seen

ANSWERED_MILLI = 550
"""An error as the answer of something needed: it may be its own or one that it passes on."""
CAUSE, SYMPTOM = "cause", "symptom"


@dataclass(frozen=True, slots=True)
class Wording:
    """``weight`` in thousandths: how much one match speaks for the fault."""

    fault: str
    pattern: Pattern[str]
    weight: int
    role: str = CAUSE
    signals: frozenset[str] = frozenset()
    """Only in answers of these classes; empty: in all but documents."""


@dataclass(frozen=True, slots=True)
class Sign:
    """One piece of evidence: what it speaks for, at which component, since when, and the claim that proves it."""

    component: str
    fault: str
    role: str
    weight: int
    signal: str
    source: str
    observation: str
    at: int | None
    claim: Claim
    text: str
    count: int = 1
    kind: str = ""
    """Of a symptom measured in numbers: ``own-errors``, ``passed-errors``, ``errors``, ``latency``, ``traffic``."""


def _is(fault: str, weight: int, pattern: str, role: str = CAUSE, signals: Iterable[str] = ()) -> Wording:
    return Wording(fault, re.compile(pattern, re.IGNORECASE), weight, role, frozenset(signals))


_STATE = ("state", "change", "log", "alert")

WORDINGS: Sequence[Wording] = (
    # memory
    _is("memory-exhausted", 900, r"\bOOM-?Killed\b|\bOOMKilling\b|out of memory: kill"),
    _is(
        "memory-exhausted",
        800,
        r"java\.lang\.OutOfMemoryError|cannot allocate memory|heap out of memory|\bMemoryError\b",
    ),
    _is("memory-exhausted", 700, r"killed due to (?:it being )?out of memory|memory limit exceeded"),
    # storage
    _is("disk-full", 900, r"no space left on device|disk (?:is )?full|out of disk space|could not extend file"),
    _is(
        "disk-full",
        850,
        r"(?:instance|volume|database).{0,60}(?:ran out of|out of|insufficient) (?:free )?storage|storage[- ]full",
    ),
    _is("disk-full", 600, r"free storage (?:space|capacity).{0,60}(?:is low|critically low|exhausted|below)"),
    _is(
        "volume-unavailable",
        900,
        r"unbound immediate PersistentVolumeClaims?|storageclass\S* \S+ not found|\bProvisioningFailed\b",
    ),
    _is("volume-unavailable", 800, r"\bFailedMount\b|\bFailedAttachVolume\b|\bFailedBinding\b"),
    # image and command
    _is(
        "image-unavailable",
        900,
        r"\bErrImagePull\b|\bImagePullBackOff\b|failed to pull (?:and unpack )?image|\bInvalidImageName\b",
    ),
    _is(
        "bad-command",
        850,
        r"executable file not found in \$?PATH|exec format error|\bRunContainerError\b|\bStartError\b",
    ),
    _is("bad-command", 800, r"(?:/sh|bash|sh): .{0,60}(?:not found|syntax error|unexpected)|: command not found"),
    # configuration
    _is(
        "missing-config",
        900,
        r"\bCreateContainerConfigError\b|(?:secret|configmap) \"?[\w.-]+\"? not found|couldn't find key",
    ),
    _is(
        "missing-config",
        850,
        r"environment variable \S{1,60} (?:is )?(?:undefined|missing|not set|unset|required|not defined)",
    ),
    _is(
        "missing-config",
        800,
        r"missing (?:required )?(?:environment variable|configuration|config|setting)|\b[A-Z][A-Z0-9_]{3,} (?:is not set|must be set|is required)",
    ),
    _is(
        "bad-config",
        700,
        r"(?:invalid|unknown|unparsable|malformed) (?:configuration|config|setting|value for)|config(?:uration)? (?:error|validation failed|parse error)",
    ),
    # scheduling
    _is(
        "unschedulable",
        900,
        r"\bFailedScheduling\b|\d+/\d+ nodes are available|didn't match pod's node (?:affinity|selector)",
    ),
    _is("unschedulable", 850, r"\binsufficient (?:cpu|memory|pods|ephemeral-storage|\S+/gpu)\b"),
    _is("node-pressure", 850, r"(?:Memory|Disk|PID)Pressure\s+True|the node was low on resource|\bEvicted\b"),
    # health checks
    _is("probe-failing", 650, r"(?:readiness|liveness|startup) probe (?:failed|errored)"),
    # what is needed
    _is(
        "dns-failure",
        850,
        r"could not resolve host|name or service not known|NXDOMAIN|no such host\b|\bENOTFOUND\b|\bUnknownHostException\b",
    ),
    _is(
        "certificate-expired",
        900,
        r"certificate (?:has |is )?expired|certificate_expired|CERT_HAS_EXPIRED|x509: certificate has expired|expired (?:ssl |tls )?certificate",
    ),
    _is(
        "access-denied",
        750,
        r"password authentication failed|authentication failed for user|\b401 unauthorized\b|is forbidden: user|access ?denied(?: for|exception)",
    ),
    _is(
        "dependency-down", 750, r"connection refused|\bECONNREFUSED\b|no route to host|\bEHOSTUNREACH\b|does not answer"
    ),
    _is(
        "dependency-down",
        700,
        r"(?:failed|unable|cannot|can't|could not) (?:to )?connect to|error connecting to|connection (?:to \S+ )?(?:failed|timed out)|all host(?:s|\(s\))? tried .{0,30}failed",
    ),
    _is("dependency-down", ANSWERED_MILLI, r"\b(?:answered|responded|replied)(?: with)?(?: status)? 5\d\d\b"),
    _is("network-policy", 800, r"(?:blocked|denied|dropped) by (?:a )?network ?policy"),
    # what runs out
    _is(
        "pool-leak",
        850,
        r"connection pool (?:is )?exhausted|timeout waiting for (?:idle|free) (?:connection|object)|unable to acquire (?:jdbc )?connection|QueuePool limit",
    ),
    _is(
        "connections-exhausted",
        900,
        r"remaining connection slots|too many (?:clients|connections)|out of (?:free )?connections|approaching max_connections|connections?,? (?:are |is )?approaching the (?:maximum|limit)|new connections (?:may be|are being|are) refused|max_connections (?:limit )?(?:reached|exceeded)",
    ),
    _is("cpu-throttled", 750, r"\bCPUThrottling|cpu throttl", signals=("alert", "metric", "log", "state")),
    _is(
        "cpu-saturated",
        500,
        r"cpu utili[sz]ation has exceeded|high cpu (?:usage|load)",
        signals=("log", "change", "alert"),
    ),
    # what ends at its start: whatever keeps it from starting, it is not a fault of what runs
    _is("crash-loop", 850, r"\b(?:cannot|can't|could not|failed to|unable to) start: ", signals=("log",)),
    # what hangs
    _is(
        "lock-hang",
        850,
        r"lock (?:was )?not acquired|deadlock detected|lock wait timeout|could not obtain lock|waiting for (?:\w+ ){0,3}lock",
    ),
    _is(
        "bad-cache",
        800,
        r"no .{1,60} in (?:the )?cache|(?:corrupt|stale|poisoned|inconsistent) cache|cache (?:entry )?(?:is )?(?:corrupt|stale|inconsistent)",
    ),
    # databases
    _is("slow-query", 800, r"\bslow query\b"),
    _is(
        "slow-query",
        700,
        r"query took (?:more than )?\d|database (?:call|query|operation)\S* .{0,40}(?:slow|took|timed out)|statement timeout|canceling statement due to",
    ),
    _is(
        "replication-lag",
        850,
        r"replication lag (?:has )?exceeded|replica\S*(?: replay)? is (?:behind|lagging|falling behind)|replay (?:lag|is behind)",
    ),
    _is(
        "failover",
        800,
        r"failover (?:has been |was )?(?:initiated|started|in progress|finished|completed)|finished an? \S* ?failover",
    ),
    _is(
        "maintenance-load",
        750,
        r"checkpoints are occurring too frequently|checkpoint storm|autovacuum: VACUUM|VACUUM FREEZE",
    ),
    # symptoms
    _is("crash-loop", 600, r"\bCrashLoopBackOff\b", SYMPTOM),
    _is(
        "crash-loop",
        450,
        r"back-?off restarting failed|backoff limit|\bBackoffLimitExceeded\b|exit(?:ed)? (?:with )?(?:code|status) [1-9]\d*",
        SYMPTOM,
    ),
    _is(
        "",
        350,
        r"\bCreateContainerError\b|\bContainersNotReady\b|\bKubePodNotReady\b|\bNot ?Ready\b",
        SYMPTOM,
        ("alert", "log", "change"),
    ),
    _is("", 350, r"temporary failure in name resolution|\bEAI_AGAIN\b|NameResolutionError|failed to resolve", SYMPTOM),
    _is("", 300, r"Status:\s+(?:Pending|Failed)\b|\bDeploymentReplicasMismatch\b", SYMPTOM, _STATE),
)

_ERROR = re.compile(
    r"\b(?:error|fatal|panic|critical|severe|exception|traceback|segfault|segmentation fault|stackoverflow\w*)\b|[a-z]Exception\b|[a-z]Error\b",
    re.IGNORECASE,
)
_NUMBERS = re.compile(r"[1-9]\d*")
"""Nought is not a number like others: it tells success from failure."""
_TOOLS_OWN = re.compile(
    r"^\s*(?:error from server \(|unable to retrieve container logs|command .{0,200} failed with return code)",
    re.IGNORECASE,
)
"""What the tool says of the read itself."""
_HARMLESS = re.compile(
    r"\b(?:0|no|zero|without) (?:errors?|exceptions?|failures?|issues?)\b|errors?[=:]\s*\"?(?:0|null|none|nil)\b",
    re.IGNORECASE,
)
_TROUBLE = re.compile(
    r"\b(?:down|unreachable|failed|failure|unable|cannot|timed? ?out|lost|denied|refused|disconnected|degraded|slow)\b",
    re.IGNORECASE,
)
_LEVELS = frozenset({"error", "fatal", "critical", "panic", "severe"})
_RECOVERED = re.compile(
    r"\b(?:completed|has been increased|is available|recovered|resolved|back to normal|restored|healthy again)\b",
    re.IGNORECASE,
)


def read(seen: Seen, texts: Sequence[Line]) -> list[Sign]:
    """The signs in an answer: for each wording and component its first match, with how many there were."""
    signal = seen.query.signal
    if signal == "config":
        return []
    found: dict[tuple[str, str, int], Sign] = {}
    known: dict[str, tuple[int, ...]] = {}
    for line in texts:
        template = _NUMBERS.sub("9", line.text)
        if template not in known:
            known[template] = _worded(line.text, signal)
        for place in known[template]:
            wording = WORDINGS[place]
            key = (line.component, wording.fault, place)
            found[key] = _again(found[key], line) if key in found else _sign(seen, line, wording)
    return list(found.values())


def _worded(text: str, signal: str) -> tuple[int, ...]:
    """Places of the wordings that a line has; lines that differ only in their numbers have the same."""
    if _TOOLS_OWN.search(text):
        return ()
    fitting = (
        (place, wording)
        for place, wording in enumerate(WORDINGS)
        if not (wording.signals and signal and signal not in wording.signals)
    )
    return tuple(place for place, wording in fitting if wording.pattern.search(text))


def _again(known: Sign, line: Line) -> Sign:
    at = known.at if line.at is None else line.at if known.at is None else min(known.at, line.at)
    return replace(known, at=at, count=known.count + line.count)


def _sign(seen: Seen, line: Line, wording: Wording) -> Sign:
    return Sign(
        line.component,
        wording.fault,
        wording.role,
        wording.weight,
        seen.query.signal,
        seen.query.source or f"{seen.query.type}/{seen.query.id}",
        seen.observation,
        line.at,
        quote(seen.observation, line, wording.role),
        line.text.strip(),
        line.count,
    )


def quote(observation: str, line: Line, role: str) -> Claim:
    """The claim that this text stands in the answer, word for word."""
    text = excerpt(line.text)
    return claim(
        observation, line.selector, "contains", text, text=f"it says: {text}", role=role, component=line.component
    )


def errors(texts: Sequence[Line]) -> list[Line]:
    """Lines that say that something failed, whatever it is."""
    return [
        line
        for line in texts
        if (line.level in _LEVELS or _ERROR.search(line.text))
        and not _HARMLESS.search(line.text)
        and not _TOOLS_OWN.search(line.text)
    ]


def troubles(texts: Sequence[Line]) -> list[Line]:
    """Lines of a log that tell of trouble in any words: while there are some, nothing is well."""
    return [line for line in texts if _TROUBLE.search(line.text) and not _HARMLESS.search(line.text)]


def explained(line: Line, faults: Iterable[str]) -> bool:
    """True where one of ``faults``, or a mere symptom, is what the line says."""
    chosen = frozenset(faults)
    return any(w.pattern.search(line.text) for w in WORDINGS if w.fault in chosen or w.role == SYMPTOM)


def recoveries(texts: Sequence[Line]) -> list[Line]:
    """Lines that say that something is over."""
    return [line for line in texts if _RECOVERED.search(line.text)]


def by_component(signs: Iterable[Sign]) -> Mapping[str, list[Sign]]:
    """Signs grouped by component, in order of appearance."""
    grouped: dict[str, list[Sign]] = {}
    for one in signs:
        grouped.setdefault(one.component, []).append(one)
    return grouped
