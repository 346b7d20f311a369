"""Crediting as arithmetic: whatever the order of what is learned, one credit."""

from dataclasses import replace

import pytest
from geminivideo import money
from geminivideo.budget.attribution import Click, Method, attribute
from geminivideo.policy import AttributionPolicy, RevenuePolicy
from geminivideo.records import Deal, StageSeen
from geminivideo.services import crediting
from geminivideo.services.crediting import Reading
from hypothesis import given, settings
from hypothesis import strategies as st

STAGES = crediting.default_stages(RevenuePolicy(), "USD")
CLICKS = [
    Click(ad_id="ad-a", at=50.0, click_id="c1"),
    Click(ad_id="ad-b", at=60.0, fingerprint="f1"),
]
ADS = ("ad-a", "ad-b", "ad-c")
NAMES = [stage for stage, _, _ in RevenuePolicy().stages] + ["closedlost", "never_heard_of"]


def new_deal():
    return Deal(
        id="7-1", portal_id=7, deal_id="1", account_id="acc", currency="USD", updated_at=0.0
    )


def reading(*stages, at=1000.0, **members):
    history = tuple(
        StageSeen(pipeline="default", stage=stage, at=when, amount=amount)
        for stage, when, amount in stages
    )
    return Reading(portal_id=7, deal_id="1", at=at, history=history, **members)


def learn(deal, one):
    """One reading, as the transaction applies it."""
    after = crediting.merged(deal, one)
    found = attribute(crediting.touch_of(after), CLICKS, ADS, AttributionPolicy())
    return crediting.settle(deal, after, found, STAGES, one)


class Ledger:
    """What all readings came to: the deal, and each ad's sums."""

    def __init__(self, readings):
        self.deal, self.events, self.loose = new_deal(), [], [0, 0]
        self.value, self.deals = {}, {}
        for one in readings:
            settled = learn(self.deal, one)
            self.deal = settled.deal
            self.events += settled.events
            for ad, (value, count) in settled.by_ad.items():
                self.value[ad] = self.value.get(ad, 0) + value
                self.deals[ad] = self.deals.get(ad, 0) + count
            self.loose = [a + b for a, b in zip(self.loose, settled.unattributed, strict=True)]


moments = st.tuples(
    st.sampled_from(NAMES),
    st.integers(100, 900).map(float),
    st.none() | st.integers(0, 50_000_00),
)
touches = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "click_id": st.sampled_from(["c1", "c2"]),
        "utm_content": st.sampled_from(["ad-c", "ad-x"]),
        "fingerprint": st.just("f1"),
    },
)


@st.composite
def readings(draw):
    """A handful of things learned of one deal, at times of their own."""
    times = draw(st.lists(st.integers(1000, 2000), min_size=1, max_size=6, unique=True))
    return [
        Reading(
            portal_id=7,
            deal_id="1",
            at=float(at),
            history=tuple(
                StageSeen(pipeline="default", stage=stage, at=when, amount=amount)
                for stage, when, amount in draw(st.lists(moments, max_size=3))
            ),
            touch=draw(touches),
            began_at=draw(st.none() | st.just(100.0)),
            named_ad=draw(st.none() | st.sampled_from(ADS)),
            gone=draw(st.booleans()),
        )
        for at in times
    ]


@settings(deadline=None, max_examples=60)
@given(readings(), st.randoms())
def test_any_order_and_any_repetition_end_at_the_same_deal(given_readings, random):
    """Shuffled and doubled readings credit each ad the same, to the unit."""
    shuffled = given_readings + random.choices(given_readings, k=len(given_readings))
    random.shuffle(shuffled)
    straight, mixed = Ledger(given_readings), Ledger(shuffled)
    assert replace(mixed.deal, events=0) == replace(straight.deal, events=0)
    nonzero = [{ad: v for ad, v in one.value.items() if v} for one in (straight, mixed)]
    assert nonzero[0] == nonzero[1]
    assert straight.loose == mixed.loose


@settings(deadline=None, max_examples=60)
@given(readings())
def test_events_and_totals_agree(given_readings):
    """The events' sum is the deal's credit; one ad has it, with one deal; ids never repeat."""
    ledger = Ledger(given_readings)
    assert sum(event.value for event in ledger.events) == ledger.deal.credited
    assert sum(ledger.value.values()) == ledger.deal.credited
    counted = ledger.deal.ad_id is not None and not ledger.deal.is_deleted
    assert sum(ledger.deals.values()) == int(counted)
    assert len({event.id for event in ledger.events}) == len(ledger.events) == ledger.deal.events
    loose = ledger.deal.ad_id is None and ledger.deal.history and not ledger.deal.is_deleted
    assert ledger.loose == ([ledger.deal.value, 1] if loose else [0, 0])


@settings(deadline=None, max_examples=60)
@given(readings())
def test_a_reading_seen_before_changes_nothing(given_readings):
    """The last reading again: no event, no change of any ad."""
    deal = Ledger(given_readings).deal
    for one in given_readings:
        again = learn(deal, one)
        assert (again.events, dict(again.by_ad), again.unattributed) == ((), {}, (0, 0))


def test_an_appointment_credits_its_ad_with_the_confidence_of_the_way():
    """15 % of 15,000 in minor units, times 0.95 for an ad that is named."""
    settled = learn(new_deal(), reading(("appointment_scheduled", 200.0, None), named_ad="ad-c"))
    assert settled.deal.value == 2250_00
    assert settled.by_ad == {"ad-c": (round(2250_00 * 0.95), 1)}
    assert settled.events[0].stage_to == "default/appointmentscheduled"
    assert settled.events[0].members["value_change"] == 2250_00


@pytest.mark.parametrize(
    "stage", ["appointmentscheduled", "Appointment Scheduled", "APPOINTMENT_SCHEDULED"]
)
def test_stage_names_are_compared_without_case_and_signs(stage):
    """HubSpot's id, its label and the earlier system's name are one stage."""
    assert crediting.fold(reading((stage, 1.0, None)).history, STAGES).value == 2250_00


def test_a_late_older_stage_does_not_overwrite_a_newer_one():
    """Won, then the appointment that came before it: won stays, and nothing is credited."""
    won = learn(new_deal(), reading(("closedwon", 300.0, 9000_00), named_ad="ad-a"))
    late = learn(won.deal, reading(("appointmentscheduled", 200.0, None)))
    assert (late.deal.value, late.events) == (9000_00, ())


@pytest.mark.parametrize(
    ("last", "left"),
    [(("appointmentscheduled", 400.0, None), 2250_00), (("closedlost", 400.0, None), 0)],
)
def test_going_back_and_losing_reverse_the_credit(last, left):
    """The ad gives back what it had beyond the stage that stands."""
    shown = learn(new_deal(), reading(("showup", 300.0, None), named_ad="ad-a"))
    back = learn(shown.deal, reading(last))
    change = round(left * 0.95) - round(9000_00 * 0.95)
    assert back.by_ad == {"ad-a": (change, 0)}
    assert back.events[0].value == change < 0


def test_better_evidence_moves_the_credit():
    """A click id outweighs the named ad: the old ad gives all back, the new one gets it whole."""
    named = learn(new_deal(), reading(("showup", 300.0, None), named_ad="ad-c", began_at=90.0))
    moved = learn(named.deal, reading(at=1001.0, touch={"click_id": "c1"}))
    assert moved.by_ad == {"ad-c": (-round(9000_00 * 0.95), -1), "ad-a": (9000_00, 1)}
    assert moved.deal.attribution == Method.CLICK_ID


def test_without_evidence_it_is_counted_and_not_guessed():
    """No ad is credited; the account's unattributed total has the deal and its value."""
    settled = learn(new_deal(), reading(("showup", 300.0, None)))
    assert (settled.by_ad, settled.unattributed) == ({}, (9000_00, 1))
    assert (settled.events[0].ad_id, settled.events[0].value) == (None, 0)


def test_a_deleted_deal_gives_its_credit_back_and_a_restored_one_gets_it_again():
    """The newest reading decides whether the deal is there, and counts as one."""
    shown = learn(new_deal(), reading(("showup", 300.0, None), named_ad="ad-a", at=1000.0))
    gone = learn(shown.deal, Reading(portal_id=7, deal_id="1", at=1100.0, gone=True))
    assert gone.by_ad == {"ad-a": (-round(9000_00 * 0.95), -1)}
    assert learn(gone.deal, replace(reading(at=1050.0))).events == ()
    back = learn(gone.deal, reading(at=1200.0))
    assert back.by_ad == {"ad-a": (round(9000_00 * 0.95), 1)}


def test_an_unknown_stage_is_recorded_worth_nothing_and_told_once():
    """The warning is new the first time only."""
    first = learn(new_deal(), reading(("moon_phase", 300.0, None), named_ad="ad-a"))
    assert (first.deal.value, first.warnings) == (0, ("unknown-stage:default/moonphase",))
    assert learn(first.deal, reading(at=1001.0)).warnings == ()


@given(st.integers(-(10**12), 10**12), st.sampled_from(["USD", "EUR", "JPY", "HUF"]))
def test_amounts_come_back_as_they_were(amount, currency):
    """Minor to major to minor is the identity."""
    assert money.minor(money.major(amount, currency), currency) == amount


@pytest.mark.parametrize(
    ("text", "currency", "wanted"),
    [("1234.56", "USD", 123456), ("1234", "JPY", 1234), (0.1, "EUR", 10), ("1e3", "usd", 100000)],
)
def test_major_units_become_minor_ones_exactly(text, currency, wanted):
    """Decimal, not binary, and without decimals where the currency has none."""
    assert money.minor(text, currency) == wanted


@pytest.mark.parametrize("text", ["", "ten", "NaN", "inf", "1e40"])
def test_what_is_no_amount_is_said(text):
    """The error shows the text."""
    with pytest.raises(money.AmountError):
        money.minor(text, "USD")
