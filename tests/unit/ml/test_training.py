"""Candidates, the choice among them, and the graph that is served."""

from dataclasses import replace

import numpy as np
import pytest
from geminivideo.ml import graphs, onnx_serving
from geminivideo.ml.challenging import challenge
from geminivideo.ml.ctr import BOOSTING, LOGISTIC, ModelUnreadableError, load_champion
from geminivideo.ml.graphs import GraphDiffersError, difference, graph_of
from geminivideo.ml.judging import Row, loss_of
from geminivideo.ml.model_card import card_of
from geminivideo.ml.onnx_serving import GraphUnreadableError
from geminivideo.ml.training import TooFewActualsError, candidates, learn, train
from geminivideo.ml.trials import State
from geminivideo.policy import RankPolicy, TrainingPolicy

POLICY, RANKING = TrainingPolicy(resamples=400), RankPolicy()


def shown(seed, count, truth, spread=0.0, noise_columns=2):
    """``count`` ads, one an hour, whose log odds are ``truth`` of their values plus a spread."""
    rng = np.random.default_rng(seed)
    rows = []
    for hour in range(count):
        values = {name: float(rng.uniform(-1, 1)) for name in ("motion", "pace")}
        values |= {f"noise{i}": float(rng.normal()) for i in range(noise_columns)}
        logit = truth(values, hour) + spread * rng.normal()
        clicks = int(rng.binomial(4000, 1 / (1 + np.exp(-logit))))
        rows.append(Row(values=values, impressions=4000, clicks=clicks, at=3600.0 * hour))
    return rows


def line(values, hour):
    return -3.5 + 0.8 * values["motion"]


def crossed(values, hour):
    """Fast suits motion and slow suits stillness: no line through it."""
    return -3.5 + 1.2 * np.sign(values["motion"] * values["pace"])


@pytest.fixture(scope="module")
def trees():
    """Boosted trees, which crossed tastes want, and the rows they learned from."""
    rows = shown(1, 460, crossed, spread=0.1)
    return train(rows, replace(POLICY, boosting_rows=200), RANKING), rows


def test_a_line_is_learned_by_a_line():
    """Where a logistic regression is right it is chosen, and its graph says what it says."""
    rows = shown(2, 500, line)
    model = train(rows, POLICY, RANKING)
    assert model.kind == LOGISTIC
    single = [model.predict_vector(row.values).ctr for row in rows]
    assert model.predict_many([row.values for row in rows]) == pytest.approx(single, abs=1e-5)
    without = replace(model, graph=b"")
    assert without.predict_many([row.values for row in rows]) == pytest.approx(single)


def test_crossed_tastes_are_learned_by_trees(trees):
    """With ads enough the trees are tried, and chosen where no line can be right."""
    model, _ = trees
    assert model.kind == BOOSTING
    assert model.report.beats_baseline
    assert model.report.baseline_log_loss - model.report.log_loss > 0.005
    high = model.predict_vector({"motion": 0.8, "pace": 0.8, "noise0": 0.0, "noise1": 0.0})
    low = model.predict_vector({"motion": 0.8, "pace": -0.8, "noise0": 0.0, "noise1": 0.0})
    assert high.ctr > 4 * low.ctr
    assert [c.kind for c in candidates(POLICY.boosting_rows - 1, POLICY)] == [LOGISTIC] * 6


def test_trees_are_served_from_their_document(trees):
    """The JSON holds the graph: one question and many have the same answers after a round trip."""
    model, rows = trees
    again = load_champion(model.dump())
    assert again == model
    few = [row.values for row in rows[:50]]
    assert again.predict_many(few) == pytest.approx(
        [model.predict_vector(values).ctr for values in few], rel=1e-5
    )


def test_intervals_of_trees_hold_the_truth(trees):
    """Nine true rates in ten lie in a 90 % interval, ads that no feature explains included."""
    model, _ = trees
    rng = np.random.default_rng(9)
    held = []
    for row in shown(10, 300, crossed):
        low, high = model.predict_vector(row.values).interval
        logit = crossed(row.values, 0) + 0.1 * rng.normal()
        held.append(low <= 1 / (1 + np.exp(-logit)) <= high)
    assert np.mean(held) > 0.8


def test_what_trees_do_not_know_widens_their_interval(trees):
    """An unknown feature that matters widens by what knowing it changes; one that does not, not."""
    model, _ = trees
    known = {"motion": 0.5, "pace": 0.5, "noise0": 0.0, "noise1": 0.0}
    width = {}
    for name in (None, "motion", "noise0"):
        asked = known if name is None else {**known, name: None}
        low, high = model.predict_vector(asked).interval
        width[name] = np.log(high / low)
    assert width["motion"] > 1.5 * width[None]
    assert width["noise0"] < 1.3 * width[None]


def test_a_taste_that_changed_is_learned_from_what_is_recent():
    """When old ads mislead, their weight is let fade: the later ads are said better."""
    turn = 24 * 40

    def turned(values, hour):
        return -3.5 + (0.8 if hour < turn else -0.8) * values["motion"]

    rows = [row for place, row in enumerate(shown(3, 24 * 70, turned)) if place % 12 == 0]
    faded = train(rows, POLICY, RANKING)
    never = replace(POLICY, half_life_days=1e6)
    assert faded.report.log_loss < train(rows, never, RANKING).report.log_loss


def test_stale_ads_count_for_little():
    """Where an account is known to have changed, what came since is learned, and judges."""
    turn = 24 * 60

    def turned(values, hour):
        return -3.5 + (0.8 if hour < turn else -0.8) * values["motion"]

    rows = [row for place, row in enumerate(shown(3, 24 * 74, turned)) if place % 12 == 0]
    marked = [replace(row, stale=row.at < 3600.0 * turn) for row in rows]
    told, untold = learn(marked, POLICY, RANKING), learn(rows, POLICY, RANKING)
    assert len(told.later) == 7  # a quarter of the ads since
    assert not any(row.stale for row in told.later)
    faster = {values: replace(rows[0], values={"motion": values}) for values in (-1.0, 1.0)}
    rates = [told.served.predict_vector(faster[v].values).ctr for v in (-1.0, 1.0)]
    assert rates[0] > 1.5 * rates[1]
    assert told.judged.report.log_loss < log_loss_of(untold.judged, told.later)


def log_loss_of(model, rows):
    return sum(loss_of(model.predict_vector(r.values).ctr, r) for r in rows) / sum(
        r.impressions for r in rows
    )


def test_alike_impressions_count_for_less():
    """Where ads differ for reasons no feature tells, their impressions are found to be alike."""
    alike = train(shown(4, 200, line, spread=0.4), POLICY, RANKING).report.likeness
    apart = train(shown(4, 200, line), POLICY, RANKING).report.likeness
    assert apart < 0.0005 < 0.002 < alike < 0.02


def test_creatives_that_do_not_differ_teach_nothing():
    """Without a feature that varies there is no model, and the message says so."""
    rows = [replace(row, values={"motion": 0.5}) for row in shown(5, 100, line)]
    with pytest.raises(TooFewActualsError, match="do not differ"):
        train(rows, POLICY, RANKING)


# The graph -------------------------------------------------------------------------------------


def test_a_converter_that_is_silently_wrong_is_found_out():
    """Trees that split on categories are converted without a word, and wrong: they are refused."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(6)
    design = np.column_stack([rng.integers(0, 8, 300), rng.normal(size=300)]).astype(float)
    taste = np.array([2, -2, 1, -1, 2, -2, 0, 1])[design[:, 0].astype(int)]
    clicked = rng.random(300) < 1 / (1 + np.exp(-taste))
    trees = HistGradientBoostingClassifier(categorical_features=[0], max_iter=5)
    with threadpool_limits(limits=1):
        trees.fit(design, clicked)
        with pytest.raises(GraphDiffersError, match="differ from the model's by 0"):
            graph_of(trees, design, 1e-5)


def test_a_graph_of_another_model_is_refused(monkeypatch):
    """What would be served is compared with what was trained, by the stated tolerance."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(7)
    design = rng.normal(size=(200, 3))
    right = LogisticRegression().fit(design, design[:, 0] > 0)
    wrong = LogisticRegression().fit(design, design[:, 1] > 0)
    graph = graph_of(wrong, design, 1e-5)
    assert difference(wrong, graph, design) < 1e-6
    monkeypatch.setattr(graphs, "probabilities", lambda _, rows: onnx_serving.probabilities(
        graph, rows))  # fmt: skip
    with pytest.raises(GraphDiffersError, match="1e-05 is borne"):
        graph_of(right, design, 1e-5)


def test_a_graph_is_the_same_bytes_again():
    """The version is the hash of the content: the converter may not put a name of its own in."""
    rows = shown(8, 120, line)
    assert train(rows, POLICY, RANKING).graph == train(rows[::-1], POLICY, RANKING).graph


def test_bytes_that_are_no_graph_are_named():
    """A damaged graph is an error of its own, and a document without one is not served."""
    with pytest.raises(GraphUnreadableError, match="onnxruntime"):
        onnx_serving.probabilities(b"not a graph", [[0.0]])


def test_trees_without_a_graph_are_unreadable(trees):
    """Nothing is left to serve them with."""
    model, _ = trees
    with pytest.raises(ModelUnreadableError, match="without their graph"):
        load_champion(replace(model, graph=b"").dump())


# The card --------------------------------------------------------------------------------------


def test_the_card_says_how_it_was_judged():
    """Data, evaluation with its test, intervals, weights and caveats: what is known, no more."""
    made = challenge(shown(11, 160, line), None, POLICY, RANKING, 3600.0 * 1000)
    card = card_of(made)
    assert made.state is State.CHAMPION
    for part in ("## Data", "## Evaluation", "## Intervals", "## Caveats", "paired bootstrap"):
        assert part in card
    assert made.model.version in card
    assert f"{made.model.report.log_loss:.6f}" in card
    assert "| motion | +" in card
    assert "Against the champion" not in card


def test_what_is_served_has_learned_from_the_ads_of_the_judgement_too():
    """The judged model saw the first three quarters, the served one all; the report is one."""
    rows = shown(13, 120, line)
    learned = learn(rows, POLICY, RANKING)
    last = max(row.at for row in rows)
    assert learned.judged.dump() == train(rows, POLICY, RANKING).dump()
    assert learned.judged.trained_to < learned.served.trained_to == last
    assert learned.served.impressions == sum(row.impressions for row in rows)
    assert learned.served.report == learned.judged.report
    made = challenge(rows, None, POLICY, RANKING, last + 3600.0)
    assert made.model.version == learned.served.version


def test_more_ads_bring_the_served_model_nearer_to_the_truth():
    """Over several audiences its coefficients are nearer than the judged model's in the mean."""
    nearer = []
    for seed in range(20, 26):
        learned = learn(shown(seed, 80, line), POLICY, RANKING)
        far = shown(seed + 100, 200, line)
        losses = [
            sum(loss_of(model.predict_vector(row.values).ctr, row) for row in far)
            for model in (learned.judged, learned.served)
        ]
        nearer.append(losses[0] - losses[1])
    assert sum(nearer) > 0


def test_accounts_keep_their_levels_when_all_ads_are_learned_from():
    """An account's level comes of all its ads, and the level's columns stand once."""
    rows = [
        replace(row, account_id=f"a{number % 2}") for number, row in enumerate(shown(14, 120, line))
    ]
    learned = learn(rows, POLICY, RANKING)
    assert learned.served.names == learned.judged.names


def test_a_challenger_is_not_judged_on_what_the_champion_learned():
    """The same ads for both, all later than the champion's own; with too few it stays."""
    rows = shown(12, 200, line)
    champion = train(rows, POLICY, RANKING)
    made = challenge(rows, champion, POLICY, RANKING, 3600.0 * 1000)
    assert made.over_champion.ads == 50
    late = replace(champion, trained_to=rows[-5].at)
    refused = challenge(rows, late, POLICY, RANKING, 3600.0 * 1000)
    assert refused.over_champion is None
    assert refused.state is State.REJECTED
    assert f"fewer than {POLICY.min_judged} ads" in refused.reason
