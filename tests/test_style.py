"""The house rules that no linter knows: sizes, clocks, edges, grants, routes, record fields, words."""

import ast
import functools
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from audit import fields
from broker.web.routes import ROUTES

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("broker", "audit", "agents", "demo", "sdk")
FILE_LINES = 500
FUNCTION_LINES = 70
SUPPRESSIONS_PER_KLOC = 4.0
IGNORED_TYPES_PER_KLOC = 0.6

CLOCK = re.compile(
    r"(time\.(time|monotonic|perf_counter|process_time|thread_time|clock_gettime)(_ns)?|time\.(localtime|gmtime|strftime|ctime)"
    r"|(datetime\.|dt\.)?(datetime|date)\.(now|utcnow|today)|func\.now|uuid\.uuid1|.*\.get_event_loop\(\)\.time|loop\.time)"
)
SQL_CLOCK = re.compile(
    r"\b(CURRENT_TIMESTAMP|CURRENT_TIME|CURRENT_DATE)\b|\b(now|clock_timestamp|statement_timestamp)\(\)"
)

EDGES: Mapping[str, int] = {
    "agents/worker.py": 1,  # the worker: one incident must not end the work on all others
    "audit/writer.py": 1,  # the thread that writes: no defect may leave callers waiting
    "broker/background.py": 1,  # the loop must outlive any round
    "broker/cli/__init__.py": 1,  # the command: what it knows becomes two lines, the rest is raised
    "broker/cli/claude_code_hook.py": 1,  # the hook: whatever is unclear is blocked
    "broker/cli/doctor.py": 1,  # one look of the doctor: what it knows becomes a line, the rest is raised
    "broker/connectors/mcp_link.py": 1,  # a connection: whatever a server breaks, the next try comes
    "broker/pipeline.py": 2,  # the one path: a defect of ours refuses too, and on record
    "broker/policy/worker.py": 1,  # a Rust panic is no Exception, and every fault is an answer
    "broker/web/guard.py": 1,  # HTTP: nothing of it may reach the caller
    "broker/web/mcp/door.py": 1,  # what the SDK calls: it would log a failure whole
}
"""Process edges: the only files that may catch everything and go on, and how often. Others clean up and raise again."""


def tracked(*suffixes: str) -> list[Path]:
    """Files of the repository, those not yet added too; without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = {name for name in listed.stdout.decode().split("\0") if name.endswith(suffixes)}
    return [ROOT / name for name in sorted(names) if (ROOT / name).is_file()]


def product() -> list[Path]:
    return [path for path in tracked(".py") if path.relative_to(ROOT).parts[0] in PRODUCT]


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def test_no_file_is_longer_than_500_lines() -> None:
    long = {str(path.relative_to(ROOT)): count for path in tracked(".py") if (count := lines(path)) > FILE_LINES}
    assert long == {}, "split the file where its subject splits"


def lines(path: Path) -> int:
    return path.read_text(encoding="utf-8").count("\n")


def test_no_function_is_longer_than_70_lines() -> None:
    long = [
        f"{where(path, node)} {node.name}: {node.end_lineno - node.lineno + 1}"
        for path in tracked(".py")
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES
    ]
    assert long == [], "give a step of it a name of its own"


def test_only_the_clock_asks_the_time() -> None:
    """The gate and the log take it as an argument, so that a test can step it and a replay can pin it.

    How far the database's clock is from it is what the doctor asks the database.
    """
    asked = [
        f"{where(path, node)} {ast.unparse(node)}"
        for path in product()
        if path.relative_to(ROOT).parts[0] in ("broker", "audit")
        and path not in {ROOT / "broker/clock.py", ROOT / "broker/store/skew.py"}
        for node in _code(tree(path))
        if _asks_the_time(node)
    ]
    assert asked == [], "take a broker.clock.Clock"


def _code(module: ast.Module) -> Iterator[ast.AST]:
    """Every node but docstrings."""
    docs = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    return (node for node in ast.walk(module) if id(node) not in docs)


def _asks_the_time(node: ast.AST) -> bool:
    match node:
        case ast.Attribute():
            return bool(CLOCK.fullmatch(ast.unparse(node)))
        case ast.ImportFrom(module="time", names=names):
            return {one.name for one in names} != {"sleep"}
        case ast.Constant(value=str(text)):
            return bool(SQL_CLOCK.search(text))
        case _:
            return False


def test_tests_assert_nothing_on_the_wall_clock() -> None:
    """But a loop that waits for something may end itself: that says how long we wait, not how fast it must be."""
    asserted = []
    for path in tracked(".py"):
        if not path.is_relative_to(ROOT / "tests") or {"bench", "sim"} & set(path.parts):
            continue
        loops = [node for node in ast.walk(tree(path)) if isinstance(node, ast.While)]
        waits = {id(node) for loop in loops for node in ast.walk(loop) if isinstance(node, ast.Assert)}
        asserted += [
            where(path, node)
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Assert)
            and id(node) not in waits
            and any(isinstance(part, ast.Attribute) and CLOCK.fullmatch(ast.unparse(part)) for part in ast.walk(node))
        ]
    assert asserted == [], "use the seeded clock, or count what happened"


def test_only_process_edges_catch_everything_and_go_on() -> None:
    found = Counter(
        str(path.relative_to(ROOT))
        for path in product()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler) and _is_broad(node) and not _raises_again(node)
    )
    assert found == EDGES, "name the errors that you expect; an edge that is gone leaves the list"


def _is_broad(node: ast.ExceptHandler) -> bool:
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return any(kind is None or ast.unparse(kind) in ("Exception", "BaseException") for kind in kinds)


def _raises_again(node: ast.ExceptHandler) -> bool:
    return isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None


def test_nothing_suppresses_everything_but_the_undoing_of_a_failed_append() -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in product()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("suppress")
        and any(ast.unparse(one) in ("Exception", "BaseException") for one in node.args)
    ]
    assert found == ["audit/chain.py"]


def test_only_obligations_mint_grants() -> None:
    minted = {
        str(path.relative_to(ROOT))
        for path in product()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Grant"
    }
    assert minted == {"broker/obligations.py"}


def test_suppressed_warnings_stay_few() -> None:
    noqa, ignored, size = 0, 0, 0
    for path in product():
        text = path.read_text(encoding="utf-8")
        size += text.count("\n")
        noqa += len(re.findall(r"#\s*noqa", text))
        ignored += len(re.findall(r"#\s*type:\s*ignore", text))
    assert (noqa + ignored) / size * 1000 <= SUPPRESSIONS_PER_KLOC, f"{noqa} noqa, {ignored} type: ignore, {size} lines"
    assert ignored / size * 1000 <= IGNORED_TYPES_PER_KLOC, f"{ignored} type: ignore in {size} lines"


def test_no_suppression_is_for_everything() -> None:
    blanket = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked(".py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"#\s*noqa(?!:)|#\s*type:\s*ignore(?!\[)|#\s*(ruff|flake8):\s*noqa|#\s*pragma:\s*no cover", line)
        and path != Path(__file__)
    ]
    assert blanket == []


SIGNING = {("POST", "/console/signout"), ("POST", "/console/backchannel")}
"""Ends logins, and decides nothing: by the person's own form, and by the provider's signed token."""


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_each_route_declares_its_action_and_who_answers_for_it(route: object) -> None:
    method, path = getattr(route, "method"), getattr(route, "path")  # noqa: B009 - the table's own class stays private here
    action, access = getattr(route, "action"), getattr(route, "access")  # noqa: B009
    assert access in {"pipeline", "owner", "role", "public", "token", "console"}, (method, path)
    if (method, path) in SIGNING or (method, path) == ("GET", "/console"):
        assert action == "-"
    elif access in {"pipeline", "console"}:
        assert re.fullmatch(r"\*|[a-z]+\.[a-z]+\.[a-z]+", action), f"{method} {path} must name the action that it is"
    else:
        assert method == "GET" or access == "role", f"{method} {path} changes something without a decision"


def test_routes_are_added_from_the_table_only() -> None:
    """No decorator and no router beside it; the development provider is a mount of its own."""
    found = [
        f"{where(path, node)} {ast.unparse(node.func)}"
        for path in product()
        if path.is_relative_to(ROOT / "broker")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and re.search(
            r"\b(app|router)\.(get|post|put|patch|delete|route|websocket|add_api_route|add_route|mount|include_router|api_route)$|^(APIRouter|Router|WebSocketRoute)$",
            ast.unparse(node.func),
        )
    ]
    assert {one.partition(":")[0] for one in found} <= {"broker/web/app.py"}, found


def test_each_field_of_a_record_is_classified() -> None:
    """What the table does not name, a leaf cannot hold; and each line has a known type and class."""
    classes = {one.value for one in fields.Class}
    for path, field in fields.FIELDS.items():
        assert field.privacy.value in classes, path
        assert field.type in fields.TEXT or field.type in {"count", "counts", "flag"}, path
        if field.type == "keyed":
            assert field.privacy is fields.Class.KEYED, path
        if field.type == "digest":
            assert field.privacy is fields.Class.COMMITMENT, path
        if field.type == "id":
            assert field.privacy is fields.Class.PSEUDONYM, path


PLACES = re.compile(r"(?<![\w.])/(?:work|home/\w+|Users/\w+)/|/root/|\.pyenv|site-packages/")
REGISTRIES = re.compile(
    r"(?i)\b(?:index|registry|proxy|files|repo\w*)\.(?!example\.)[a-z]+\w*\.(?:org|com|io|org/simple)\b|pypi\.|npmjs|pythonhosted|\bextra-index-url\b"
)
TALK = re.compile(r"(?i)\b(?:as an ai|language model wrote|issue #\d+|the brief|TODO|FIXME|XXX)\b")


def text_lines() -> Iterator[tuple[str, str]]:
    for path in tracked(
        ".py",
        ".md",
        ".toml",
        ".yaml",
        ".yml",
        ".sh",
        ".rego",
        ".json",
        ".lock",
        "Makefile",
        "Dockerfile",
        "run",
        "check",
    ):
        if path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield f"{path.relative_to(ROOT)}:{number}", line


def test_the_project_names_no_machine_no_registry_and_no_unfinished_business() -> None:
    found = [
        f"{at} {match.group()}"
        for at, line in text_lines()
        for match in (PLACES.search(line), REGISTRIES.search(line), TALK.search(line))
        if match is not None
    ]
    assert found == []


def test_real_inputs_are_named_in_one_place_only() -> None:
    found = [at for at, line in text_lines() if re.search(r"shared/corpora|\.\./shared", line)]
    assert [at.partition(":")[0] for at in found] == [".ci/run"]


def test_each_room_has_its_specification() -> None:
    rooms = {
        path.parent
        for path in tracked(".py")
        if path.relative_to(ROOT).parts[0] in (*PRODUCT, "policies") and "migrations" not in path.parts
    }
    rooms = {
        room
        for room in rooms
        if room not in {ROOT / "sdk/wicketgate", ROOT / "broker/redaction/rules", ROOT / "broker/identity/dev"}
    }
    rooms |= {ROOT / name for name in ("policies", "deploy", "deploy/opa", "docs", "sdk", "tests")}
    assert sorted(str(room.relative_to(ROOT)) for room in rooms if not (room / "README.md").is_file()) == []
