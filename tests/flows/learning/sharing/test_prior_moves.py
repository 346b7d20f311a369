"""What moves a new ad's prior in a budget decision: consent, model, patterns; and its replay."""

from dataclasses import replace

import pytest
from geminivideo.budget.decision import DecisionRecord
from geminivideo.budget.scoring import decide, replay
from geminivideo.events import ObjectRef
from geminivideo.learning_records import (
    Condition,
    CreativeFeatures,
    ModelVersion,
    PredictionRecord,
    WinningPattern,
)
from geminivideo.policy import Policy, SharingPolicy
from geminivideo.records import (
    Account,
    AdState,
    ChangeStatus,
    ChangeType,
    PendingChange,
    Prediction,
)
from geminivideo.services import budget_decisions
from geminivideo.services import sharing as loop

HOUR = 3600.0
QUESTION, FACE = "hook_type=question", "first_frame=face"


def silent(cells, sensitivity, epsilon):
    return list(cells)


@pytest.fixture
def release(world):
    """Many accounts' experience: questions win, faces lose."""
    world.policy(delta=0.49, epsilon=20.0, budget_epsilon=100.0)
    world.sharers(30)
    made = loop.release_if_due(world.documents, world.clock.now(), silent)
    assert {pattern.trait for pattern in made.patterns} == {QUESTION, FACE}
    return made


@pytest.fixture
def shop(world):
    """An account with three new ads that nobody has seen: a question, a face, and neither."""
    world.account("shop")
    for name, features in {
        "question": CreativeFeatures(hook_type="question"),
        "face": CreativeFeatures(hook_type="story", first_frame="face"),
        "plain": CreativeFeatures(hook_type="story", first_frame="still"),
    }.items():
        new_ad(world, name, features)
    return Shop(world)


def new_ad(world, name, features, *, linked=True, adset=None, predicted=None, impressions=0):
    now = world.clock.now()
    state = AdState(
        id=name,
        account_id="shop",
        currency="USD",
        updated_at=now,
        status="ACTIVE",
        adset_id=adset or f"set-{name}",
        created_at=now - 2 * HOUR,
        daily_budget=5000,
        impressions=impressions,
        insights_at=now - HOUR,
    )
    record = PredictionRecord(
        id=f"v-{name}",
        account_id="shop",
        at=now - 3 * HOUR,
        features=features,
        predicted=predicted,
        variation_id=f"v-{name}",
        ad_id=name if linked else None,
    )
    world.documents.set(f"ad_states/{name}", state)
    world.documents.set(f"predictions/{record.id}", record)


class Shop:
    """The account's decisions."""

    def __init__(self, world):
        self.world = world

    def decide(self, policy=None):
        account = self.world.documents.require("accounts/shop", Account)
        policy, now = policy or Policy(), self.world.clock.now()
        found = budget_decisions.gather(self.world.documents, account, policy, now)
        return decide(budget_decisions.request_of(found, policy, "flow"))

    def ads(self, policy=None):
        return {ad.ad_id: ad for ad in self.decide(policy).request.ads}

    def ctr(self):
        return {one.ad_id: one.metrics.ctr for one in self.decide().recommendations}


def said(ctr, interval=None):
    return Prediction(score=0.5, ctr=ctr, interval=interval, model_version="ctr-7", sample_size=900)


def test_an_empty_account_that_did_not_opt_in_starts_from_the_policy_s_prior(shop, release):
    """Nothing of the others' experience reaches it: each new ad is expected the same."""
    assert all(ad.wisdom is None and ad.moved_by == () for ad in shop.ads().values())
    assert set(shop.ctr().values()) == {Policy().sampler.prior_ctr}


def test_an_empty_account_that_opted_in_starts_from_what_the_others_learned(world, shop, release):
    """Zero-shot: the accounts' usual CTR for all its ads, and more for the one with the winning
    trait than for the one with the losing one, within a fifth."""
    world.opt("shop")
    prior = Policy().sampler.prior_ctr
    expected = shop.ctr()
    assert expected["question"] == pytest.approx(1.2 * prior)
    assert expected["plain"] == pytest.approx(1.2**0.5 * prior)
    assert expected["face"] == pytest.approx(prior)


def test_an_account_with_clicks_of_its_own_takes_the_patterns_and_not_the_start(
    world, shop, release
):
    """With a hundred thousand impressions its own CTR is known; what others learned of traits
    still tells its new ads apart."""
    world.opt("shop")
    new_ad(world, "old", CreativeFeatures(hook_type="authority"), impressions=100_000)
    ads = shop.ads()
    assert 1.05 < ads["question"].wisdom <= 1.2
    assert 0.8 <= ads["face"].wisdom < 0.95
    assert ads["plain"].wisdom == pytest.approx(1.0, abs=0.01)


def test_what_moved_a_prior_stands_in_the_record_and_replays(world, shop, release):
    """The release, the trait and the ratio are in the signals and in the reason; the decision is
    the same bytes after the release, the consent and the predictions are gone."""
    world.opt("shop")
    record = shop.decide()
    body = record.encode()
    moved = {ad.ad_id: ad.moved_by for ad in record.request.ads}
    assert any(f"shared {release.id}: {QUESTION}" in reason for reason in moved["question"])
    by_ad = {one.ad_id: one for one in record.recommendations}
    assert f"{QUESTION} x1." in by_ad["question"].reason
    for path in (f"cross_account_patterns/{release.id}", "sharing_consents/shop"):
        world.documents.delete(path)
    assert replay(DecisionRecord.decode(body)).encode() == body


def test_leaving_ends_what_is_received_at_once(world, shop, release):
    """The next decision after opting out has nothing of it."""
    world.opt("shop")
    assert shop.ads()["question"].wisdom is not None
    world.opt("shop", into=False)
    assert shop.ads()["question"].wisdom is None


def test_the_policy_bounds_what_is_received(world, shop, release):
    """An account that allows a twentieth is moved by a twentieth."""
    world.opt("shop")
    policy = Policy()
    tight = replace(policy, sampler=replace(policy.sampler, prior_move=0.05))
    assert shop.ads(tight)["question"].wisdom == pytest.approx(1.05)


def test_the_model_moves_the_prior_by_what_it_predicts_of_an_ad(world):
    """Above the account's usual prediction up, below it down; a wide interval moves less."""
    world.account("shop")
    sure, unsure = (0.019, 0.021), (0.005, 0.08)
    model_of(world, "shop", "other")
    new_ad(world, "good", CreativeFeatures(), predicted=said(0.02, sure))
    new_ad(world, "vague", CreativeFeatures(), predicted=said(0.02, unsure))
    new_ad(world, "bad", CreativeFeatures(), predicted=said(0.01, (0.0095, 0.0105)))
    ads = Shop(world).ads()
    assert ads["good"].dna == 1.0
    assert 0 < ads["vague"].dna < ads["good"].dna
    assert ads["bad"].dna < 0
    assert "predicted CTR 2.00%" in ads["good"].moved_by[0]
    assert Shop(world).ctr()["good"] > Shop(world).ctr()["bad"]


def model_of(world, *accounts):
    """The model whose word the predictions are has learned from these accounts' ads."""
    version = ModelVersion(
        version="ctr-7", state="champion", checksum="0", trained_at=1.0, trained_from=0.0,
        trained_to=1.0, kind="logistic", accounts=accounts,
        artifact=ObjectRef(bucket="b", name="m", generation=1),
    )  # fmt: skip
    world.documents.set("model_registry/ctr/versions/ctr-7", version)


@pytest.mark.parametrize(("opted_in", "heard"), [(False, False), (True, True)])
def test_a_model_of_other_accounts_is_heard_by_consent_only(world, opted_in, heard):
    """A model that never saw the account's ads is others' experience, as patterns are."""
    world.account("shop")
    world.opt("shop", into=opted_in)
    model_of(world, "other")
    new_ad(world, "good", CreativeFeatures(), predicted=said(0.02, (0.019, 0.021)))
    new_ad(world, "bad", CreativeFeatures(), predicted=said(0.01, (0.0095, 0.0105)))
    assert (Shop(world).ads()["good"].dna is not None) is heard


def test_without_a_model_the_account_s_own_patterns_move_it(world):
    """By their strength and direction; ended and confounded ones say nothing."""
    world.account("shop")
    for number, members in enumerate(
        [
            {"lift": 1.5, "strength": 0.5},
            {"lift": 9.0, "strength": 1.0, "ended_at": 1.0},
            {"lift": 9.0, "strength": 1.0, "confounded_by": ("other",)},
        ]
    ):
        world.documents.set(f"winning_patterns/shop-{number}", pattern(number, **members))
    new_ad(world, "has", CreativeFeatures(hook_type="question"))
    new_ad(world, "not", CreativeFeatures(hook_type="story"))
    ads = Shop(world).ads()
    assert 0 < ads["has"].dna < 1
    assert ads["has"].moved_by == ("own pattern questions x1.50",)
    assert (ads["not"].dna, ads["not"].moved_by) == (None, ())


def pattern(number, **members):
    return WinningPattern(
        id=str(number), account_id="shop", pattern_type="hook", pattern="questions", support=20,
        winners=12, interval=(1.1, 2.0), p_value=0.001, q_value=0.01, found_at=1.0,
        confirmed_at=1.0, conditions=(Condition(member="hook_type", equals="question"),),
        **members,
    )  # fmt: skip


def test_an_ad_that_no_cycle_has_linked_yet_is_found_by_the_change_that_made_it(
    world, shop, release
):
    """A new ad is moved from its first decision on, not from its first actuals."""
    world.opt("shop")
    new_ad(world, "fresh", CreativeFeatures(hook_type="question"), linked=False)
    assert "x1." in shop.ads()["fresh"].moved_by[0]
    before = shop.ads()["fresh"].wisdom
    change = PendingChange(
        id="ch-1", change_type=ChangeType.CREATE_AD, status=ChangeStatus.COMPLETED,
        account_id="shop", campaign_id=None, ad_id=None, payload={}, requested_by="flow",
        reasoning="", created_at=1.0, not_before_at=1.0, jitter_s=0.0, variation_id="v-fresh",
        meta_id="fresh",
    )  # fmt: skip
    world.documents.set("pending_ad_changes/ch-1", change)
    found = shop.ads()["fresh"]
    assert any(QUESTION in reason for reason in found.moved_by)
    assert found.wisdom >= before


def test_ads_that_share_a_budget_are_moved_by_their_mean(world, release):
    """A question and a face in one ad set: between what each would be alone."""
    world.account("shop")
    world.opt("shop")
    new_ad(world, "q", CreativeFeatures(hook_type="question"), adset="both")
    new_ad(world, "f", CreativeFeatures(first_frame="face"), adset="both")
    new_ad(world, "old", CreativeFeatures(), impressions=100_000)
    together = Shop(world).ads()["both"]
    assert 0.8 < together.wisdom < 1.2
    assert sum(trait in " ".join(together.moved_by) for trait in (QUESTION, FACE)) == 2


def test_nobody_s_own_policy_loosens_what_is_shared(world, release):
    """An account's own section on sharing is not looked at; the deployment's is."""
    world.documents.set("policies/shop", Policy(sharing=SharingPolicy(epsilon=1000.0)))
    world.account("shop")
    world.opt("shop")
    world.next_slot()
    world.loop("shop")
    assert {one.epsilon for one in world.releases()} == {20.0}


def selected(world, **members):
    """The split that the sampler's route makes of the shop's new ads, by ad, and its ``wisdom``."""
    ads = [
        {"ad_id": ad, "impressions": 0, "clicks": 0, "spend": 0.0, "age_hours": 2.0}
        for ad in ("question", "face", "plain")
    ]
    body = {"account_id": "shop", "ad_states": ads, "total_budget": 90.0, "seed": 7} | members
    answer = world.call("ml_service", "POST", "/api/ml/battle-hardened/select", body)
    assert answer.status == 200, answer.json
    shares = {one["ad_id"]: one for one in answer.json["recommendations"]}
    return shares, answer.json["wisdom"]


def test_the_sampler_s_route_hears_other_accounts_only_for_one_that_takes_part(world, shop):
    """Insufficient with the reason, until the account takes part and something is released; then
    each ad's prior moves, and says by what."""
    shares, wisdom = selected(world)
    assert (wisdom["data_status"], wisdom["ads"]) == ("insufficient", 0)
    assert wisdom["reason"] == "the account takes no part in sharing"
    assert {one["metrics"]["wisdom"] for one in shares.values()} == {None}
    world.opt("shop")
    assert selected(world)[1]["reason"].startswith("nothing is released yet")
    world.policy(delta=0.49, epsilon=20.0, budget_epsilon=100.0)
    world.sharers(30)
    loop.release_if_due(world.documents, world.clock.now(), silent)
    shares, wisdom = selected(world)
    assert wisdom == {"data_status": "complete", "ads": 3, "reason": None}
    ctr = {ad: one["metrics"]["ctr"] for ad, one in shares.items()}
    assert ctr["question"] > ctr["plain"] > ctr["face"]
    assert "its prior CTR was moved by shared" in shares["question"]["reason"]


def test_a_likeness_that_the_caller_gives_stands(world, shop):
    """It moves the prior in place of what the account's own patterns would say."""
    world.documents.set("winning_patterns/1", pattern(1, lift=1.5, strength=1.0))
    shares, _ = selected(world, creative_dna_scores={"question": 0.5})
    metrics = shares["question"]["metrics"]
    assert metrics["dna"] == 0.5
    assert metrics["moved_by"] == ["the creative DNA score given, 0.5"]
    shares, _ = selected(world)
    assert shares["question"]["metrics"]["moved_by"] == ["own pattern questions x1.50"]
