"""The Council's Gemini path through the real google-genai client, over the wire."""

import json

import pytest
from geminivideo.cloud.vertex import Vertex
from geminivideo.events import ObjectRef
from geminivideo.language import ModelUnavailableError
from geminivideo.policy import CouncilPolicy
from geminivideo.records import Brief, Prediction, Scene, Transcript, Verdict, Video
from geminivideo.runtime.clock import Clock
from geminivideo.titan_core import session
from geminivideo.titan_core.material import Material

from emulators.vertex import ApiError, Reply, Server

POLICY = CouncilPolicy(blueprints=3)
DRAFT = {
    "title": "A ride",
    "hook_text": "Wait for it",
    "hook_type": "pattern_interrupt",
    "shots": [{"scene_id": "f-000", "start_s": 0.0, "end_s": 3.0}],
    "cta_text": "Learn more",
    "cta_type": "learn_more",
    "caption": "Ride",
    "emotional_triggers": ["curiosity"],
    "grade": "vivid",
}


@pytest.fixture
def vertex(tmp_path, monkeypatch):
    server = Server(state_dir=tmp_path, clock=Clock())
    server.start()
    monkeypatch.setenv("GV_VERTEX_URL", server.url)
    yield server
    server.stop()


@pytest.fixture
def material():
    prediction = Prediction(
        score=0.5, ctr=None, interval=None, model_version="heuristic-1", sample_size=0
    )
    scenes = tuple(
        Scene(id=f"f-00{i}", flow_id="f", index=i, start_s=4.0 * i, end_s=4.0 * i + 4.0,
              prediction=prediction, rank=i)
        for i in range(2)
    )  # fmt: skip
    video = Video(
        id="f", account_id="a", campaign_id=None, container="mov", video_codec="h264",
        video=ObjectRef(bucket="uploads", name="ride.mp4", generation=1), audio_codec=None,
        width=1280, height=720, fps=25.0, duration_s=8.0, rotation_deg=0, size_bytes=1,
        title="Ride", created_at=0.0,
    )  # fmt: skip
    transcript = Transcript(id="f", words=(), language=None, source="none")
    return Material(flow_id="f", brief=Brief(), video=video, scenes=scenes, transcript=transcript)


def model():
    return Vertex("local", "global", "gemini-2.5-flash", attempts=1)


def scripted(asked, drafts=(DRAFT,), score=95.0):
    """Answers by what is asked for: plans, or a score."""
    if "Plan 3 different ads" in asked.prompt:
        return Reply(text=json.dumps({"blueprints": list(drafts)}), input_tokens=1000)
    if "Score this ad plan" in asked.prompt:
        return Reply(text=json.dumps({"score": score, "reason": "clear"}))
    return Reply(text=json.dumps(DRAFT))


def test_director_and_members_are_asked_and_believed(vertex, material):
    """The model plans with the video as a part, two members judge, the mode names the model."""
    vertex.state.answer_by(scripted)
    held = session.hold(material, POLICY, model())
    (blueprint,) = held.blueprints
    assert held.degraded == ()
    assert blueprint.mode == "gemini:gemini-2.5-flash"
    assert blueprint.verdict is Verdict.APPROVED
    assert {m.member for m in blueprint.members} >= {"creative-director", "media-buyer"}
    assert vertex.state.log[0].media == ("gs://uploads/ride.mp4",)
    assert vertex.state.log[0].schema["properties"]["blueprints"]["type"] == "array"


def test_cost_is_counted_where_prices_are_known(vertex, monkeypatch, material):
    """Tokens times the configured prices, in micro-dollars; without prices the cost is unknown."""
    vertex.state.answer_by(scripted)
    assert session.hold(material, POLICY, model()).blueprints[0].cost_microusd is None
    monkeypatch.setenv("GV_GEMINI_PRICES", "0.3,2.5")
    assert session.hold(material, POLICY, model()).blueprints[0].cost_microusd == 300


@pytest.mark.parametrize(
    "shots",
    [
        [],
        [{"scene_id": "f-009", "start_s": 0.0, "end_s": 1.0}],
        [{"scene_id": "f-000", "start_s": 0.0, "end_s": 99.0}],
    ],
    ids=["none", "an unknown scene", "outside the scene"],
)
def test_a_plan_that_does_not_fit_the_video_is_dropped_with_its_reason(vertex, material, shots):
    """A blueprint with impossible shots is left out and noted; the good one stays."""
    bad = DRAFT | {"shots": shots}
    vertex.state.answer_by(lambda asked: scripted(asked, (bad, DRAFT)))
    held = session.hold(material, POLICY, model())
    assert len(held.blueprints) == 1
    assert held.notes[0].startswith("blueprint 0:")


def test_low_scores_of_the_model_reject(vertex, material):
    """Members that score 40 pull a faultless plan under the bar."""
    vertex.state.answer_by(lambda asked: scripted(asked, score=40.0))
    (blueprint,) = session.hold(material, POLICY, model()).blueprints
    assert blueprint.verdict is Verdict.REJECTED


FAILURES = {
    "server error": Reply(error=ApiError(500, "INTERNAL", "boom")),
    "quota": Reply(error=ApiError(429, "RESOURCE_EXHAUSTED", "slow down")),
    "blocked": Reply(text="", finish_reason="SAFETY"),
    "cut short": Reply(text='{"blueprints": [', finish_reason="MAX_TOKENS"),
    "no JSON": Reply(text="Sure! Here are your ads"),
    "another shape": Reply(text='{"ads": []}'),
    "nothing usable": Reply(text='{"blueprints": []}'),
}


@pytest.mark.parametrize("failure", FAILURES, ids=list(FAILURES))
def test_when_the_model_fails_the_labelled_default_strategy_plans(vertex, material, failure):
    """Errors, blocked, cut, unparsable and empty answers end in the default, marked degraded."""
    vertex.state.answer_by(lambda asked: FAILURES[failure])
    held = session.hold(material, POLICY, model())
    assert held.degraded == ("default-strategy",)
    assert held.notes[0].startswith("model: ")
    assert {b.mode for b in held.blueprints} == {"default"}


def test_a_member_that_does_not_answer_has_no_score(vertex, material):
    """When judging fails the member's score is None with the reason, and the others decide."""

    def plans_only(asked):
        if "Score this" in asked.prompt:
            return Reply(error=ApiError(400, "INVALID_ARGUMENT", "no"))
        return scripted(asked)

    vertex.state.answer_by(plans_only)
    (blueprint,) = session.hold(material, POLICY, model()).blueprints
    silent = [m for m in blueprint.members if m.member in ("creative-director", "media-buyer")]
    assert [m.score for m in silent] == [None, None]
    assert blueprint.verdict is not Verdict.NEEDS_REVIEW


def test_nobody_there_is_a_named_error(monkeypatch):
    """An endpoint that does not answer raises the error that the Council falls back on."""
    monkeypatch.setenv("GV_VERTEX_URL", "http://127.0.0.1:9")
    with pytest.raises(ModelUnavailableError, match=r"gemini-2\.5-flash"):
        model().complete("hello", {"type": "object"}, [])


def test_unscripted_and_unknown_methods_say_so(vertex):
    """Without a script the endpoint answers 503; another method answers 501 by its name."""
    import urllib.error
    import urllib.request

    base = f"{vertex.url}/v1/projects/p/locations/l/publishers/google/models/m"
    for method, status, said in [
        ("generateContent", 503, "no answer is scripted"),
        ("predictLongRunning", 501, "models.predictLongRunning is not emulated"),
    ]:
        body = json.dumps({"contents": [{"parts": [{"text": "x"}]}]}).encode()
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(f"{base}:{method}", body))
        assert caught.value.code == status
        assert said in caught.value.read().decode()
