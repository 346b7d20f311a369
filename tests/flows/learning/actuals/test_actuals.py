"""Loop 1: totals of ads in their window, linked to what was predicted before they were shown."""

from dataclasses import replace

import pytest
from geminivideo.learning_records import LoopStatus, PredictionRecord, ShadowPrediction
from geminivideo.policy import LearningPolicy
from geminivideo.records import SettledTotals
from geminivideo.runtime.http import ApiError
from geminivideo.services.actuals import range_s


def test_an_ad_is_linked_to_the_prediction_that_preceded_it(world, make):
    """Totals, money and time of the ad; features, rate and models as they were predicted."""
    world.ad("1", days=5)
    world.predicted("1", shadows=(ShadowPrediction(model_version="ctr-b", ctr=0.03),))
    run = world.link()
    assert run.status is LoopStatus.COMPLETED
    assert run.result == {
        "actuals_count": 1, "linked_predictions": 1, "successful": 1, "partial": False,
    }  # fmt: skip
    found = world.actual("1")
    assert (found.impressions, found.clicks, found.spend) == (5000, 100, 2500)
    assert (found.pipeline_value, found.currency) == (90_000, "USD")
    assert (found.prediction_id, found.model_version) == ("v-1", "ctr-a")
    assert (found.predicted_ctr, found.interval) == (0.02, (0.01, 0.04))
    assert found.features.hook_type == "question"
    assert found.shadows[0].model_version == "ctr-b"
    assert found.first_shown_at == make.now - 5 * make.day  # created at noon of its first day
    assert found.until_at == make.now
    assert found.partial == ()
    assert world.documents.require("predictions/v-1", PredictionRecord).ad_id == "1"


def test_from_publishing_to_actuals(world, make):
    """Ads that the flow asked for and the executor made are linked once they were shown."""
    world.rendered(2)
    world.champion(2)
    world.publish()
    for number, change in enumerate(world.changes()):
        world.made(change, f"90{number}")
    world.clock.sleep(4 * make.day)
    for number in range(2):
        world.ad(f"90{number}", days=3)
    run = world.link()
    assert run.result["linked_predictions"] == 2
    for record, ad_id in zip(world.predictions(), ("900", "901"), strict=True):
        actual = world.actual(ad_id)
        assert record.ad_id == ad_id
        assert actual.prediction_id == record.id
        assert actual.predicted_ctr == pytest.approx(record.predicted.ctr)
        assert actual.features == record.features


def test_what_the_executor_made_and_meta_shows_is_linked(world, meta, make):
    """The true chain: predicted, made by the executor, shown by Meta, read, linked."""
    world.put(f"policies/{make.account}", world.auto)
    world.rendered(2)
    world.champion(2)
    world.publish()
    world.clock.sleep(60.0)
    made = [world.execute(change) for change in world.changes()]
    world.clock.sleep(4 * make.day)
    world.shown(*made)
    run = world.link()
    assert run.result["linked_predictions"] == 2
    assert run.result["actuals_count"] == 2
    for record, ad_id in zip(world.predictions(), made, strict=True):
        actual = world.actual(ad_id)
        assert record.ad_id == ad_id
        assert (actual.impressions, actual.clicks) == (3000, 90)
        assert actual.first_shown_at > record.at
        assert actual.predicted_ctr == pytest.approx(record.predicted.ctr)


def test_an_ad_whose_change_ends_later_is_linked_by_a_later_cycle(world, make):
    """The executor may learn the ad's id after the ad was shown: the next cycle finds it."""
    world.rendered(1)
    world.publish()
    (change,) = world.changes()
    world.clock.sleep(4 * make.day)
    world.ad("900", days=3)
    first = world.link("t1")
    assert (first.result["successful"], first.result["linked_predictions"]) == (1, 0)
    assert "ads-without-prediction:1" in first.degraded
    world.made(change, "900")
    assert world.link("t2").result["linked_predictions"] == 1
    assert world.actual("900").prediction_id == change.variation_id


def test_ads_that_were_not_made_here_have_no_prediction(world):
    """They are counted all the same, and said to judge no model."""
    world.ad("7")
    run = world.link()
    assert run.result == {
        "actuals_count": 1, "linked_predictions": 0, "successful": 1, "partial": False,
    }  # fmt: skip
    assert run.degraded == ("ads-without-prediction:1",)
    assert world.actual("7").features is None


def test_only_ads_of_the_window_are_looked_at(world):
    """Younger than a day is too early, older than thirty is over; the bounds belong to it."""
    for days in (0, 1, 2, 30, 31, 36):
        world.ad(str(days), days=max(days, 1), ago=days)
    assert world.link().result["actuals_count"] == 3
    assert [days for days in (0, 1, 2, 30, 31, 36) if world.actual(str(days))] == [1, 2, 30]


def test_an_ad_that_was_never_shown_has_no_actuals(world):
    """Without an impression nothing became of it yet."""
    world.ad("1", days=0, ago=5)
    assert world.link().result["actuals_count"] == 0
    assert world.actual("1") is None


def test_a_prediction_made_after_the_ad_is_not_its_prediction(world, make):
    """Whatever was said once the ad was there may know the answer."""
    world.ad("1", days=5)
    world.predicted("1", at=make.now - 4 * make.day)
    assert world.link().result["linked_predictions"] == 0
    world.ad("1", days=5, created_at=None)
    world.predicted("1", at=make.now - 5 * make.day + make.hour)
    assert world.link("t2").result["linked_predictions"] == 1


def test_what_is_missing_is_said_and_the_rest_is_used(world, make):
    """Days without a row and old insights make an actual partial, not absent."""
    world.ad("gap", skip=(3, 2))
    world.ad("since", ago=8)
    world.ad("old", insights_at=make.now - 30 * make.hour)
    world.ad("never", insights_at=None)
    world.ad("whole")
    run = world.link()
    assert (run.result["successful"], run.result["partial"]) == (5, True)
    assert "actuals-partial:4" in run.degraded
    said = {ad: world.actual(ad).partial for ad in ("gap", "since", "old", "never", "whole")}
    assert said == {
        "gap": ("days-missing:2",), "since": ("days-missing:3",), "old": ("insights-stale",),
        "never": ("insights-stale",), "whole": (),
    }  # fmt: skip


def test_a_stopped_ad_has_no_missing_days_since(world):
    """An ad that is paused is not delivered: the days after its last one are not missing."""
    world.ad("1", days=5, ago=8, status="PAUSED")
    world.link()
    assert world.actual("1").partial == ()


def test_totals_from_before_the_days_are_in(world, make):
    """What was settled counts; without a time of creation the first day is unknown, and said."""
    settled = SettledTotals(through="2026-11-01", impressions=4000, clicks=80, spend=100)
    world.ad("1", days=5, created_at=make.now - 20 * make.day, settled=settled)
    world.ad("2", days=5, created_at=None, settled=settled)
    world.link()
    assert (world.actual("1").impressions, world.actual("1").clicks) == (9000, 180)
    assert world.actual("1").first_shown_at == make.now - 20 * make.day
    assert world.actual("2").partial == ("first-day-unknown",)


def test_the_same_cycle_again_writes_the_same(world, make):
    """A loop that is killed after its writes does them again, to the same end."""
    for number in range(3):
        world.ad(str(number))
        world.predicted(str(number))
    world.link("t1")
    before = [world.actual(str(number)) for number in range(3)]
    cycle = world.forget_loop("t1")
    assert world.link("t1").result == cycle.steps["1"].result
    assert [world.actual(str(number)) for number in range(3)] == before


def test_a_later_cycle_keeps_the_link_and_takes_the_new_totals(world, make):
    """What was linked stays linked, even if the change that told is gone."""
    world.ad("1", days=5)
    world.predicted("1")
    world.link("t1")
    world.documents.delete("pending_ad_changes/ch-1")
    world.clock.sleep(make.day)
    world.ad("1", days=6)
    run = world.link("t2")
    assert run.result["linked_predictions"] == 1
    found = world.actual("1")
    assert (found.impressions, found.prediction_id, found.predicted_ctr) == (6000, "v-1", 0.02)


def test_more_ads_than_one_question_asks_for_are_all_linked(world):
    """Changes are asked for thirty ads at a time; the thirty-first is found too."""
    for number in range(34):
        world.ad(f"{number:02d}", days=2)
        world.predicted(f"{number:02d}")
    assert world.link().result["linked_predictions"] == 34


def test_time_that_is_up_ends_the_loop_with_what_it_has(world, make, monkeypatch):
    """After its seconds the loop takes up no new batch, and says so; the next cycle goes on."""
    from geminivideo.services import actuals

    monkeypatch.setattr(actuals, "_CHUNK", 2)
    rules = LearningPolicy(loop_s=0.0)
    world.put(f"policies/{make.account}", replace(make.policy, learning=rules))
    for number in range(5):
        world.ad(str(number))
    run = world.link()
    assert run.status is LoopStatus.COMPLETED
    assert (run.result["actuals_count"], run.result["successful"]) == (5, 2)
    assert run.result["partial"] is True
    assert run.degraded[0] == "actuals-stopped-late"


def test_an_account_without_ads_has_no_actuals(world):
    """Nothing is nothing: no error, no partial data, no figure."""
    run = world.link()
    assert run.result == {
        "actuals_count": 0, "linked_predictions": 0, "successful": 0, "partial": False,
    }  # fmt: skip


# Days that cannot be true ----------------------------------------------------------------------


def test_a_poisoned_day_of_all_ads_is_left_out(world):
    """Ten times the clicks on one day of every ad: that day neither judges nor teaches."""
    for number in range(6):
        world.ad(str(number), days=9, clicks=lambda back: 250 if back == 4 else 20)
        world.predicted(str(number))
    run = world.link()
    assert any(one.startswith("day-doubted:2026-11-18:all-ads-jumped") for one in run.degraded)
    assert run.result["partial"] is True
    found = world.actual("0")
    assert (found.impressions, found.clicks) == (8000, 160)
    assert found.spend == 4500  # what was spent on that day was spent
    (reason,) = found.partial
    assert reason.startswith("day-left-out:2026-11-18:all-ads-jumped")


def test_a_day_with_more_clicks_than_impressions_is_left_out(world):
    """The ad keeps its other days, the other ads keep theirs."""
    world.ad("1", days=5, clicks=lambda back: 1200 if back == 2 else 20)
    world.ad("2", days=5)
    run = world.link()
    assert "ads-contradict:1" in run.degraded
    assert (world.actual("1").impressions, world.actual("1").clicks) == (4000, 80)
    assert (world.actual("2").impressions, world.actual("2").partial) == (5000, ())


def test_how_much_days_differ_is_remembered_without_the_bad_ones(world):
    """The days' own dispersion goes with the totals; a day that is left out does not widen it."""
    world.ad("even", days=6)
    world.ad("apart", days=6, clicks=lambda back: 60 if back % 2 else 5)
    world.ad("odd", days=6, clicks=lambda back: 1500 if back == 3 else 20)
    world.link()
    even, apart, odd = (world.actual(ad) for ad in ("even", "apart", "odd"))
    assert (even.day_dispersion, even.day_pairs) == (0.0, 5)
    assert apart.day_dispersion > 20
    assert (odd.day_dispersion, odd.day_pairs) == (0.0, 4)


def test_an_ad_of_which_nothing_can_be_true_is_left_out(world):
    """Its document stays as it was, and the count of such ads is said."""
    world.ad("1", days=5)
    world.link("t1")
    before = world.actual("1")
    world.ad("1", days=5, clicks=2000)
    run = world.link("t2")
    assert (run.result["actuals_count"], run.result["successful"]) == (1, 0)
    assert "actuals-unbelievable:1" in run.degraded
    assert world.actual("1") == before


# The route ---------------------------------------------------------------------------------------


def test_the_route_links_now(world, make):
    """A caller may link at once; the answer has the loop's members and the state of the data."""
    world.ad("1")
    world.predicted("1")
    status, body = world.post("/api/ml/actuals/fetch", {"account_id": make.account})
    assert status == 200
    assert body == {
        "actuals_count": 1, "linked_predictions": 1, "successful": 1, "partial": False,
        "data_status": "complete", "degraded": [],
    }  # fmt: skip
    assert world.actual("1").prediction_id == "v-1"


def test_a_time_range_narrows_the_window(world, make):
    """Ads first shown within it are linked; the policy's days are the most."""
    for days in (2, 6, 20, 40):
        world.ad(str(days), days=min(days, 30), ago=days)
    counted = {}
    for asked in (None, "7d", 3, "last_month", "90d"):
        body = {"account_id": make.account, "time_range": asked}
        status, answer = world.post("/api/ml/actuals/fetch", body)
        assert status == 200
        counted[asked] = answer["actuals_count"]
    assert counted == {None: 3, "7d": 2, 3: 1, "last_month": 3, "90d": 3}


@pytest.mark.parametrize(
    ("asked", "days"),
    [(None, None), ("", None), ("7d", 7), (3, 3), (1.5, 1.5), ("10", 10), ("48h", 2), ("1.5d", 1.5),
     ("last_7_days", 7), ("last_month", 30), ("1w", 7), ("last-week", 7), ("LAST_2_WEEKS", 14)],
)  # fmt: skip
def test_ranges_are_understood_as_callers_write_them(make, asked, days):
    """A number is days; a unit or a name says another one."""
    found = range_s(asked)
    assert found == (None if days is None else days * make.day)


@pytest.mark.parametrize("asked", ["soon", "-3d", 0, "d", "1e400", "last_years", "nan", "\u00b2d"])
def test_a_range_that_nobody_understands_is_refused_by_name(asked):
    """422 with what is understood, never a guess."""
    with pytest.raises(ApiError, match="time_range") as refused:
        range_s(asked)
    assert refused.value.status == 422


def test_an_unknown_account_has_insufficient_data(world):
    """An account that nobody knows is answered with nothing; a range that is none is a 422."""
    status, answer = world.post("/api/ml/actuals/fetch", {"account_id": "nobody"})
    assert (status, answer["data_status"], answer["actuals_count"]) == (200, "insufficient", 0)
    wrong = {"account_id": "nobody", "time_range": "soon"}
    assert world.post("/api/ml/actuals/fetch", wrong)[0] == 422
