"""PromQL is read before it leaves: what is unbounded, too much, or of another environment stays here."""

import pytest

from broker.connectors.promql import QueryBounds, Window, bounded_matchers, bounded_query, check_window
from broker.errors import BadRequest

AT = 1_767_225_600
HOUR = Window(AT - 3600, AT, 60)
BOUNDS = QueryBounds()
PROD = {"env": "prod"}


def sent(query: str, window: Window = HOUR, enforce: dict[str, str] | None = None, bounds: QueryBounds = BOUNDS) -> str:
    return bounded_query(query, window, enforce=enforce or {}, bounds=bounds)


@pytest.mark.parametrize("query", [
    "{__name__=~'.+'}", "{__name__=~'.*'}", "{__name__=~'.+', job='x'}", "{__name__=~'[a-zA-Z0-9_:]+', job='x'}", "{job=~'.+'}",
    "{job='x'}", "{job!=''}", "{__name__!='x'}", "{__name__!~'x'}", "{__name__=~'a|.+', job='x'}", "{__name__=~'(?i).{3,}|.', job='x'}",
    "sum({job='x'})", "up + {job='x'}", "topk(scalar({job='x'}), up)", "rate({__name__=~'.+'}[5m])", "{__name__=''}", "{__name__=~'x.+', job=''}",
    "max_over_time(rate({job='x'}[5m])[1h:1m])", "{__name__=~'x.+', job!='y'}", "{__name__=~'x.+', job=~'y'}",
])  # fmt: skip
def test_a_selector_that_could_stand_for_everything_is_refused(query: str) -> None:
    with pytest.raises(BadRequest) as caught:
        sent(query)
    # Selectors without any non-empty matcher are no PromQL at all, so the parser refuses those.
    assert caught.value.error_code in {"request.unbounded", "request.query"}
    assert "name the metric" in caught.value.error_remedy or "at least one" in caught.value.detail


def test_an_enforced_label_alone_bounds_nothing() -> None:
    for query in ("{__name__=~'x.+', env='prod'}", "{env='prod'}"):
        with pytest.raises(BadRequest) as caught:
            sent(query, enforce=PROD)
        assert caught.value.error_code == "request.unbounded"
        with pytest.raises(BadRequest):
            bounded_matchers(query, enforce=PROD)


@pytest.mark.parametrize(("query", "out"), [
    ("up", 'up{env="prod"}'),
    ('up{env="prod"}', 'up{env="prod"}'),
    ("sum by (job) (rate(http_requests_total{code=~'5..'}[5m]))", 'sum by (job) (rate(http_requests_total{code=~"5..",env="prod"}[5m]))'),
    ("topk(scalar(a), b) / on (x) group_left () c", None),
    ("max_over_time(rate(a[5m])[1h:1m] offset 5m)", 'max_over_time(rate(a{env="prod"}[5m])[1h:1m] offset 5m)'),
    ("a unless b or c and d", None),
    ('{__name__="a:b"}', '{__name__="a:b",env="prod"}'),
    ('{__name__=~"http_.+", job="checkout"}', '{__name__=~"http_.+",env="prod",job="checkout"}'),
    ("label_replace(up, 'env', 'staging', 'job', '.*')", 'label_replace(up{env="prod"}, "env", "staging", "job", ".*")'),
    ("-a ^ 2 + time()", None),
    ("absent(up)", 'absent(up{env="prod"})'),
    ('up{a="\\"} or up{env=\\"staging"}', 'up{a="\\"} or up{env=\\"staging",env="prod"}'),
])  # fmt: skip
def test_each_selector_carries_the_enforced_labels(query: str, out: str | None) -> None:
    written = sent(query, enforce=PROD)
    if out is not None:
        assert written == out
    selectors = sum(written.count(name) for name in ('env="prod"',))
    assert selectors == sent(query, enforce={"zz": "zz"}).count('zz="zz"')
    assert sent(written, enforce=PROD) == written


@pytest.mark.parametrize("query", [
    'up{env="staging"}', 'up{env=~"prod|staging"}', 'up{env=~"prod"}', 'up{env!="prod"}', 'up{env!~"x"}', 'up{env=""}',
    'up{env="prod",env="staging"}', 'up + up{env="staging"}', 'sum(rate(up{env="staging"}[5m]))', 'up{env="prod "}',
    'topk(scalar(sum(up{env="staging"})), up)', 'max_over_time(up{env="staging"}[1h:1m])', 'up{"env"="staging"}',
])  # fmt: skip
def test_another_value_of_an_enforced_label_is_refused(query: str) -> None:
    with pytest.raises(BadRequest) as caught:
        sent(query, enforce=PROD)
    assert caught.value.error_code == "request.label_enforced"
    assert "env" in caught.value.detail


@pytest.mark.parametrize("query", [
    'up{env="prod" or env="staging"}', "info(up)", 'info(up, {env="staging"})', "up[5m]", "up[1h:1m]", '"text"', "(up[5m])", "up{", "", "up up",
    "foo(up)", '{"a",__name__="b"}', "up smoothed", "up[5m:]", "avg_over_time(up[5m:])", "(" * 65 + "up" + ")" * 65, "-" * 500 + "up",
    "+".join(["up"] * 17), "up" + " " * 4000, "sum(" * 300 + "up" + ")" * 300, "\x00", "up\x00",
])  # fmt: skip
def test_what_cannot_be_judged_is_refused(query: str) -> None:
    with pytest.raises(BadRequest) as caught:
        sent(query)
    assert caught.value.error_remedy


@pytest.mark.parametrize(
    "query",
    [
        "up @ 1e308",
        f"up @ {'9' * 300}",
        "a and " * 90 + "a",
        "1+" * 101 + "1",
        "-" * 101 + "up",
        "up offset 1h1h",
        "up @ Inf",
        r'up{a=~"(a{100}){100}"}',
        r'up{a=~"(x{9}){9}{9}\\w"}',
        "up{a=~'" + r"\\w" * 600 + "'}",
    ],
)
def test_what_would_cost_the_judge_much_is_refused(query: str) -> None:
    with pytest.raises(BadRequest) as caught:
        sent(query)
    assert caught.value.error_code == "request.query"


@pytest.mark.parametrize(("query", "words"), [
    ("rate(up[30d])", "beyond its window"),
    ("up offset 30d", "beyond its window"),
    ("up offset -30d", "beyond its window"),
    (f"up @ {AT + 864_000}", "beyond its window"),
    (f"up @ {AT - 864_000}", "beyond its window"),
    ("max_over_time(up[6d:1h] offset 2d)", "beyond its window"),
    ("max_over_time(max_over_time(up[6d:12h])[2d:12h])", "beyond its window"),
    ("max_over_time(up[1d:1s])", "evaluations"),
    ("max_over_time(max_over_time(up[1h:10s])[1h:10s])", "evaluations"),
])  # fmt: skip
def test_looking_far_back_or_often_is_refused(query: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        sent(query)


def test_what_lies_within_the_bounds_passes() -> None:
    for query in (
        "rate(up[1d])",
        "up offset 6d",
        f"up @ {AT}",
        "up @ start()",
        "max_over_time(up[1h:1m])",
        "1 + 1",
        "time()",
        r'up{a=~"5\\d{2}|(\\d{1,3}[.]){3}"}',
    ):
        assert sent(query)


@pytest.mark.parametrize(("window", "words"), [
    (Window(AT, AT - 1), "before"),
    (Window(AT - 604_801, AT, 3600), "wide"),
    (Window(AT - 604_800, AT, 1), "step of at least 55 s"),
    (Window(AT - 11_000, AT, 1), "step of at least 2 s"),
])  # fmt: skip
def test_a_window_too_wide_or_too_fine_is_refused_with_the_step_that_would_do(window: Window, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_window(window, BOUNDS)
    assert words in f"{caught.value.detail}: {caught.value.error_remedy}"


def test_the_step_that_a_refusal_names_is_accepted() -> None:
    check_window(Window(AT - 604_800, AT, 55), BOUNDS)
    check_window(Window(AT - 10_999, AT, 1), BOUNDS)
    check_window(Window(AT, AT), BOUNDS)


def test_series_selectors_need_one_exact_label() -> None:
    assert bounded_matchers('{job="checkout"}', enforce=PROD) == '{env="prod",job="checkout"}'
    assert bounded_matchers("up", enforce={}) == "up"
    for matchers in ('{job=~".+"}', "rate(up[5m])", "up offset 5m", "up @ 5", "up + up", "1", '{env="prod"}', "up[5m]"):
        with pytest.raises(BadRequest):
            bounded_matchers(matchers, enforce=PROD)
