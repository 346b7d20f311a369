"""From a dropped file to ads at Meta: good videos of every kind, and bad ones."""

from collections import Counter

import pytest
from geminivideo.events import flow_id_of
from geminivideo.policy import CouncilPolicy, Policy
from geminivideo.records import ChangeStatus, FlowStatus, VariationStatus

from emulators import verdict

# One kind is followed in every run (tests/e2e/test_services.py asks about it), the rest in stress.
RARER = ("silent", "single", "portrait")
EVERY_KIND = ("landscape", *(pytest.param(kind, marks=pytest.mark.long) for kind in RARER))


@pytest.fixture(scope="module")
def site(common_site):
    return common_site


@pytest.mark.e2e
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_of_video_becomes_true_ads(flows, kind):
    """COMPLETED; approved = rendered = queued = completed = paused ads at Meta, checks passed."""
    missing = ["Degraded for a reason that offline use does not explain: no-audio."]
    expected = missing if kind == "silent" else []
    assert verdict.complaints(flows[kind]) == expected


@pytest.mark.e2e
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kind", "missing"),
    [("landscape", False), pytest.param("silent", True, marks=pytest.mark.long)],
)
def test_what_is_missing_is_named(flows, kind, missing):
    """Without sound the flow says so, and only then."""
    assert ("no-audio" in verdict.degraded(flows[kind])) is missing


@pytest.mark.e2e
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kind", "several"),
    [("landscape", True), pytest.param("single", False, marks=pytest.mark.long)],
)
def test_one_shot_is_one_scene_and_several_are_several(flows, kind, several):
    """The single shot is one scene; the clip with cuts has more."""
    scenes = len(flows[kind].scenes)
    assert scenes > 1 if several else scenes == 1


@pytest.mark.e2e
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_file_is_vertical_and_as_planned(flows, kind):
    """Each rendered file is 9:16 (to the pixel that even sides allow) and has its length."""
    for variation in flows[kind].variations:
        assert variation.status is VariationStatus.RENDERED
        assert abs(variation.width / variation.height - 9 / 16) < 0.01
        planned = next(b for b in flows[kind].blueprints if b.id == variation.blueprint_id)
        shots = sum(shot.end_s - shot.start_s for shot in planned.shots)
        assert abs(variation.duration_s - shots) < 0.15


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_bad_input_is_rejected_with_a_reason_and_nothing_is_retried(site, bad_inputs):
    """Five kinds of bad file: REJECTED, a reason a person understands, one attempt, no debris."""
    flow_ids = {name: site.drop(path) for name, (path, _) in bad_inputs.items()}
    for name, flow_id in flow_ids.items():
        facts = site.ended(flow_id)
        assert facts.flow.status is FlowStatus.REJECTED, name
        assert bad_inputs[name][1] in facts.flow.reason.lower(), facts.flow.reason
        assert [(run.step, run.attempts) for run in facts.runs] == [("ingest_video", 1)]
        assert (facts.scenes, facts.blueprints, facts.changes) == ((), (), ())


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_dropping_the_same_file_again_is_a_new_generation_and_a_new_flow(site, bad_inputs):
    """Two drops of one file are two generations and so two flows, each with its own end."""
    path, _ = bad_inputs["a text file"]
    first, second = site.drop(path), site.drop(path)
    assert first != second
    assert site.ended(first).flow.status is site.ended(second).flow.status is FlowStatus.REJECTED


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_no_secret_is_in_any_log(site, flows):
    """Meta's token is in no log file of any function or job."""
    token = site.cloud.meta_token.encode()
    logs = list((site.cloud.state_dir / "logs").iterdir())
    assert logs
    assert [log.name for log in logs if token in log.read_bytes()] == []


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_only_the_executor_wrote_to_meta_and_every_object_is_owned(site, flows):
    """On Meta's own log: one campaign a flow, one ad in its own ad set a change, nothing else."""
    writes = site.cloud.meta.writes()
    made = Counter(write.kind for write in writes if write.effect == "created")
    changes = sum(len(facts.changes) for facts in flows.values())
    assert (made["campaign"], made["adset"]) == (len(flows), changes)
    assert (made["ad"], made["adcreative"], made["advideo"]) == (changes, changes, changes)
    assert len({write.token for write in writes}) == 1
    assert [write.effect for write in writes if write.effect != "created"] == []


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_new_account_waits_for_a_person(site, clips):
    """Without a policy of its own an account is in mode approve: changes wait, nothing at Meta."""
    site.watcher.seed_accounts()
    before = len(site.cloud.meta.writes())
    few = Policy(council=CouncilPolicy(blueprints=2))
    site.watcher.documents.set("policies/default", few)
    facts = site.ended(flow_id_of(site.watcher.drop(clips["single"], "default")))
    assert facts.flow.status is FlowStatus.COMPLETED
    assert facts.flow.reason == f"{len(facts.changes)} ads await approval"
    assert facts.changes
    assert all(c.needs_approval and c.status is ChangeStatus.PENDING for c in facts.changes)
    assert len(site.cloud.meta.writes()) == before
