"""A challenger is trained when it is wanted, judged on later ads, tried with new ones, and only
then put in use; whatever happens in between, one whole model predicts."""

import hashlib
from dataclasses import replace

import pytest
from geminivideo.cloud.documents import Query
from geminivideo.learning_records import MODEL_VERSIONS, Actual, LoopStatus, ModelVersion
from geminivideo.ml import graphs
from geminivideo.policy import TrainingPolicy
from geminivideo.services import model_registry, model_training
from geminivideo.services.model_registry import ChampionMovedError

DAY = 86400.0
NOW_DIFFERENT = {"question": -0.6, "statistic": 0.7}


def versions(world):
    return world.documents.query(Query(MODEL_VERSIONS), ModelVersion)


def test_too_few_ads_train_nothing(world):
    """Below the least number of ads the loop ends with the number, and nothing is started."""
    world.show(20, 20)
    run = world.consider(world.cycle())
    assert run.status is LoopStatus.COMPLETED
    assert run.result == {
        "triggered": False,
        "model_version": None,
        "new_model_version": None,
        "champion_score": None,
        "challenger_score": None,
        "promoted": False,
        "reason": f"20 ads with actuals: a model needs at least {TrainingPolicy().min_rows}",
    }
    assert world.started == []


@pytest.mark.long
def test_the_job_refuses_too_few_clicks(world):
    """Ads enough but hardly a click: the job says so, and no version is registered."""
    world.show(60, 30, clicks=lambda shown, clicked: 1)
    run = world.learned()
    assert run.status is LoopStatus.COMPLETED
    assert run.result["triggered"] is False
    assert "100 clicks" in run.result["reason"]
    assert versions(world) == []


def test_the_first_model_takes_its_place(world):
    """Trained, judged against the base rate, published with card and checksum, and in use."""
    world.show(72, 30)
    run = world.learned()
    made = world.version(run.result["new_model_version"])
    assert run.result["triggered"] is True
    assert run.result["promoted"] is True
    assert run.result["model_version"] is None
    assert run.result["challenger_score"] < made.baseline_score
    assert (made.state, made.kind, made.accounts) == ("champion", "logistic", ("a",))
    assert made.test["baseline"]["better"]
    assert world.champion.version == made.version
    document = world.files.read(made.artifact)
    assert hashlib.sha256(document).hexdigest() == made.checksum == world.champion.checksum
    assert made.checksum in made.artifact.name
    card = world.files.read(made.card).decode()
    assert made.version in card
    assert "beats the base rate" in card


def test_an_accurate_champion_is_left_alone(world):
    """Accuracy at the threshold and no drift: not triggered, and it says why."""
    world.show(72, 30)
    world.learned()
    run = world.consider(world.cycle(accuracy=0.9))
    assert run.result["triggered"] is False
    assert run.result["reason"] == "accuracy 0.900 is at least 0.8, and no drift was found"
    assert run.result["model_version"] == world.champion.version


@pytest.mark.parametrize(
    ("found", "members"),
    [
        pytest.param({"accuracy": 0.79}, {}, marks=pytest.mark.long),
        pytest.param({"accuracy": 0.9}, {"accuracy_threshold": 0.95}, marks=pytest.mark.long),
        ({"accuracy": 0.9, "drift": True}, {}),
    ],
)
def test_what_wants_a_challenger(world, found, members):
    """Accuracy below the threshold, of the policy or of whoever asked, or drift."""
    world.show(72, 30)
    world.learned()
    world.started.clear()
    cycle = world.cycle(**found, **members)
    assert world.consider(cycle) is None
    assert world.started == [cycle.id]


@pytest.mark.long
def test_what_wants_none(world):
    """Unknown accuracy, a cycle that was asked not to, an account that keeps its ads to itself."""
    world.show(72, 30)
    world.learned()
    unknown = world.consider(world.cycle())
    asked = world.consider(world.cycle(accuracy=0.1, trigger_retrain=False))
    world.policy("b", TrainingPolicy(pooled=False))
    alone = world.consider(world.cycle(accuracy=0.1, account_id="b"))
    assert "unknown" in unknown.result["reason"]
    assert "asked not to" in asked.result["reason"]
    assert "training.pooled" in alone.result["reason"]


@pytest.mark.long
def test_the_same_ads_again_change_nothing(world):
    """Low accuracy without new ads: the same version, judged once, promoted once."""
    world.show(72, 30)
    first = world.learned()
    before = world.champion
    again = world.learned(accuracy=0.1)
    assert again.result["triggered"] is True
    assert again.result["new_model_version"] == first.result["new_model_version"]
    assert again.result["promoted"] is False
    assert "trained before" in again.result["reason"]
    assert world.champion == before
    assert len(versions(world)) == 1


def changed(world):
    """A champion, and then an audience that has changed its mind; the run of the next training."""
    world.show(72, 60)
    world.learned()
    world.audience.taste = NOW_DIFFERENT
    world.later(30)
    world.show(72, 28)
    return world.learned(accuracy=0.5)


@pytest.mark.long
def test_a_better_challenger_goes_on_trial_first(world):
    """It wins on later ads that the champion never saw, and still only speaks beside it."""
    run = changed(world)
    made = world.version(run.result["new_model_version"])
    assert made.state == "shadow", made.reason
    assert run.result["promoted"] is False
    assert run.result["challenger_score"] < run.result["champion_score"]
    assert made.champion_version == world.champion.version != made.version
    assert made.test["champion"]["p_value"] < 0.05
    assert made.test["champion"]["ads"] >= 10


def test_a_shadow_that_proves_itself_is_promoted(world):
    """New ads of which both spoke show it better: the pointer moves, once, and the one before
    is where a rollback goes."""
    first = changed(world).result
    old, shadow = world.model(), world.model(first["new_model_version"])
    waiting = world.consider(world.cycle(accuracy=0.9))
    assert waiting.result["promoted"] is False
    assert f"0 of {TrainingPolicy().min_shadow_ads} new ads" in waiting.result["reason"]
    world.later(10)
    world.show(40, 7, says=(old, shadow))
    run = world.consider(world.cycle(accuracy=0.9))
    assert run.result["triggered"] is False
    assert run.result["promoted"] is True
    assert run.result["new_model_version"] == shadow.version == world.champion.version
    assert run.result["challenger_score"] < run.result["champion_score"]
    assert world.champion.previous == (old.version,)
    assert world.version(old.version).state == "retired"
    assert world.version(shadow.version).test["trial"]["ads"] == 40
    after = world.champion
    assert world.consider(world.cycle(accuracy=0.9)).result["promoted"] is False
    assert world.champion == after


@pytest.mark.long
def test_a_shadow_that_fails_its_trial_is_rejected(world):
    """The audience changed back: what won yesterday loses on new ads, and the champion stays."""
    first = changed(world).result
    old, shadow = world.model(), world.model(first["new_model_version"])
    world.audience.taste = {"question": 0.6, "statistic": -0.5}
    world.later(10)
    world.show(40, 7, says=(old, shadow))
    run = world.consider(world.cycle(accuracy=0.9))
    assert run.result["promoted"] is False
    assert world.version(shadow.version).state == "rejected"
    assert "not better" in world.version(shadow.version).reason
    assert world.champion.version == old.version


@pytest.mark.long
def test_a_trial_ends(world):
    """Without new ads a shadow does not wait for ever."""
    shadow = changed(world).result["new_model_version"]
    world.later(46)
    world.consider(world.cycle(accuracy=0.9))
    assert world.version(shadow).state == "rejected"
    assert "46 days on trial" in world.version(shadow).reason


@pytest.mark.long
def test_the_job_settles_trials_before_it_trains(world):
    """A cycle that trains promotes the shadow that has proved itself, and the new challenger is
    judged against it; both stand in one commit."""
    first = changed(world).result
    old, shadow = world.model(), world.model(first["new_model_version"])
    world.later(10)
    world.show(60, 7, says=(old, shadow))
    run = world.learned(accuracy=0.5)
    assert world.champion.version == shadow.version
    assert run.result["promoted"] is True
    assert run.result["new_model_version"] not in (shadow.version, old.version)
    assert "also better" in run.result["reason"]


# Poison ----------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_poisoned_day_is_left_out(world):
    """A day on which everything was clicked is not learned from, and the cycle says so."""
    world.show(72, 30)
    day = world.documents.query(Query("actuals", order=["first_shown_at"]), Actual)[30:33]
    for ad in day:
        wrong = replace(ad, clicks=round(ad.impressions * 0.45))
        world.documents.set(f"actuals/{ad.id}", wrong)
    run = world.learned()
    assert run.result["promoted"] is True
    assert run.degraded == ("actuals-refused",)
    assert "far from all others" in run.result["reason"]
    assert world.model().base_rate < 0.06


@pytest.mark.parametrize(
    "poison",
    [
        lambda ad: replace(ad, clicks=round(ad.impressions * 0.6)),
        pytest.param(lambda ad: replace(ad, clicks=ad.impressions + 1), marks=pytest.mark.long),
        pytest.param(
            lambda ad: replace(ad, first_shown_at=ad.first_shown_at + 90 * DAY),
            marks=pytest.mark.long,
        ),
    ],
)
def test_many_impossible_actuals_stop_the_learning(world, poison):
    """More clicks than impressions, rates no ad has, ads of the future: the champion stays."""
    world.show(72, 30)
    world.learned()
    before = world.champion
    for ad in world.show(40, 5):
        world.documents.set(f"actuals/{ad.id}", poison(ad))
    run = world.learned(accuracy=0.1)
    assert run.status is LoopStatus.COMPLETED
    assert run.result["new_model_version"] is None
    assert "nothing was learned" in run.result["reason"]
    assert run.degraded == ("actuals-refused",)
    assert world.champion == before


@pytest.mark.long
def test_plausible_poison_does_not_reach_predictions(world):
    """Labels turned upside down, each of them possible: what learns them gets no further than its
    trial, because true ads come after."""
    world.show(72, 60)
    world.learned()
    before = world.champion
    world.audience.taste = {"question": -1.0, "statistic": 1.0}
    world.later(30)
    world.show(72, 28)
    run = world.learned(accuracy=0.5)
    assert world.champion == before
    old, shadow = world.model(), world.model(run.result["new_model_version"])
    world.audience.taste = {"question": 0.6, "statistic": -0.5}
    world.later(10)
    world.show(30, 7, says=(old, shadow))
    world.consider(world.cycle(accuracy=0.9))
    assert world.champion == before
    assert world.version(shadow.version).state == "rejected"


# What breaks -----------------------------------------------------------------------------------


@pytest.mark.long
def test_training_that_fails_keeps_the_champion(world, monkeypatch):
    """A graph that is not its model is not published: the loop failed, the champion predicts."""
    world.show(72, 30)
    world.learned()
    before = world.champion
    world.show(40, 3)
    monkeypatch.setattr(graphs, "difference", lambda *_: 0.98)
    run = world.learned(accuracy=0.1)
    assert run.status is LoopStatus.FAILED
    assert "differ from the model's by 0.98" in run.reason
    assert world.champion == before
    assert len(versions(world)) == 1


class KilledError(BaseException):
    """The process is gone: nothing after it runs."""


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("before-objects", marks=pytest.mark.long),
        "after-objects",
        pytest.param("in-commit", marks=pytest.mark.long),
    ],
)
def test_a_kill_leaves_nothing_half_promoted(world, monkeypatch, moment):
    """Killed at any moment of training, the registry is as it was; done again, it is whole."""
    world.show(72, 30)
    cycle = world.cycle()
    world.consider(cycle)
    with monkeypatch.context() as broken:
        kill(broken, moment)
        with pytest.raises(KilledError):
            world.train(cycle)
    assert world.champion is None
    assert versions(world) == []
    world.later(0.01)
    run = world.train(cycle)
    assert run.result["promoted"] is True
    assert world.champion.version == run.result["new_model_version"]
    assert len(versions(world)) == 1


def kill(broken, moment):
    def die(*_, **__):
        raise KilledError

    if moment == "before-objects":
        broken.setattr(model_training, "_published", die)
    elif moment == "after-objects":
        broken.setattr(model_training, "_trained", die)
    else:
        broken.setattr(model_registry, "enthroned", die)


@pytest.mark.long
def test_two_executions_train_once(world):
    """A job that was started twice finds its work done: one version, one promotion."""
    world.show(72, 30)
    cycle = world.cycle()
    world.consider(cycle)
    first = world.train(cycle)
    assert world.train(cycle) == first
    assert world.champion.previous == ()
    assert len(versions(world)) == 1


@pytest.mark.long
def test_a_champion_that_moved_meanwhile_is_not_replaced(world, monkeypatch):
    """Somebody put another model in use while the trial was judged: the promotion is refused, and
    done again against that one."""
    first = changed(world).result
    old, shadow = world.model(), world.model(first["new_model_version"])
    world.later(10)
    world.show(40, 7, says=(old, shadow))
    found = world.version(shadow.version)
    with pytest.raises(ChampionMovedError, match="judge again"):
        world.documents.transact(
            lambda t: model_registry.enthroned(t, found, "ctr-another", "x", "y", 1.0)
        )
    assert world.champion.version == old.version


def test_a_damaged_champion_is_replaced(world):
    """An artifact that is not the registered one wants a challenger, which takes its place."""
    world.show(72, 30)
    world.learned()
    before = world.champion
    other = world.files.write(b"{}", world.bucket, "other.json", "application/json")
    world.documents.set(model_registry.PATH, replace(before, artifact=other))
    model_registry._loaded.clear()
    world.show(40, 3)
    run = world.learned(accuracy=0.9)
    assert run.degraded == ("champion-unreadable",)
    assert run.result["promoted"] is True
    assert world.champion.version not in ("", before.version)
    assert world.model().version == world.champion.version


# Accounts --------------------------------------------------------------------------------------


def test_each_account_has_its_level(world):
    """One model for the deployment, each account at its own level; an unknown one at the mean."""
    world.show(80, 30)
    world.audience.base = -2.3
    world.show(80, 30, account_id="b")
    world.learned()
    model = world.model()
    ad = {"motion": 0.5}
    low, high = (model.for_account(one).predict_vector(ad).ctr for one in ("a", "b"))
    between = model.for_account("new").predict_vector(ad)
    assert low * 2 < high
    assert low < between.ctr < high
    sure = model.for_account("a").predict_vector(ad)
    assert width(between) > width(sure)
    assert world.version(model.version).accounts == ("a", "b")


def width(prediction):
    low, high = prediction.interval
    return high / low


@pytest.mark.long
def test_an_account_keeps_its_ads_to_itself(world):
    """What is not pooled is not learned from."""
    world.policy("b", TrainingPolicy(pooled=False))
    world.show(100, 30)
    world.show(100, 30, account_id="b")
    world.learned()
    assert world.version(world.champion.version).accounts == ("a",)
