"""A deal finds its ad by the best evidence, in order, or not at all."""

import pytest
from geminivideo.budget.attribution import Click, Method, Touch, attribute
from geminivideo.policy import AttributionPolicy
from hypothesis import given, settings
from hypothesis import strategies as st

POLICY = AttributionPolicy()
H = 3600.0
NOW = 1000 * H
ADS = {"a1", "a2"}


def click(ad: str = "a1", hours: float = 1.0, **members: str) -> Click:
    return Click(ad_id=ad, at=NOW - hours * H, **members)


FULL = Touch(at=NOW, fbclid="fb1", utm_content="a2", fingerprint="f", ip="1.2.3.4", user_agent="UA")


def test_a_click_id_beats_everything():
    """The click id's ad wins although utm_content names another."""
    found = attribute(FULL, [click(fbclid="fb1")], ADS, POLICY)
    assert (found.ad_id, found.method, found.confidence) == ("a1", Method.CLICK_ID, 1.0)
    assert found.clicked_at == NOW - H


def test_our_own_click_id_counts_as_well():
    """fbclid or our click id: either is certain."""
    touch = Touch(at=NOW, click_id="c9")
    assert attribute(touch, [click(click_id="c9")], ADS, POLICY).confidence == 1.0


def test_after_seven_days_a_click_id_is_no_evidence():
    """A click 169 hours ago is too old; utm_content is next."""
    found = attribute(FULL, [click(hours=169, fbclid="fb1")], ADS, POLICY)
    assert (found.ad_id, found.method, found.confidence) == ("a2", Method.UTM, 0.95)


def test_a_utm_that_names_no_ad_of_ours_is_no_evidence():
    """utm_content may carry anything; only a known ad counts."""
    touch = Touch(at=NOW, utm_content="summer")
    assert attribute(touch, [], ADS, POLICY).method is Method.UNATTRIBUTED


def test_the_fingerprint_is_third():
    """The same device within seven days: 0.9."""
    touch = Touch(at=NOW, fingerprint="f")
    found = attribute(touch, [click(hours=167, fingerprint="f")], ADS, POLICY)
    assert (found.ad_id, found.method, found.confidence) == ("a1", Method.FINGERPRINT, 0.9)


@pytest.mark.parametrize(("hours", "confidence"), [(0.0, 0.7), (12.0, 0.6), (24.0, 0.5)])
def test_address_and_browser_are_last_and_fade(hours, confidence):
    """At most 0.7, falling to 0.5 at the end of its day."""
    touch = Touch(at=NOW, ip="1.2.3.4", user_agent="UA")
    near = click(hours=hours, ip="1.2.3.4", user_agent="UA")
    assert attribute(touch, [near], ADS, POLICY).confidence == pytest.approx(confidence)


def test_one_address_with_several_ads_is_shared_doubt():
    """An office behind one address clicked two ads: each is half as sure."""
    touch = Touch(at=NOW, ip="1.2.3.4", user_agent="UA")
    clicks = [click(ad, hours=0, ip="1.2.3.4", user_agent="UA") for ad in ("a1", "a2")]
    assert attribute(touch, clicks, ADS, POLICY).confidence == pytest.approx(0.35)


@pytest.mark.parametrize("touch", [Touch(at=NOW, ip="1.2.3.4"), Touch(at=NOW, user_agent="UA")])
def test_half_of_the_network_evidence_is_none(touch):
    """An address alone, or a browser alone, leads nowhere."""
    near = click(ip="1.2.3.4", user_agent="UA")
    assert attribute(touch, [near], ADS, POLICY).ad_id is None


def test_missing_evidence_never_matches_missing_evidence():
    """Empty ids on both sides are not equal ids."""
    found = attribute(Touch(at=NOW), [click()], ADS, POLICY)
    assert (found.ad_id, found.confidence) == (None, 0.0)


def test_a_click_after_the_deal_cannot_have_caused_it():
    """Only the past is evidence."""
    assert attribute(FULL, [click(hours=-1, fbclid="fb1")], ADS, POLICY).method is Method.UTM


def test_the_latest_click_wins():
    """Two clicks by the same device: the one closest to the deal is credited."""
    touch = Touch(at=NOW, fingerprint="f")
    clicks = [click("a1", 5, fingerprint="f"), click("a2", 2, fingerprint="f")]
    assert attribute(touch, clicks, ADS, POLICY).ad_id == "a2"


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_order_of_clicks_is_of_no_consequence(data):
    """The same clicks in any order give the same ad."""
    some = st.sampled_from(["", "x", "y"])
    clicks = data.draw(
        st.lists(
            st.builds(
                click,
                st.sampled_from(["a1", "a2"]),
                st.integers(0, 200).map(float),
                fbclid=some,
                fingerprint=some,
                ip=some,
                user_agent=some,
            ),
            max_size=6,
        )
    )
    touch = Touch(at=NOW, fbclid="x", fingerprint="y", ip="x", user_agent="x")
    shuffled = data.draw(st.permutations(clicks))
    assert attribute(touch, shuffled, ADS, POLICY) == attribute(touch, clicks, ADS, POLICY)
