"""What one account says, what all say together, and what may be let out of it."""

import math
from dataclasses import replace

import msgspec
import pytest
from geminivideo.learning import privacy, sharing
from geminivideo.learning_records import Actual, Contribution, CreativeFeatures, SharedRelease
from geminivideo.policy import SamplerPolicy, SharingPolicy
from hypothesis import given
from hypothesis import strategies as st

POLICY = SharingPolicy()
NOW = 1_795_000_000.0
SLOT = privacy.slot_of(NOW, POLICY)
QUESTION = CreativeFeatures(hook_type="question", has_speech=True, duration_s=12.0)
STORY = CreativeFeatures(hook_type="story", has_speech=False, duration_s=40.0)

vectors = st.builds(
    Contribution,
    vocabulary=st.just(sharing.VOCABULARY),
    at=st.just(NOW),
    base=st.integers(-(10**7), 10**7),
    lifts=st.dictionaries(
        st.sampled_from(sorted(sharing.TRAITS)), st.integers(-(10**7), 10**7), max_size=20
    ),
)


def ad(number, *, ctr=0.02, impressions=10_000, features=QUESTION, **members):
    given = {
        "id": f"ad-{number}",
        "ad_id": f"ad-{number}",
        "account_id": "secret-account",
        "currency": "USD",
        "impressions": impressions,
        "clicks": round(impressions * ctr),
        "spend": 5000,
        "pipeline_value": 0,
        "cash_revenue": 0,
        "first_shown_at": NOW - 86400 * 5,
        "until_at": NOW,
        "linked_at": NOW,
        "features": features,
    }
    return Actual(**(given | members))


def account(question=0.02, story=0.016):
    return [ad(n, ctr=question) for n in range(3)] + [
        ad(n, ctr=story, features=STORY) for n in range(3, 6)
    ]


def given_by(**lifts):
    named = {name.replace("__", "="): units for name, units in lifts.items()}
    return Contribution(vocabulary=sharing.VOCABULARY, at=NOW, base=200, lifts=named)


def released(contributions, policy=POLICY):
    """A release whose noise happened to be none."""
    return sharing.published(sharing.measured(contributions, policy), SLOT, policy, NOW)


def test_an_account_says_how_its_ctr_with_a_trait_compares_with_its_ctr_without():
    """A quarter more clicks with questions is a log ratio near ln 1.25, in units of the clip."""
    made = sharing.contribute(account(), POLICY, NOW)
    lift = sharing.ratios(made, POLICY)["hook_type=question"]
    assert lift == pytest.approx(1.25, rel=0.01)
    assert sharing.ratios(made, POLICY)["hook_type=story"] == pytest.approx(0.80, rel=0.01)
    assert made.base == round(math.log(0.018 / 0.01) / 1.5 * 1000) or abs(made.base - 392) < 5


def test_what_an_account_s_market_clicks_cancels_out():
    """Ten times the CTR everywhere is the same lift."""
    low = sharing.contribute(account(0.004, 0.0032), POLICY, NOW).lifts
    high = sharing.contribute(account(0.04, 0.032), POLICY, NOW).lifts
    assert abs(low["hook_type=question"] - high["hook_type=question"]) < 0.05 * POLICY.lift_units


@pytest.mark.parametrize(
    "ads",
    [
        [],
        [ad(1, impressions=0, clicks=0)],
        [ad(1, impressions=POLICY.min_impressions - 1)],
        [ad(1, clicks=20_000)],
    ],
)
def test_an_account_without_ads_that_were_seen_says_nothing(ads):
    """No vector at all, and no vector of zeros."""
    assert sharing.contribute(ads, POLICY, NOW) is None


def test_a_trait_that_never_varies_or_is_unknown_is_not_told():
    """Without ads on both sides there is nothing to compare; the base is still told."""
    alike = sharing.contribute([ad(n) for n in range(5)], POLICY, NOW)
    unknown = sharing.contribute([ad(n, features=None) for n in range(5)], POLICY, NOW)
    assert alike.lifts == {} == unknown.lifts
    assert alike.base == unknown.base != 0


numbers = st.integers(0, 10**9)
features = st.none() | st.builds(
    CreativeFeatures,
    hook_type=st.none() | st.sampled_from(["question", "story", "", "acme's own"]),
    first_frame=st.none() | st.sampled_from(["face", "text"]),
    hook_words=st.none() | st.integers(0, 30),
    hook_has_number=st.none() | st.booleans(),
    has_speech=st.none() | st.booleans(),
    has_music=st.none() | st.booleans(),
    duration_s=st.none() | st.floats(0, 90),
    cuts_per_s=st.none() | st.floats(0, 5),
    letters_per_s=st.none() | st.floats(0, 50),
    opening_shot_s=st.none() | st.floats(0, 9),
    cta_type=st.none() | st.sampled_from(["learn_more", "shop_now", "x"]),
)


@given(st.lists(st.tuples(numbers, numbers, features), max_size=14))
def test_no_account_says_more_than_its_bounds(rows):
    """Whatever its ads did, a vector keeps to its traits, its clips and its number of members."""
    ads = [
        ad(n, impressions=shown, clicks=clicks, features=of)
        for n, (shown, clicks, of) in enumerate(rows)
    ]
    made = sharing.contribute(ads, POLICY, NOW)
    if made is not None:
        assert made == sharing.bounded(made, POLICY)
        assert len(made.lifts) <= POLICY.max_traits
        assert set(made.lifts) <= set(sharing.TRAITS)
        assert all(abs(units) <= POLICY.lift_units for units in made.lifts.values())
        assert abs(made.base) <= POLICY.base_units


@given(st.lists(vectors, max_size=12), vectors, st.integers(5, 8))
def test_one_account_changes_what_is_measured_by_the_stated_sensitivity_at_most(others, one, least):
    """Over all cells together (L1), wherever the least number of accounts is crossed."""
    policy = replace(POLICY, min_accounts=least)
    before, after = sharing.measured(others, policy), sharing.measured([*others, one], policy)
    moved = sum(abs(after[cell] - before[cell]) for cell in sharing.CELLS)
    assert moved <= privacy.sensitivity(policy)


def test_the_sensitivity_is_reached():
    """An account at every bound moves the cells by all of it: the noise is not larger than it
    must be."""
    names = sorted(sharing.TRAITS)[: POLICY.max_traits]
    full = Contribution(
        vocabulary=sharing.VOCABULARY,
        at=NOW,
        base=POLICY.base_units,
        lifts=dict.fromkeys(names, POLICY.lift_units),
    )
    before = sharing.measured([full] * 9, POLICY)
    after = sharing.measured([full] * 10, POLICY)
    moved = sum(abs(after[cell] - before[cell]) for cell in sharing.CELLS)
    assert moved == privacy.sensitivity(POLICY)


@given(st.lists(vectors, max_size=4))
def test_cells_of_fewer_than_five_accounts_hold_nothing_of_them(few):
    """With four accounts every cell is what it is with none: only noise could be added to it."""
    assert set(sharing.measured(few, POLICY).values()) <= {0}


def test_a_cell_is_counted_by_itself():
    """Forty accounts, four of them with statistics: their cell is empty, the others' is not."""
    many = [given_by(hook_type__question=300)] * 36 + [given_by(hook_type__statistic=750)] * 4
    cells = sharing.measured(many, POLICY)
    assert cells["hook_type=statistic"] == 0
    assert cells["hook_type=question"] == 300 * 32


def test_four_of_a_deployment_are_never_let_out_and_many_are():
    """Below the gate a release is withheld and holds no cell; above it holds what stands out."""
    question = given_by(hook_type__question=600)
    nothing = released([question] * 20)
    assert nothing.released_at is None
    assert (nothing.noisy, nothing.patterns, nothing.accounts) == ({}, (), None)
    assert "accounts" in nothing.reason
    let_out = released([question] * 100)
    assert let_out.accounts == 100
    assert [pattern.trait for pattern in let_out.patterns] == ["hook_type=question"]


def test_a_pattern_is_drawn_to_none_by_the_noise_and_says_how_unsure_it_is():
    """More accounts: nearer to the truth, and a narrower interval around it."""
    question = given_by(hook_type__question=600)
    truth = math.exp(600 / POLICY.lift_units * POLICY.lift_clip)
    few, many = (released([question] * n).patterns[0] for n in (60, 600))
    assert 1 < few.lift < many.lift < truth
    for pattern in (few, many):
        assert pattern.interval[0] < pattern.lift < pattern.interval[1]
    assert many.interval[1] - many.interval[0] < few.interval[1] - few.interval[0]


def test_a_new_account_s_ctr_is_the_accounts_usual_one():
    """Where accounts are clicked twice as often as the policy thinks, that is what is expected."""
    doubled = round(math.log(2) / POLICY.base_clip * POLICY.base_units)
    release = released([replace(given_by(), base=doubled)] * 500)
    assert release.base_ctr == pytest.approx(0.02, rel=0.05)
    assert release.base_interval[0] < 0.02 < release.base_interval[1]


def test_a_release_names_nobody():
    """What is stored and shown has traits, numbers and the mechanism: no account, ad or sentence
    of theirs."""
    ads = [*account(), ad(9, features=replace(QUESTION, hook_type="acme's own secret"))]
    made = sharing.contribute(ads, POLICY, NOW)
    body = msgspec.json.encode(released([made] * 100)).decode()
    for told in ("secret", "acme", "ad-", "account_id"):
        assert told not in body
    assert set(released([made] * 100).noisy) == set(sharing.CELLS)


@pytest.mark.parametrize(
    ("contribution", "expected"),
    [
        (None, False),
        (given_by(), True),
        (replace(given_by(), at=NOW - POLICY.max_age_days * 86400 - 1), False),
        (replace(given_by(), vocabulary="1999-01"), False),
    ],
)
def test_old_contributions_and_those_of_another_list_do_not_count(contribution, expected):
    """What nobody renewed, or what was said in other words, is in no release."""
    assert sharing.counts(contribution, POLICY, NOW) is expected


@given(st.lists(vectors, min_size=1, max_size=4), features, st.floats(0, 1), st.floats(0, 0.5))
def test_wisdom_moves_a_prior_by_no_more_than_it_may(contributions, of, newness, most):
    """Whatever accounts said, within 1 - prior_move and 1 + prior_move, and with its reasons."""
    release = released(contributions * 40)
    assert release.released_at == NOW
    prior = SamplerPolicy(prior_move=most)
    word = sharing.wisdom(of, release, newness=newness, prior=prior)
    if word is not None:
        assert 1 - most - 1e-9 <= word.ratio <= 1 + most + 1e-9
        assert word.reasons
        assert all(reason.startswith(f"shared {release.id}: ") for reason in word.reasons)


def test_wisdom_goes_with_the_pattern_and_the_new_account_s_start():
    """An ad with the trait gains; one without it is not spoken of, unless its account is new."""
    release = released([given_by(hook_type__question=400)] * 400)
    prior = SamplerPolicy()
    alone = sharing.wisdom(QUESTION, release, newness=0.0, prior=prior)
    assert 1.05 < alone.ratio <= 1.2
    assert sharing.wisdom(STORY, release, newness=0.0, prior=prior) is None
    start = sharing.wisdom(STORY, release, newness=1.0, prior=prior)
    assert start.ratio == pytest.approx(math.sqrt(1.2))
    assert "usual CTR" in start.reasons[0]
    both = sharing.wisdom(QUESTION, release, newness=1.0, prior=prior)
    assert start.ratio < both.ratio <= 1.2 + 1e-9


def test_a_withheld_release_says_nothing_of_an_ad():
    """Neither a pattern nor a start."""
    nothing: SharedRelease = sharing.withheld(SLOT, POLICY, NOW)
    assert sharing.wisdom(QUESTION, nothing, newness=1.0, prior=SamplerPolicy()) is None
