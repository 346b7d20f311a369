"""CTR predictions and storyboards: the champion, the labelled heuristic, and a 503 with it."""

import itertools

import pytest
from geminivideo.events import ObjectRef
from geminivideo.ml.judging import Row
from geminivideo.ml.training import train
from geminivideo.policy import RankPolicy, TrainingPolicy
from geminivideo.records import ChampionModel
from geminivideo.runtime import http
from geminivideo.services import model_registry

PATHS = ("/api/ml/predict-ctr", "/api/ml/predict/ctr")
FEATURES = {"motion": 0.5, "quality": 0.8, "texts": [], "new_member": 1}
SCENE = {"features": FEATURES, "duration": 3.0}


@pytest.fixture(scope="module")
def model():
    """A CTR model trained on creatives whose motion made people click."""
    rows = [
        Row(
            values={"motion": m / 10, "quality": 0.5 + q / 10},
            impressions=1000,
            clicks=10 + 3 * m,
            at=float(m * 10 + q),
        )
        for m, q in itertools.product(range(10), range(6))
    ]
    return train(rows, TrainingPolicy(), RankPolicy())


@pytest.fixture
def champion(world, make, model):
    """The model as the promoted champion."""
    return register(world, make, model.dump(), model.version)


def register(world, make, document, version):
    ref = world.files.write(document, world.buckets["models"], f"{version}.json", "text/plain")
    record = ChampionModel(name="ctr", version=version, artifact=ref, promoted_at=1.0)
    make.put(world, "model_registry/ctr", record)
    return version


@pytest.mark.parametrize("service", ["gateway", "meta_publisher", "ml_service"])
@pytest.mark.parametrize("path", PATHS)
def test_heuristic_before_any_actuals(world, service, path):
    """Without a champion there is a score, honestly no CTR, and the label says so."""
    answer = world.post(service, path, {"scenes": [SCENE]})
    (made,) = answer.json["predictions"]
    assert answer.status == 200
    assert answer.json["model_version"] == "heuristic-1"
    assert 0 <= made["score"] <= 1
    assert (made["predicted_ctr"], made["interval"], made["band"]) == (None, None, None)
    assert "heuristic-rank" in made["degraded"]


def test_nothing_measured_is_null(world):
    """A scene without any feature has no prediction and says so."""
    answer = world.post("gateway", PATHS[0], {"scenes": [{"features": {}}]})
    (made,) = answer.json["predictions"]
    assert made["score"] is None
    assert made["degraded"] == ["no-features"]
    assert answer.json["model_version"] is None


def test_champion_predicts_with_interval(world, champion):
    """The champion gives a CTR inside its interval, a band, its version and its sample size."""
    answer = world.post("gateway", PATHS[0], {"scenes": [SCENE, SCENE]})
    made = answer.json["predictions"][0]
    low, high = made["interval"]
    assert answer.json["model_version"] == champion
    assert answer.json["sample_size"] > 0
    assert low <= made["predicted_ctr"] <= high
    assert made["band"] in ("low", "medium", "high")
    assert made["confidence"] == 0.9


@pytest.mark.parametrize("document", [b"{}", b"", b"\x80pickle", b'{"version": 1'])
def test_unreadable_champion_is_a_503_with_the_heuristic(world, make, document):
    """A champion that cannot be read: 503 whose fallback is the labelled heuristic prediction."""
    register(world, make, document, f"bad-{len(document)}")
    answer = world.post("ml_service", PATHS[0], {"scenes": [SCENE]})
    assert answer.status == 503
    fallback = answer.json["fallback"]
    assert fallback["model_version"] == "heuristic-1"
    assert fallback["predictions"][0]["predicted_ctr"] is None
    assert {"heuristic-rank", "champion-unreadable"} <= set(fallback["predictions"][0]["degraded"])
    assert answer.headers["Retry-After"] == str(answer.json["retry_after"])


def test_lost_champion_is_a_503_with_the_heuristic(world, make):
    """A champion whose artifact is gone is the same 503, and so is an unreadable registry."""
    gone = ObjectRef(bucket=world.buckets["models"], name="gone.json", generation=1)
    record = ChampionModel(name="ctr", version="v", artifact=gone, promoted_at=1.0)
    make.put(world, "model_registry/ctr", record)
    assert world.post("gateway", PATHS[0], {"scenes": [SCENE]}).status == 503
    world.documents.update("model_registry/ctr", {"artifact": "nonsense"})
    answer = world.post("gateway", PATHS[0], {"scenes": [SCENE]})
    assert answer.status == 503
    assert "nonsense" not in answer.json["error"]


@pytest.mark.parametrize("down", ["FIRESTORE_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"])
def test_store_down_is_a_503_with_the_heuristic(world, champion, monkeypatch, down):
    """With Firestore or Storage unreachable the heuristic answers inside the 503, soon."""
    address = "127.0.0.1:9" if down.startswith("FIRESTORE") else "http://127.0.0.1:9"
    monkeypatch.setenv(down, address)
    monkeypatch.setattr(http, "PATIENCE_S", 0.3)
    model_registry._loaded.clear()
    answer = world.post("gateway", PATHS[1], {"scenes": [SCENE]})
    assert answer.status == 503
    assert answer.json["fallback"]["predictions"][0]["score"] is not None
    assert answer.json["retry_after"] > 0
    story = world.post("gateway", "/api/score/storyboard", {"scenes": [SCENE, {"clip_id": "c"}]})
    assert story.status == 503
    assert story.json["fallback"]["composite_score"] is not None
    assert "champion-unreadable" in story.json["fallback"]["degraded"]


@pytest.mark.parametrize(
    ("scenes", "said"),
    [
        ([], "scenes"),
        ([SCENE] * 501, "scenes"),
        ([{}], "features"),
        ([{"features": {"motion": "fast"}}], "motion"),
        ([{"features": {"texts": [{"text": "x"}]}}], "texts"),
        ("x", "scenes"),
    ],
)
def test_scenes_that_are_not_understood(world, scenes, said):
    """What cannot be understood is a 422 naming the member."""
    answer = world.post("gateway", PATHS[0], {"scenes": scenes})
    assert answer.status == 422
    assert said in answer.json["error"]


def test_numbers_beyond_any_arithmetic(world, champion):
    """Features at the end of floating point are a 422 or a number, never a 500."""
    for value in (1e308, -1e308, 1e-308, 0):
        features = {"motion": value, "quality": -value, "sharpness": value}
        answer = world.post("gateway", PATHS[0], {"scenes": [{"features": features}]})
        assert answer.status in (200, 422)


def story(world, scenes, **more):
    return world.post("gateway", "/api/score/storyboard", {"scenes": scenes, **more})


def test_storyboard_by_the_heuristic(world):
    """The composite is the mean of the scenes' scores weighted by duration; the CTR is null."""
    bright = {"features": {"motion": 0.9, "quality": 1.0, "objects": [], "texts": []}}
    dull = {"features": {"motion": 0.1, "quality": 0.1, "objects": [], "texts": []}}
    meta = {"platform": "reels", "target_audience": "cooks"}
    answer = story(world, [bright | {"duration": 3}, dull | {"duration": 1}], metadata=meta)
    first, second = answer.json["per_scene"]
    assert answer.status == 200
    assert (first["weight"], second["weight"]) == (0.75, 0.25)
    expected = 0.75 * first["score"] + 0.25 * second["score"]
    assert answer.json["composite_score"] == pytest.approx(expected)
    assert (answer.json["predicted_ctr"], answer.json["interval"]) == (None, None)
    assert "heuristic-rank" in answer.json["degraded"]
    assert answer.json["not_modelled"] == ["platform", "target_audience"]


def test_storyboard_by_the_champion(world, champion):
    """With a champion the CTR lies in its interval, between those of the scenes."""
    slow = {"features": {"motion": 0.1, "quality": 0.6}, "duration": 2}
    fast = {"features": {"motion": 0.8, "quality": 0.6}, "duration": 2}
    answer = story(world, [slow, fast]).json
    low, high = answer["interval"]
    rates = [one["predicted_ctr"] for one in answer["per_scene"]]
    assert low < answer["predicted_ctr"] < high
    assert min(rates) < answer["predicted_ctr"] < max(rates)
    assert answer["model_version"] == champion


def test_storyboard_of_known_clips(world, analysed):
    """A scene given by its clip takes the features that were measured; an unknown clip none."""
    answer = story(world, [{"clip_id": f"{analysed}-000"}, {"clip_id": "none"}]).json
    known, unknown = answer["per_scene"]
    assert known["score"] is not None
    assert (unknown["score"], unknown["degraded"]) == (None, ["no-features"])
    assert answer["composite_score"] == pytest.approx(known["score"])
    assert answer["predicted_ctr"] is None


def test_storyboard_of_nothing_known(world):
    """Scenes of which nothing is known give nulls, not figures."""
    answer = story(world, [{"duration": 2}, {}]).json
    assert answer["composite_score"] is None
    assert answer["model_version"] is None


@pytest.mark.parametrize(
    ("scenes", "said"),
    [
        ([], "scenes"),
        ([{}] * 101, "scenes"),
        ([{"duration": 0}], "scenes[0].duration"),
        ([{}, {"duration": -2}], "scenes[1].duration"),
        ([{"clip_id": "a/b"}], "scenes[0].clip_id"),
    ],
)
def test_storyboards_that_are_not_understood(world, scenes, said):
    """What cannot be understood is a 422 naming the member."""
    answer = story(world, scenes)
    assert answer.status == 422
    assert said in answer.json["error"]
