"""Meta's codes, one by one."""

import pytest
from geminivideo.policy import ExecutorPolicy
from geminivideo.safe_executor.classify import Reaction, backoff_s, classify
from hypothesis import given
from hypothesis import strategies as st

POLICY = ExecutorPolicy()


@pytest.mark.parametrize(
    ("code", "subcode", "reaction"),
    [
        (1, 99, Reaction.RETRY),
        (1, None, Reaction.RETRY),
        (2, None, Reaction.RETRY),
        (104, None, Reaction.RETRY),
        (960, None, Reaction.RETRY),
        (4, 1504022, Reaction.PAUSE_APP),
        (4, 1504039, Reaction.PAUSE_APP),
        (17, 2446079, Reaction.PAUSE_ACCOUNT),
        (17, 1885172, Reaction.DEFER),
        (32, None, Reaction.PAUSE_ACCOUNT),
        (613, 1487742, Reaction.PAUSE_ACCOUNT),
        (613, 1996, Reaction.PAUSE_ACCOUNT),
        (613, 1487632, Reaction.DEFER),
        (613, 5044001, Reaction.DEFER),
        (613, 1487225, Reaction.DEFER),
        (613, None, Reaction.OPEN_BREAKER),
        (368, None, Reaction.OPEN_BREAKER),
        *[(code, 2446079, Reaction.PAUSE_ACCOUNT) for code in (80000, 80003, 80004, 80014)],
        (190, None, Reaction.STOP_TOKEN),
        (102, None, Reaction.STOP_TOKEN),
        (10, None, Reaction.FORBIDDEN),
        (200, None, Reaction.FORBIDDEN),
        (294, None, Reaction.FORBIDDEN),
        (100, 1885553, Reaction.REFUSED),
        (100, 33, Reaction.REFUSED),
        (1443048, None, Reaction.REFUSED),
        (2446173, None, Reaction.REFUSED),
    ],
)
def test_each_code_has_its_reaction(code: int, subcode: int | None, reaction: Reaction) -> None:
    """The table of Meta's codes: what had no effect, what may have had one, what needs a person."""
    assert classify(POLICY, code=code, subcode=subcode).reaction is reaction


def test_a_budget_limit_waits_an_hour() -> None:
    """613 / 1487632 blocks the ad set for an hour."""
    assert classify(POLICY, code=613, subcode=1487632).wait_s == 3600


def test_the_usage_header_says_how_long() -> None:
    """Meta's own time to regain access beats our default."""
    assert classify(POLICY, code=17, regain_s=720).wait_s == 720
    assert classify(POLICY, code=17).wait_s == POLICY.limited_wait_s


def test_server_errors_and_bodies_without_code_are_transient() -> None:
    """A 503 page, or a 200 that says Service Unavailable, is tried again."""
    assert classify(POLICY, code=None, http_status=503).reaction is Reaction.RETRY
    assert classify(POLICY, code=None, http_status=200).reaction is Reaction.RETRY
    assert classify(POLICY, code=9999, transient=True).reaction is Reaction.RETRY


@given(code=st.integers(0, 200_000), subcode=st.none() | st.integers(0, 10**7))
def test_limits_and_stops_are_never_failures(code: int, subcode: int | None) -> None:
    """Whatever waits has a time to wait; whatever fails has none."""
    verdict = classify(POLICY, code=code, subcode=subcode)
    waits = verdict.reaction in (Reaction.DEFER, Reaction.PAUSE_ACCOUNT)
    assert waits == (verdict.wait_s > 0)
    assert verdict.reason


def test_backoff_grows_and_is_bounded() -> None:
    """5, 20, 80, 320, 320 ... seconds."""
    assert [backoff_s(POLICY, n) for n in range(1, 6)] == [5, 20, 80, 320, 320]
