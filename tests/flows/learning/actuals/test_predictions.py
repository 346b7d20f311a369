"""What is predicted of an ad is written once, before anything of it is shown."""

from dataclasses import replace

import pytest
from geminivideo.learning_records import SharingConsent
from geminivideo.ml import creative
from geminivideo.records import FlowStatus
from geminivideo.services import hearing


def test_every_ad_asked_for_has_its_prediction(world, make):
    """One record an ad, with the champion's word, the features of now and the plan's name."""
    world.rendered(3)
    model = world.champion()
    assert world.publish().outcome == "completed"
    records = world.predictions()
    assert [one.variation_id for one in records] == [c.variation_id for c in world.changes()]
    assert [one.id for one in records] == [f"{make.flow}-bp{n:02d}-v" for n in range(3)]
    for one in records:
        assert one.account_id == make.account
        assert one.blueprint_id == one.id.removesuffix("-v")
        assert one.at == make.now
        assert one.predicted == model.predict_vector(creative.vector(one.features))
        assert one.ad_id is None
    first = records[0].features
    assert (first.hook_type, first.duration_s, first.motion) == ("pattern_interrupt", 3.0, 0.0)
    assert first.words_per_s > 0


def test_without_a_model_the_heuristic_is_recorded_and_says_no_rate(world):
    """What the plan was chosen by is kept: a score, and honestly no click-through rate."""
    world.rendered(1)
    world.publish()
    (record,) = world.predictions()
    assert record.predicted.model_version == "heuristic-1"
    assert record.predicted.ctr is None
    assert record.shadows == ()


def test_every_model_on_trial_predicts_too(world):
    """Models on trial say their word beside the champion's; rejected ones are not asked."""
    world.rendered(1)
    champion = world.champion(1)
    two, three = world.on_trial(2), world.on_trial(3)
    world.on_trial(4, state="rejected")
    world.publish()
    (record,) = world.predictions()
    assert record.predicted.model_version == champion.version
    assert {one.model_version for one in record.shadows} == {two.version, three.version}
    values = creative.vector(record.features)
    said = {one.model_version: one.ctr for one in record.shadows}
    assert said[two.version] == two.predict_vector(values).ctr


def test_a_model_of_other_accounts_alone_is_not_heard(world, make):
    """What has learned from others is their experience: an account that takes no part goes without.

    Its ads' features are kept all the same, so that a model can learn from them.
    """
    world.rendered(1)
    champion = world.champion(1)
    world.on_trial(1, state="champion", accounts=("somebody-else",))
    world.publish()
    (record,) = world.predictions()
    assert record.predicted.model_version != champion.version
    assert record.predicted.ctr is None
    assert record.features.duration_s is not None


@pytest.mark.parametrize("own", [True, False])
def test_a_model_is_heard_by_who_taught_it_and_by_who_takes_part(world, make, own):
    """The account's own ads are in it, or it has opted in to sharing."""
    world.rendered(1)
    champion = world.champion(1)
    account = make.account
    world.on_trial(1, state="champion", accounts=(account,) if own else ("somebody-else",))
    if not own:
        consent = SharingConsent(id=account, opted_in=True, changed_at=1.0, by="test")
        world.put(hearing.consent_path(account), consent)
    world.publish()
    (record,) = world.predictions()
    assert record.predicted.model_version == champion.version


def test_what_was_said_first_stays(world, make):
    """Publishing again under another champion leaves the first prediction as it is."""
    world.rendered(2)
    world.champion(1)
    world.publish()
    before = world.predictions()
    world.champion(3)
    world.clock.sleep(60.0)
    world.forget_run("publish_ads", make.flow)
    assert world.publish().outcome == "completed"
    assert world.predictions() == before


def test_a_damaged_model_keeps_nobody_from_publishing(world, make):
    """The ads are made all the same; the flow says that the champion and a trial are unreadable."""
    world.rendered(1)
    world.champion(1)
    registered = world.registered()
    broken = world.files.write(b"{", world.buckets["models"], "ctr/broken.json", "text/json")
    world.put("model_registry/ctr", replace(registered, artifact=broken))
    trial = world.on_trial(2, artifact=broken)
    assert world.publish().outcome == "completed"
    (record,) = world.predictions()
    assert record.predicted.model_version == "heuristic-1"
    assert record.shadows == ()
    flow = world.flow_now()
    assert flow.status is FlowStatus.COMPLETED  # its ads await approval
    assert "champion-unreadable" in flow.degraded
    assert f"shadow-unreadable:{trial.version}" in flow.degraded


def test_new_ads_of_a_winners_video_are_measured_by_its_scenes(world, make):
    """A flow that uses what another one saw of the same video predicts with what that one saw."""
    world.rendered(1)
    world.moved_material("cf-first")
    world.publish()
    (record,) = world.predictions()
    assert record.features.motion == 0.0
    assert record.features.words_per_s > 0
