"""The CTR model against a simulated audience whose truth is known."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from geminivideo.ml import vectors
from geminivideo.ml.ctr import CtrModel, ModelUnreadableError, load_champion
from geminivideo.ml.judging import Row
from geminivideo.ml.ranking import rank
from geminivideo.ml.training import TooFewActualsError, train
from geminivideo.policy import RankPolicy, TrainingPolicy
from geminivideo.records import Box, Detection, Features, Scene, TextSeen
from hypothesis import given, settings
from hypothesis import strategies as st

POLICY, RANKING = TrainingPolicy(), RankPolicy()
TRUTH = {"motion": 0.45, "faces": 0.30, "duration_s": -0.25}


class Audience:
    """Shows creatives with random features; the hidden CTR is logistic in three of them."""

    def __init__(self, seed: int, base: float = -3.5, unexplained: float = 0.0) -> None:
        self._rng = np.random.default_rng(seed)
        self._base = base
        self._unexplained = unexplained

    def creative(self) -> tuple[dict[str, float], float]:
        """A vector and its true CTR."""
        values = {name: float(self._rng.normal(2.0, 3.0)) for name in vectors.NAMES}
        effect = sum(weight * (values[name] - 2.0) / 3.0 for name, weight in TRUTH.items())
        noise = self._unexplained * self._rng.normal()
        return values, float(1 / (1 + np.exp(-(self._base + effect + noise))))

    def rows(self, count: int) -> list[Row]:
        """What was shown and clicked, one an hour."""
        return [self._row(hour) for hour in range(count)]

    def _row(self, hour: int) -> Row:
        values, rate = self.creative()
        shown = int(self._rng.integers(500, 4000))
        clicks = int(self._rng.binomial(shown, rate))
        return Row(values=values, impressions=shown, clicks=clicks, at=3600.0 * hour)


@pytest.fixture(scope="module")
def model() -> CtrModel:
    """Learned from 300 creatives."""
    return train(Audience(1).rows(300), POLICY, RANKING)


def test_it_beats_the_base_rate_on_later_rows(model):
    """Better than knowing nothing, by a good part of what can be known, and calibrated."""
    report = model.report
    assert (report.trained_rows, report.held_out_rows) == (225, 75)
    assert report.beats_baseline
    assert report.baseline_log_loss - report.log_loss > 0.003
    assert report.calibration == pytest.approx(1.0, abs=0.1)


def test_it_finds_the_hidden_truth(model):
    """The effects that are there have their size, those that are not are near zero."""
    learned = dict(zip(model.names, model.coefficients, strict=True))
    assert set(learned) == set(vectors.NAMES)
    for name, weight in learned.items():
        assert weight == pytest.approx(TRUTH.get(name, 0.0), abs=0.06)


@pytest.mark.parametrize("unexplained", [0.0, 0.3])
def test_intervals_cover_the_truth(unexplained):
    """A 90 % interval of the expected CTR holds it about nine times in ten, also when creatives
    differ for reasons that no feature shows."""
    learned = train(Audience(2, unexplained=unexplained).rows(400), POLICY, RANKING)
    fresh = Audience(3)
    covered = []
    for values, rate in (fresh.creative() for _ in range(400)):
        low, high = learned.predict_vector(values).interval
        covered.append(low <= rate <= high)
    assert np.mean(covered) > 0.78


def test_an_audience_without_preferences_teaches_nothing():
    """With no effect to find, the predictions stay near the base rate."""
    rng = np.random.default_rng(5)
    rows = [
        Row(
            values={name: float(rng.normal()) for name in vectors.NAMES},
            impressions=2000,
            clicks=int(rng.binomial(2000, 0.02)),
            at=float(i),
        )
        for i in range(200)
    ]
    learned = train(rows, POLICY, RANKING)
    predicted = [learned.predict_vector(row.values).ctr for row in rows]
    assert max(predicted) < 0.03
    assert learned.report.log_loss == pytest.approx(learned.report.baseline_log_loss, abs=5e-4)


def test_the_split_is_by_time():
    """The later rows judge: a change of taste at the end shows as a model worse than before."""
    rows = Audience(6).rows(300)
    turned = [
        replace(row, clicks=round(row.impressions * 0.12)) if row.at >= 3600 * 225 else row
        for row in rows
    ]
    steady, changed = (train(some, POLICY, RANKING) for some in (rows, turned))
    assert changed.coefficients == steady.coefficients
    assert changed.trained_to == steady.trained_to == 3600.0 * 224
    assert changed.report.log_loss > steady.report.log_loss * 2
    assert changed.report.calibration < 0.5


def test_training_is_deterministic_in_any_order(model):
    """The same rows give the same bytes, and the version is the hash of the content."""
    rows = Audience(1).rows(300)
    assert train(rows[::-1], POLICY, RANKING).dump() == model.dump()
    assert model.version.startswith("ctr-")
    assert train(Audience(7).rows(300), POLICY, RANKING).version != model.version


def test_too_little_is_no_model():
    """Few creatives or few clicks: an error that says how much is needed."""
    with pytest.raises(TooFewActualsError, match=f"at least {POLICY.min_rows} creatives"):
        train(Audience(1).rows(20), POLICY, RANKING)
    cold = [replace(row, clicks=0) for row in Audience(1).rows(100)]
    with pytest.raises(TooFewActualsError, match="100 clicks"):
        train(cold, POLICY, RANKING)


def test_impossible_counts_are_refused():
    """More clicks than impressions is a broken import, not a fact."""
    rows = Audience(1).rows(100)
    with pytest.raises(ValueError, match="more clicks than impressions"):
        train([replace(rows[0], clicks=rows[0].impressions + 1), *rows[1:]], POLICY, RANKING)


def test_features_that_never_vary_or_are_mostly_unknown_are_left_out():
    """No object model: the column is not in the model, and its absence is no missing part."""
    rows = [
        replace(row, values={**row.values, "object_kinds": None, "quality": 0.5})
        for row in Audience(1).rows(200)
    ]
    learned = train(rows, POLICY, RANKING)
    assert set(vectors.NAMES) - set(learned.names) == {"object_kinds", "quality"}
    assert learned.predict_vector({**rows[0].values}).degraded == ()


def test_json_round_trips(model):
    """The document is plain JSON and gives the same predictions."""
    document = model.dump()
    assert json.loads(document)["version"] == model.version
    again = load_champion(document)
    assert again == model
    values, _ = Audience(9).creative()
    assert again.predict_vector(values) == model.predict_vector(values)


def test_a_damaged_champion_is_refused(model):
    """Broken JSON, another format, lengths that differ, impossible numbers, altered content."""
    good = json.loads(model.dump())
    bad = {
        "not readable": b"\x80\x04pickle",
        "format 1": {**good, "format": 1},
        "differ in length": {**good, "means": good["means"][:-1]},
        "covariance does not fit": {**good, "covariance": good["covariance"][:-1]},
        "numbers that cannot be": {**good, "spreads": [0.0] * len(good["names"])},
        "not the hash": {**good, "intercept": good["intercept"] + 1},
    }
    for words, document in bad.items():
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        with pytest.raises(ModelUnreadableError, match=words):
            load_champion(raw)


def test_an_unknown_value_widens_the_interval(model):
    """Not known is not average: the prediction is less sure, and says what it lacks."""
    values, _ = Audience(9).creative()
    mean = dict(zip(model.names, model.means, strict=True))
    known = model.predict_vector({**values, "motion": mean["motion"]})
    unknown = model.predict_vector({**values, "motion": None})
    assert unknown.ctr == pytest.approx(known.ctr)
    assert unknown.interval[0] < known.interval[0]
    assert unknown.interval[1] > known.interval[1]
    assert unknown.degraded == ("partial-features:motion",)


@settings(max_examples=150, deadline=None)
@given(st.fixed_dictionaries({name: st.none() | st.floats(-1e6, 1e6) for name in vectors.NAMES}))
def test_any_prediction_is_a_rate_inside_its_interval(model, values):
    """However far outside of what was learned, 0 <= low <= ctr <= high <= 1."""
    found = model.predict_vector(values)
    low, high = found.interval
    assert 0.0 <= low <= found.ctr <= high <= 1.0
    assert 0.0 <= found.score <= 1.0


def test_the_score_is_half_at_the_accounts_usual(model):
    """ctr / (ctr + base rate): 0.5 at the base rate, and it rises with the CTR."""
    found = [model.predict_vector(Audience(s).creative()[0]) for s in range(20)]
    by_ctr = sorted(found, key=lambda one: one.ctr)
    assert [one.score for one in by_ctr] == sorted(one.score for one in found)
    for one in found:
        assert (one.score > 0.5) == (one.ctr > model.base_rate)


def test_predicting_needs_no_learning_library(model, tmp_path):
    """A function that only predicts imports neither scikit-learn nor numpy."""
    document = tmp_path / "champion.json"
    document.write_bytes(model.dump())
    script = (
        "import sys, pathlib\n"
        "from geminivideo.ml.ctr import load_champion\n"
        f"model = load_champion(pathlib.Path({str(document)!r}).read_bytes())\n"
        "print(model.predict_vector({}).ctr > 0, 'sklearn' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False", "False"], done.stderr


def scene(index: int, **features) -> Scene:
    """A scene of two seconds with a transcript of three words."""
    return Scene(
        id=f"s-{index}",
        flow_id="f",
        index=index,
        start_s=0.0,
        end_s=2.0,
        features=Features(**features),
        transcript="one two three",
    )


def test_a_scene_is_measured_into_its_vector():
    """Counts are those of one moment, as log(1 + n); what is unknown stays None."""
    box = Box(x=0, y=0, w=0.1, h=0.1)
    faces = tuple(Detection(label="face", confidence=1, box=box, at_s=at) for at in (0, 0, 1))
    texts = (TextSeen(text="SALE", confidence=1, box=box, at_s=0),)
    vector = vectors.of_scene(scene(0, motion=0.2, faces=faces, texts=texts, objects=()))
    assert set(vector) == set(vectors.NAMES)
    assert vector["motion"] == 0.2
    assert vector["faces"] == pytest.approx(np.log(3))
    assert vector["letters"] == pytest.approx(np.log(5))
    assert vector["object_kinds"] == 0.0
    assert vector["words"] == pytest.approx(np.log(4))
    assert vector["duration_s"] == 2.0
    assert vector["sharpness"] is None


def test_the_champion_ranks_scenes(model):
    """Scenes come in the order of their predicted CTR, with the model's version and sample."""
    ranked = rank([scene(i, motion=float(i)) for i in range(4)], model)
    assert [one.index for one in ranked] == [3, 2, 1, 0]
    best = ranked[0].prediction
    assert best.model_version == model.version
    assert best.sample_size == model.impressions
    assert best.ctr > ranked[1].prediction.ctr
    assert "heuristic-rank" not in ranked[0].degraded
