"""What Meta's usage headers say of our limits."""

import json

import pytest
from geminivideo.meta_client import Usage, usage_of

USE_CASES = "X-Business-Use-Case-Usage"
ACCOUNT = "X-Ad-Account-Usage"
INSIGHTS = "x-fb-ads-insights-throttle"


def entry(kind: str, calls: float, minutes: float = 0, **more: float) -> dict[str, object]:
    rest = {"total_cputime": 0, "total_time": 0, "estimated_time_to_regain_access": minutes}
    return {"type": kind, "call_count": calls, **rest, **more}


@pytest.mark.parametrize(
    ("headers", "percent", "regain_s"),
    [
        ({USE_CASES: {"1": [entry("ads_management", 12)]}}, 12.0, 0.0),
        ({USE_CASES: {"1": [entry("a", 12), entry("b", 3, total_time=97)]}}, 97.0, 0.0),
        ({USE_CASES: {"1": [entry("a", 12)], "2": [entry("a", 100, 19)]}}, 100.0, 1140.0),
        ({ACCOUNT: {"acc_id_util_pct": 96.5, "reset_time_duration": 300}}, 96.5, 0.0),
        ({INSIGHTS: {"app_id_util_pct": 98, "acc_id_util_pct": 10}}, 98.0, 0.0),
        (
            {USE_CASES: {"1": [entry("a", 40, 5)]}, ACCOUNT: {"acc_id_util_pct": 91}},
            91.0,
            300.0,
        ),
    ],
)
def test_the_worst_of_all_headers_and_accounts_counts(
    headers: dict[str, object], percent: float, regain_s: float
) -> None:
    """However many entries there are, and whichever header tells of them, in any case."""
    for change in (str, str.lower, str.upper):
        told = {change(name): json.dumps(value) for name, value in headers.items()}
        assert usage_of(told) == Usage(percent=percent, regain_s=regain_s)


@pytest.mark.parametrize(
    "raw", ["", "{", "[]", "null", '"x"', '{"1": 5}', '{"1": [{"call_count": "x"}]}']
)
def test_a_header_that_makes_no_sense_is_none(raw: str) -> None:
    """Meta's header never stops a change by being odd; the others still count."""
    assert usage_of({USE_CASES: raw}) is None
    assert usage_of({}) is None
    both = {USE_CASES: raw, ACCOUNT: json.dumps({"acc_id_util_pct": 50})}
    assert usage_of(both) == Usage(percent=50.0)


@pytest.mark.parametrize(
    ("headers", "percent", "regain_s"),
    [
        ({USE_CASES: {"1": [entry("ads_insights", 100, 60)]}}, 0.0, 0.0),
        ({USE_CASES: {"1": [entry("ads_insights", 100, 60), entry("x", 7, 5)]}}, 7.0, 300.0),
        ({INSIGHTS: {"acc_id_util_pct": 99}, ACCOUNT: {"acc_id_util_pct": 4}}, 4.0, 0.0),
    ],
)
def test_who_reads_no_insights_need_not_wait_for_their_limit(
    headers: dict[str, object], percent: float, regain_s: float
) -> None:
    """Meta counts them apart; every other limit still counts."""
    told = {name: json.dumps(value) for name, value in headers.items()}
    assert usage_of(told, insights=False) == Usage(percent=percent, regain_s=regain_s)
    assert usage_of(told) != usage_of(told, insights=False)


def test_the_throttle_of_insights_alone_says_nothing_of_writes() -> None:
    """An answer without another header leaves what was known before."""
    told = {INSIGHTS: json.dumps({"acc_id_util_pct": 99})}
    assert usage_of(told, insights=False) is None
