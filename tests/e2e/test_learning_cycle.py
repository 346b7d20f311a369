"""The seed's test 1.3: seven loops over real functions, from their start to a changed system."""

import json
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime

import grpc
import pytest
from geminivideo.budget import history
from geminivideo.budget.history import AdDay
from geminivideo.cloud.documents import Query
from geminivideo.cloud.files import Files
from geminivideo.learning_records import (
    CreativeFeatures,
    CycleStatus,
    LearningCycle,
    LoopStatus,
    ModelVersion,
    PredictionRecord,
)
from geminivideo.policy import LearningPolicy, Policy
from geminivideo.records import (
    AdState,
    ChampionModel,
    ChangeStatus,
    ChangeType,
    Flow,
    FlowStatus,
    PendingChange,
    Prediction,
)
from geminivideo.runtime.runs import StepRun, path_of, run_id_of
from geminivideo.services import model_registry
from geminivideo.services.learning_loops import LOOPS
from geminivideo.services.learning_rescue import step_of
from geminivideo.topology import STEPS
from google.cloud import pubsub_v1, scheduler_v1
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import (
    CloudSchedulerGrpcTransport,
)
from typer.testing import CliRunner

from emulators.cli import app
from emulators.cloud import LocalCloud
from emulators.faults.rules import Rule
from emulators.profile import AD_ACCOUNT
from emulators.running import Running
from emulators.watch import Watcher

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]
LIMIT_S = 480.0
DAY = 86400.0
PATH = "/api/ml/self-learning-cycle"
HOOKS = {"question": 0.045, "statistic": 0.02, "offer": 0.012}
SHARE, INDEX = LOOPS[5], LOOPS[6]


class Site:
    """One cloud with an account in mode auto whose ads were predicted, shown, and paid for."""

    def __init__(self, cloud, ads=0):
        self.cloud = cloud
        self.watcher = Watcher(Running.find(cloud.state_dir))
        self.documents = self.watcher.documents
        self.bucket = f"{cloud.project}-models"
        self.account = self.watcher.seed_account().id
        self.ads = cloud.meta.seed(AD_ACCOUNT, ads, 5000) if ads else []
        self.adsets = {ad["id"]: ad["adset_id"] for ad in cloud.meta.objects(AD_ACCOUNT, "ad")}
        chance = random.Random(7)
        writes = [pair for n, ad in enumerate(self.ads) for pair in self._ad(n, ad, chance)]
        self.documents.set_many(writes)

    def _ad(self, number, ad, chance):
        """An ad that was made here, predicted by a model that knew nothing, and shown for days."""
        hook = list(HOOKS)[number % len(HOOKS)]
        motion, days = chance.random(), 2 + number % 20
        now = self.cloud.clock.now()
        rate = HOOKS[hook] * (0.7 + 0.6 * motion)
        rows = [self._day(now - back * DAY, rate, chance) for back in range(days, 0, -1)]
        made = now - days * DAY
        variation = f"v-{number}"
        yield f"ad_states/{ad}", AdState(
            id=ad, account_id=self.account, currency="USD", updated_at=now, campaign_id="cm-1",
            adset_id=self.adsets[ad], status="ACTIVE", created_at=made, daily_budget=5000,
            insights_at=now, days=history.packed(rows),
            impressions=sum(row.impressions for row in rows),
            clicks=sum(row.clicks for row in rows), spend=sum(row.spend for row in rows),
        )  # fmt: skip
        yield f"predictions/{variation}", PredictionRecord(
            id=variation, account_id=self.account, at=made - 60, variation_id=variation,
            features=CreativeFeatures(hook_type=hook, motion=motion, duration_s=15.0),
            predicted=Prediction(
                score=0.5, ctr=0.2, interval=(0.1, 0.3), model_version="ctr-naive", sample_size=9
            ),
        )  # fmt: skip
        yield f"pending_ad_changes/ch-{number}", PendingChange(
            id=f"ch-{number}", change_type=ChangeType.CREATE_AD, status=ChangeStatus.COMPLETED,
            account_id=self.account, campaign_id="ca", ad_id=ad, meta_id=ad, payload={},
            requested_by="creative-generation", reasoning="", created_at=made, not_before_at=made,
            jitter_s=0.0, variation_id=variation, finished_at=made,
        )  # fmt: skip

    @staticmethod
    def _day(at, rate, chance):
        clicks = sum(chance.random() < rate for _ in range(1000))
        date = datetime.fromtimestamp(at, UTC).date().isoformat()
        return AdDay(date=date, begins_at=at, impressions=1000, clicks=clicks, spend=3000)

    def ask(self, method, path, body=None, service="ml-service"):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.cloud.urls[service] + path, data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def wait_for(self, what, within_s=LIMIT_S):
        end = time.monotonic() + within_s
        while not (found := what()):
            assert time.monotonic() < end, f"not within {within_s:.0f} s"
            time.sleep(0.1)
        return found

    def start(self, **members):
        """Start the account's cycle over HTTP; its id."""
        return self.ask("POST", PATH, {"account_id": self.account, **members})["cycle_id"]

    def ended(self, cycle_id):
        """The cycle's record once it is over."""

        def over():
            found = self.documents.get(f"learning_cycles/{cycle_id}", LearningCycle)
            return found if found and found.status is CycleStatus.COMPLETED else None

        return self.wait_for(over)

    def flow_ended(self, cycle_id):
        """The cycle's flow, which its last step ends once it has committed the cycle's own end."""

        def over():
            flow = self.documents.require(f"flows/{cycle_id}", Flow)
            return flow if flow.status is not FlowStatus.RUNNING else None

        return self.wait_for(over)

    def cycles(self):
        where = [("account_id", "==", self.account)]
        return self.documents.query(Query("learning_cycles", where), LearningCycle)

    def run(self, step, cycle_id):
        return self.documents.get(path_of(run_id_of(step, cycle_id)), StepRun)

    def models(self):
        found = self.documents.query(Query("model_registry/ctr/versions"), ModelVersion)
        return {one.version: one.state for one in found}

    def raises(self):
        where = [("requested_by", "==", "auto-promotion")]
        return self.documents.query(Query("pending_ad_changes", where), PendingChange)

    def dethroned(self):
        """The registry as it is before any model was trained, but for a champion that nothing can
        read any more: the next training promotes its successor. That champion."""
        for version in self.models():
            self.documents.delete(model_registry.path_of(version))
        broken = Files(self.cloud.project).write(
            b"{}", self.bucket, f"ctr/broken-{time.time_ns()}.json", "application/json"
        )
        champion = ChampionModel(
            name="ctr", version="ctr-before", artifact=broken, promoted_at=self.cloud.clock.now()
        )
        self.documents.set(model_registry.PATH, champion)
        return champion

    def lose_index(self):
        """No winner is indexed: the next cycle reads, writes and indexes them all."""
        for entry in self.documents.query(Query("winner_entries"), dict):
            self.documents.delete(f"winner_entries/{entry['id']}")
        for blob in self.watcher.files.list_blobs(self.bucket, prefix="winners/"):
            blob.delete()

    def forget(self):
        """The next cycle finds the account as the first one did: no ad was promoted lately."""
        self.wait_for(lambda: all(one.status is CycleStatus.COMPLETED for one in self.cycles()))
        for adset in self.adsets.values():
            self.documents.delete(f"promotion_states/{adset}")
        self.documents.delete(f"promotion_ledgers/{self.account}")
        for change in self.raises():
            self.documents.update(f"pending_ad_changes/{change.id}", {"status": "COMPLETED"})


class Schedule:
    """Cloud Scheduler of a cloud, through the real client."""

    def __init__(self, cloud):
        channel = grpc.insecure_channel(cloud.env()["CLOUD_SCHEDULER_EMULATOR_HOST"])
        transport = CloudSchedulerGrpcTransport(channel=channel)
        self.client = scheduler_v1.CloudSchedulerClient(transport=transport)
        self._jobs = f"projects/{cloud.project}/locations/{cloud.region}/jobs"

    def pause(self, step):
        self.client.pause_job(name=f"{self._jobs}/{STEPS[step].resource_name}")

    def run(self, step):
        self.client.run_job(name=f"{self._jobs}/{STEPS[step].resource_name}")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """What the ads did is seeded, and a test begins its own cycles: neither Meta's young ads, read
    at the next full six hours, nor a cycle of the night may come between."""
    monkeypatch = pytest.MonkeyPatch()
    with LocalCloud(tmp_path_factory.mktemp("learning"), 0, speed=4.0) as cloud:
        for name, value in cloud.env().items():
            monkeypatch.setenv(name, value)
        for step in ("receive_insights", "start_cycle"):
            Schedule(cloud).pause(step)
        yield Site(cloud, ads=60)
    monkeypatch.undo()


@pytest.mark.long
def test_the_cycle_over_http(site):
    """One POST; every loop has its fields, its status and its duration; the system has changed."""
    cycle_id = site.start()
    site.ended(cycle_id)
    shown = site.ask("GET", f"{PATH}/{cycle_id}")
    steps = shown["steps"]
    assert {name: step["status"] for name, step in steps.items()} == dict.fromkeys(
        steps, "completed"
    ), {name: step["reason"] for name, step in steps.items()}
    found = {int(number): step["result"] for number, step in steps.items()}
    assert found[1]["successful"] == found[1]["linked_predictions"] == len(site.ads)
    assert 0 <= found[2]["accuracy"] <= 1
    assert found[2]["accuracy"] < 0.80
    assert found[3]["triggered"] is True
    assert found[3]["new_model_version"] in site.models()
    assert found[4]["new_patterns"] > 0
    assert found[4]["new_knowledge_nodes"] > 0
    assert found[5]["total_checked"] == len(site.ads)
    assert found[5]["promoted_count"] > 0
    once(site, site.ended(cycle_id))
    assert found[6]["status"] == "active"
    assert found[7]["status"] == "auto_indexed_in_feedback_loop"
    assert found[7]["indexed_count"] > 0
    assert shown["status"] == "completed"
    assert shown["duration_seconds"] > 0
    assert all(step["duration_seconds"] > 0 for step in steps.values())
    flow = site.flow_ended(cycle_id)
    assert (flow.kind, flow.status) == ("learning", FlowStatus.COMPLETED)
    assert site.ask("GET", f"{PATH}?account_id={site.account}")["cycles"][0] == shown


@pytest.mark.long
def test_the_cycle_by_the_schedule(site):
    """Cloud Scheduler's own job wakes it; accounts that share nothing each have their cycle."""
    before = {one.id for one in site.cycles()}
    site.forget()
    Schedule(site.cloud).run("start_cycle")

    def begun():
        return [one for one in site.cycles() if one.id not in before]

    (cycle,) = site.wait_for(begun)
    ended = site.ended(cycle.id)
    assert ended.trigger == "schedule"
    assert {run.status for run in ended.steps.values()} == {LoopStatus.COMPLETED}
    assert len(ended.steps) == 7


def geminivideo(*arguments):
    command = [sys.executable, "-m", "emulators.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.long
def test_the_cycle_from_the_command_line(site):
    """``geminivideo learn`` on the running cloud follows the cycle; its JSON has seven steps."""
    site.forget()
    state = str(site.cloud.state_dir)
    code, out, err = geminivideo("learn", "--account", site.account, "--json", "--state", state)
    assert code == 0, err
    (cycle,) = json.loads(out)["cycles"]
    assert (cycle["status"], cycle["trigger"]) == ("completed", "command")
    assert [step["status"] for step in cycle["steps"].values()] == ["completed"] * 7
    code, _, err = geminivideo("learn", "--account", "nobody", "--state", state)
    assert code == 1
    assert "there is no account nobody" in err


@pytest.mark.long
def test_the_command_line_brings_a_cloud_along(tmp_path):
    """Without a running cloud one is started for the cycle, and an empty account is no failure."""
    state = str(tmp_path / "cloud")
    code, out, err = geminivideo("learn", "--account", "demo", "--state", state)
    assert code == 0, err
    assert "completed" in out
    assert "unknown" in out
    code, out, _ = geminivideo("learn", "--account", "demo", "--json", "--state", state)
    assert code == 0
    assert len(json.loads(out)["cycles"]) == 1


MOMENTS = {
    "beginning": {"skip": 0, "delay_s": 120.0},
    "unrecorded": {"skip": 1, "delay_s": 120.0, "drop": "before"},
    "end": {"skip": 1, "delay_s": 120.0},
}
"""How a loop's own commits of its cycle are struck. The first says that it has begun, the second is
its end with the next one's message; one that is delayed arrives though its sender is dead, unless
it is dropped: then all was done, and nothing says so."""
TASK = "retrain-*-0-*"  # the job's tasks; the function's name has no number


def commit_of(caller, **effect):
    """Strikes one of the commits by which a process writes what became of its loop."""
    return Rule(
        service="firestore", endpoint="Firestore/Commit", resource="learning_cycles/*",
        caller=caller, id="hold", **effect,
    )  # fmt: skip


def struck(site, rule):
    return next(one.struck for one in site.cloud.faults.standings() if one.rule.id == rule.id)


def killed_in(site, rule, kill, **members):
    """A cycle in which a process was killed while the rule held its call; its id."""
    site.cloud.faults.add(rule)
    cycle_id = site.start(**members)
    site.wait_for(lambda: struck(site, rule))
    kill()
    site.cloud.faults.clear(rule.id)
    return cycle_id


@pytest.mark.long
@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.name)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_loop_killed_in_the_middle(site, loop, moment):
    """SIGKILL before it did anything, when it has done all and nothing says so, and when its end
    is on its way: it is done again, or found done, and each effect is there once."""
    site.forget()
    champion = champion_of(site)
    function = STEPS[step_of(loop)].resource_name
    rule = commit_of(function, **MOMENTS[moment])
    cycle_id = killed_in(site, rule, lambda: site.cloud.host.kill(function), trigger_retrain=False)
    ended = site.ended(cycle_id)
    assert {run.status for run in ended.steps.values()} == {LoopStatus.COMPLETED}
    if moment != "end":
        assert site.run(step_of(loop), cycle_id).attempts >= 2
    assert champion_of(site) == champion
    once(site, ended)


WITHIN = {
    "actuals": {"service": "firestore", "resource": "actuals/*"},
    "promote": {"service": "firestore", "resource": "pending_ad_changes/*"},
    "index": {"service": "firestore", "resource": "winner_entries/*"},
    "manifest": {"service": "storage", "resource": "*-models*", "skip": 1},
}
ENDPOINTS = {"firestore": "Firestore/Commit", "storage": "POST /upload/*"}


@pytest.mark.long
@pytest.mark.parametrize("effect", WITHIN)
def test_a_loop_killed_between_its_effects(site, effect):
    """SIGKILL while one of several writes is on its way that no commit holds together: what was
    written is not written again, what was not is, and winners are found."""
    site.forget()
    site.lose_index()
    function = STEPS["index_winners" if effect == "manifest" else step_named(effect)].resource_name
    rule = Rule(
        endpoint=ENDPOINTS[WITHIN[effect]["service"]], caller=function, delay_s=120.0, id="hold",
        **WITHIN[effect],
    )  # fmt: skip
    cycle_id = killed_in(site, rule, lambda: site.cloud.host.kill(function), trigger_retrain=False)
    ended = site.ended(cycle_id)
    assert {run.status for run in ended.steps.values()} == {LoopStatus.COMPLETED}
    once(site, ended)
    found = site.ask("POST", "/api/ml/rag/search-winners", {"account_id": site.account})
    ads = [one["ad_id"] for one in found["winners"]]
    assert len(set(ads)) == len(ads) > 0


def step_named(name):
    return step_of(next(loop for loop in LOOPS if loop.name == name))


def champion_of(site):
    return model_registry.champion_of(site.documents)


def once(site, ended):
    """What the cycle says it raised is there, each ad set once, and nothing besides."""
    ours = [change for change in site.raises() if change.reasoning.endswith(ended.id)]
    adsets = [change.payload["adset_id"] for change in ours]
    assert len(set(adsets)) == len(adsets) == ended.steps["5"].result["budget_increases"] > 0


JOB_MOMENTS = {
    name: commit_of(TASK, **effect) for name, effect in MOMENTS.items()
} | {
    "objects": Rule(
        service="storage", endpoint="POST /upload/*", caller=TASK, delay_s=120.0, id="hold"
    )
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("moment", JOB_MOMENTS)
def test_the_job_killed_in_the_middle(site, moment):
    """SIGKILL before training, while the model is uploaded, when all is done and nothing says so,
    and when the end is on its way: until that arrives the champion is what it was, then its
    successor is promoted once."""
    site.forget()
    before = site.dethroned()
    cycle_id = killed_in(site, JOB_MOMENTS[moment], lambda: site.cloud.jobs.kill("retrain"))
    if moment != "end":
        assert champion_of(site) == before
    ended = site.ended(cycle_id)
    retrain = ended.steps["3"]
    assert retrain.status is LoopStatus.COMPLETED, retrain.reason
    if moment != "end":
        assert site.run("retrain", cycle_id).attempts >= 2
    promoted_once(site, before.version)
    once(site, ended)


def promoted_once(site, before):
    """One new model is registered, it is in use, it can be read, and it was put there once."""
    champion = champion_of(site)
    assert champion.previous == ((before,) if before else ())
    assert site.models() == {champion.version: "champion"}
    model = model_registry.load(Files(site.cloud.project), champion.artifact, champion.checksum)
    assert model.version == champion.version


@pytest.mark.long
def test_the_function_killed_when_it_has_started_the_job(site):
    """SIGKILL when the execution is asked for and nothing says so: the job may be started twice,
    its work is done once."""
    site.forget()
    before = site.dethroned()
    rule = Rule(
        service="run", endpoint="POST *:run", caller="retrain-model", delay_s=8.0, id="hold"
    )
    cycle_id = killed_in(site, rule, lambda: site.cloud.host.kill("retrain-model"))
    ended = site.ended(cycle_id)
    assert ended.steps["3"].status is LoopStatus.COMPLETED, ended.steps["3"].reason
    assert site.run("retrain_model", cycle_id).attempts >= 2
    promoted_once(site, before.version)


@pytest.mark.long
def test_a_rollback_while_a_model_is_trained(site):
    """Somebody takes the champion back while its successor is judged against it: the judgement is
    void, and a task that is tried again judges against what is in use then."""
    site.forget()
    site.dethroned()
    rule = replace(JOB_MOMENTS["objects"], delay_s=60.0)
    site.cloud.faults.add(rule)
    cycle_id = site.start()
    site.wait_for(lambda: struck(site, rule))
    done = CliRunner().invoke(
        app, ["model", "rollback", "--by", "ann", "--state", str(site.cloud.state_dir)]
    )
    assert done.exit_code == 0, done.output
    assert "no model is in use" in done.output
    ended = site.ended(cycle_id)
    assert ended.steps["3"].status is LoopStatus.COMPLETED, ended.steps["3"].reason
    assert site.run("retrain", cycle_id).attempts >= 2
    promoted_once(site, None)


@pytest.mark.long
def test_a_job_that_dies_at_every_try(site):
    """The execution fails for good: the loop is failed, the cycle goes on, the champion stays."""
    site.forget()
    champion = champion_of(site)
    cycle_id = site.start(accuracy_threshold=1.0)
    for attempt in range(1, STEPS["retrain"].max_attempts + 1):

        def tried(attempt=attempt):
            run = site.run("retrain", cycle_id)
            return run is not None and run.attempts >= attempt

        site.wait_for(tried)
        site.cloud.jobs.kill("retrain")
    ended = site.ended(cycle_id)
    assert ended.steps["3"].status is LoopStatus.FAILED
    assert ended.steps["3"].reason.endswith("took up its work 3")
    assert all(ended.steps[str(n)].status is LoopStatus.COMPLETED for n in (4, 5, 6, 7))
    assert champion_of(site) == champion
    assert site.flow_ended(cycle_id).degraded


@pytest.mark.long
def test_a_loop_that_always_fails(site):
    """Its documents cannot be written: it is tried, recorded as failed, and the next one runs."""
    site.forget()
    broken = Rule(
        service="firestore", endpoint="Firestore/BatchGetDocuments", resource="sharing_consents/*",
        code="INVALID_ARGUMENT", times="forever", id="broken",
    )  # fmt: skip
    site.cloud.faults.add(broken)
    cycle_id = site.start(trigger_retrain=False)
    ended = site.ended(cycle_id)
    site.cloud.faults.clear("broken")
    assert ended.steps[str(SHARE.number)].status is LoopStatus.FAILED
    assert ended.steps[str(SHARE.number)].reason
    assert ended.steps[str(INDEX.number)].status is LoopStatus.COMPLETED
    assert ended.status is CycleStatus.COMPLETED


@pytest.mark.long
def test_a_loop_that_hangs(site):
    """Nobody ends it: the sweeper records the time-out and wakes the next, which ends the cycle."""
    site.forget()
    path = f"policies/{site.account}"
    policy = site.documents.require(path, Policy)
    hasty = replace(policy, learning=LearningPolicy(lost_after_s=60.0))
    site.documents.set(path, hasty)
    rule = commit_of("share-patterns", skip=1, delay_s=3000.0)
    site.cloud.faults.add(rule)
    cycle_id = site.start(trigger_retrain=False)
    ended = site.ended(cycle_id)
    assert ended.steps["6"].status is LoopStatus.TIMED_OUT
    assert ended.steps["7"].status is LoopStatus.COMPLETED
    site.cloud.host.kill("share-patterns")
    site.cloud.faults.clear(rule.id)
    site.documents.set(path, policy)


@pytest.mark.long
def test_every_event_twice(site):
    """Each push to each loop is delivered twice at once: every loop works once."""
    site.forget()
    double = [
        Rule(
            service="pubsub", endpoint=f"push *{STEPS[step].resource_name}", duplicate=2,
            times="forever", id=f"twice-{step}",
        )
        for step in ("start_cycle", *(step_of(loop) for loop in LOOPS))
    ]  # fmt: skip
    site.cloud.faults.add(*double)
    cycle_id = site.start(trigger_retrain=False)
    ended = site.ended(cycle_id)
    for rule in double:
        site.cloud.faults.clear(rule.id)
    assert {run.status for run in ended.steps.values()} == {LoopStatus.COMPLETED}
    attempts = {loop.name: site.run(step_of(loop), cycle_id).attempts for loop in LOOPS}
    assert attempts == dict.fromkeys(attempts, 1)
    once(site, ended)
    rows = [
        row for row in site.documents.query(Query("outbox"), dict) if row["flow_id"] == cycle_id
    ]
    topics = [row["topic"] for row in rows if row["topic"].endswith("-due")]
    assert len(topics) == len(set(topics))


@pytest.mark.long
def test_an_empty_account_ends_too(site):
    """An account without ads: seven loops end, and what cannot be known is not made up."""
    site.watcher.seed_account("empty")
    started = site.ask("POST", PATH, {"account_id": "empty"})
    ended = site.ended(started["cycle_id"])
    found = {run.number: run.result for run in ended.steps.values()}
    assert {run.status for run in ended.steps.values()} == {LoopStatus.COMPLETED}
    assert found[1]["actuals_count"] == 0
    assert found[2]["accuracy"] is None
    assert found[5]["total_checked"] == 0
    assert found[7]["indexed_count"] == 0


@pytest.mark.long
def test_a_message_of_the_bus_itself(site):
    """Anybody with the right to publish may ask for one account's cycle by a message."""
    site.forget()
    before = {one.id for one in site.cycles()}
    topic = pubsub_v1.PublisherClient().topic_path(site.cloud.project, "learning-due")
    asked = {"account_id": site.account, "flow_id": "lc-mine", "tick": "mine"}
    pubsub_v1.PublisherClient().publish(topic, json.dumps(asked).encode()).result(timeout=20)
    site.wait_for(lambda: {one.id for one in site.cycles()} - before)
    assert site.ended("lc-mine").status is CycleStatus.COMPLETED


@pytest.mark.long
def test_unknown_cycles_are_not_found(site):
    """A cycle that never was is a 404 that names it."""
    with pytest.raises(urllib.error.HTTPError, match="404"):
        site.ask("GET", f"{PATH}/lc-nothing")
