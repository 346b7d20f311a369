"""Loop 2: predictions judged by stored actuals, per model, and whether errors changed."""

from dataclasses import replace

import pytest
from geminivideo.learning_records import LoopStatus
from geminivideo.policy import AccuracyPolicy

FIGURES = ("accuracy", "rmse", "mae", "r_squared")


def test_an_empty_account_is_unknown_everywhere(world):
    """No actuals: every figure is null, nothing is a default, and the cycle goes on."""
    run = world.track()
    assert run.status is LoopStatus.COMPLETED
    assert [run.result[name] for name in FIGURES] == [None] * 4
    assert (run.result["n"], run.result["data_status"]) == (0, "insufficient")
    assert (run.result["calibration"], run.result["per_model"]) == ([], {})
    assert run.result["drift"] is None
    assert world.sent  # the next loop was woken
    assert world.report().overall.accuracy is None


def test_a_good_model_is_told_to_be_good(world, make):
    """True rates as predictions: near 1 though seen rates scatter; the report is stored whole."""
    world.champion("ctr-a")
    world.ads(40, shown=1500)
    run = world.track()
    result = run.result
    assert result["accuracy"] > 0.9
    assert result["accuracy_as_seen"] < result["accuracy"]
    assert (result["n"], result["data_status"], result["model_version"]) == (
        40,
        "complete",
        "ctr-a",
    )
    low, high = result["intervals"]["accuracy"]
    assert low <= result["accuracy"] <= high
    assert 0.5 < result["r_squared"] <= 1.0
    assert sum(one["ads"] for one in result["calibration"]) == 40
    assert result["drift"] is False
    assert run.degraded == ()
    report = world.report()
    assert (report.account_id, report.at, report.model_version) == (make.account, make.now, "ctr-a")
    assert report.overall.accuracy == result["accuracy"]
    assert report.overall == report.models["ctr-a"]


def test_a_bad_model_is_told_to_be_bad(world):
    """Predictions 40 % too high are an accuracy of 0.6, below what retraining waits for."""
    world.champion("ctr-a")
    world.ads(40, said=1.4)
    result = world.track().result
    assert result["accuracy"] == pytest.approx(0.6, abs=0.05)
    assert result["per_model"]["ctr-a"]["bias"] == pytest.approx(1.4, abs=0.06)
    assert result["drift"] is False  # it was always wrong


def test_a_drift_is_found_with_its_time(world, make):
    """The audience changes after two thirds of the ads: drift, and when it began."""
    world.champion("ctr-a")
    world.ads(60, drift=0.4)
    result = world.track().result
    assert result["drift"] is True
    evidence = result["drift_evidence"]
    assert evidence["kind"] == "level"
    assert evidence["after"] < evidence["before"]
    began = make.now - 80 * make.day / 3
    assert abs(evidence["since_at"] - began) < 8 * make.day
    assert world.report().drift.p_value <= 0.01


def test_models_on_trial_are_judged_by_the_same_ads(world, make):
    """What a shadow said before the ads were shown is compared with what became of them."""
    world.champion("ctr-a")
    ads = world.ads(30, said=1.3)
    trial = [
        replace(ad, shadows=(make.shadow(model_version="ctr-b", ctr=ad.predicted_ctr / 1.3),))
        for ad in ads
    ]
    world.store(trial)
    models = world.track().result["per_model"]
    assert models["ctr-b"]["accuracy"] > 0.9 > models["ctr-a"]["accuracy"]
    assert models["ctr-b"]["n"] == models["ctr-a"]["n"] == 30


def test_a_new_champion_is_judged_by_its_own_words(world):
    """Ads that the model before predicted badly do not make the new one be retrained."""
    world.ads(30, prefix="old", said=2.0, model_version="ctr-old")
    world.ads(10, prefix="new")
    world.champion("ctr-a")
    result = world.track().result
    assert result["accuracy"] > 0.9
    assert (result["n"], result["model_version"]) == (10, "ctr-a")
    assert set(result["per_model"]) == {"ctr-a", "ctr-old"}


def test_the_drift_of_a_model_that_was_replaced_is_over(world):
    """Errors of the model before changed over time; of the new one nothing is known yet."""
    world.ads(60, prefix="old", drift=0.4, model_version="ctr-old")
    assert world.track("t1").result["drift"] is True
    world.champion("ctr-a")
    world.ads(5, prefix="new")
    assert world.track("t2").result["drift"] is None


def test_a_champion_of_too_few_ads_leaves_the_word_to_all(world):
    """One ad is no accuracy: that of all predictions is given, and said to be."""
    world.ads(30, prefix="old", said=1.5, model_version="ctr-old")
    world.ads(1, prefix="new")
    world.champion("ctr-a")
    run = world.track()
    assert run.result["n"] == 31
    assert run.result["model_version"] is None
    assert run.degraded == ("accuracy-of-earlier-models",)


def test_ads_without_a_predicted_rate_judge_nobody(world):
    """Predictions of the heuristic say no rate; ads not made here have none at all."""
    world.ads(20, predicted_ctr=None, model_version="heuristic-1")
    world.ads(20, prefix="other", predicted_ctr=None, model_version=None, prediction_id=None)
    result = world.track().result
    assert (result["n"], result["data_status"], result["per_model"]) == (0, "insufficient", {})


def test_partial_actuals_are_used_and_said(world):
    """Ads that lack days count; the data's status tells that they do."""
    world.ads(20)
    world.ads(1, prefix="gap", partial=("days-missing:2",))
    world.champion("ctr-a")
    result = world.track().result
    assert (result["n"], result["data_status"]) == (21, "partial")
    assert world.report().partial_ads == 1


def test_days_that_differ_widen_what_chance_explains(world):
    """The ads' days tell how alike the clicks of one day are; less is then the model's error."""
    world.champion("ctr-a")
    ads = world.ads(30, shown=1500, said=1.1)
    before = world.track("t1").result
    world.store([replace(ad, day_dispersion=3.0, day_pairs=5) for ad in ads])
    after = world.track("t2").result
    assert after["counting_error"] > 1.5 * before["counting_error"]
    assert after["accuracy"] >= before["accuracy"]
    assert after["rmse"] == before["rmse"]
    assert world.report("t2").overall.dispersion == 3.0


def test_impossible_actuals_are_excluded_and_named(world):
    """More clicks than impressions, however they came to be stored, judge nobody."""
    ads = world.ads(20)
    world.champion("ctr-a")
    good = world.track("t1").result
    world.store([replace(ads[0], id="bad", ad_id="bad", clicks=99_999)])
    run = world.track("t2")
    assert run.result["n"] == good["n"]
    assert run.result["accuracy"] == good["accuracy"]
    assert run.result["data_status"] == "partial"
    assert run.degraded == ("actuals-unbelievable:1",)
    assert world.report("t2").excluded == ("bad",)


def test_other_accounts_and_old_ads_are_not_looked_at(world, make):
    """An account is judged by its own ads of the policy's window alone, the latest of them."""
    world.ads(20)
    world.ads(20, prefix="theirs", account="other", said=3.0)
    world.ads(5, prefix="old", said=3.0, first_shown_at=make.now - 91 * make.day)
    assert world.track("t1").result["n"] == 20
    few = replace(make.policy, accuracy=AccuracyPolicy(max_ads=12))
    world.put(f"policies/{make.account}", few)
    assert world.track("t2").result["n"] == 12


def test_the_same_cycle_gives_the_same_report(world):
    """Draws are seeded by the account and the cycle: a repeated loop says the same."""
    world.ads(25)
    world.track()
    before = world.report()
    world.documents.delete(f"accuracy_reports/{before.id}")
    world.forget()
    world.track()
    assert world.report() == before


def test_the_route_judges_now(world, make):
    """The same figures over HTTP, at once, and nothing is stored."""
    world.champion("ctr-a")
    world.ads(20)
    status, body = world.post({"account_id": make.account})
    assert status == 200
    assert 0.85 < body["accuracy"] <= 1.0
    assert (body["n"], body["data_status"], body["degraded"]) == (20, "complete", [])
    assert set(body) >= {*FIGURES, "calibration", "per_model", "drift", "intervals"}


def test_an_unknown_account_has_insufficient_data(world):
    """Nobody's accuracy is null, with status 200; an id that is none is a 422."""
    status, body = world.post({"account_id": "nobody"})
    assert (status, body["accuracy"], body["data_status"]) == (200, None, "insufficient")
    assert world.post({"account_id": "a/b"})[0] == 422
    assert world.post({})[0] == 422
