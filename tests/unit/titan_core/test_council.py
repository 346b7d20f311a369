"""Verdicts: weights over those who answered, never a silent default."""

from dataclasses import dataclass

import pytest
from geminivideo.policy import CouncilPolicy
from geminivideo.records import MemberVerdict, Verdict
from geminivideo.titan_core import council, director, oracle
from hypothesis import given
from hypothesis import strategies as st

POLICY = CouncilPolicy()


def verdict(score, weight=0.5, member="m"):
    return MemberVerdict(member=member, weight=weight, score=score, reason="r", model_version="t")


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.floats(0.05, 1.0), st.booleans()), min_size=1, max_size=6
    )
)
def test_weights_are_renormalised_over_the_members_that_answered(members):
    """The score is the weighted mean of the answers, so it lies between the least and the most."""
    verdicts = [verdict(s if answered else None, w) for s, w, answered in members]
    answers = [v for v in verdicts if v.score is not None]
    weighed = council.weigh(verdicts, POLICY)
    if len(answers) < POLICY.min_members:
        assert (weighed.verdict, weighed.score) == (Verdict.NEEDS_REVIEW, None)
    else:
        low, high = min(v.score for v in answers), max(v.score for v in answers)
        assert low - 0.01 <= weighed.score <= high + 0.01
        assert (weighed.verdict is Verdict.APPROVED) == (
            sum(v.weight * v.score for v in answers) / sum(v.weight for v in answers) >= 85
        )


@pytest.mark.parametrize(("score", "expected"), [(85.0, "APPROVED"), (84.99, "REJECTED")])
def test_the_bar_is_85(score, expected):
    """Exactly 85 is approved; a hundredth below is not."""
    assert council.weigh([verdict(score), verdict(score)], POLICY).verdict == expected


@dataclass(frozen=True)
class Fixed:
    """A member that always gives the same score (or no answer)."""

    name: str
    score: float | None

    def judge(self, blueprint, material, policy):
        return verdict(self.score, member=self.name)


def unchanged(blueprint, material, policy):
    return blueprint


def test_one_answer_is_not_a_council(make_material):
    """With a single member answering the verdict is NEEDS_REVIEW and there is no score."""
    material = make_material()
    drafts = director.plan(material, POLICY, 2)
    judged = council.convene(
        drafts, material, [Fixed("a", 99), Fixed("b", None)], unchanged, POLICY
    )
    assert {b.verdict for b in judged} == {Verdict.NEEDS_REVIEW}
    assert {b.council_score for b in judged} == {None}
    assert council.approved(judged, POLICY) == ()


def test_rewrites_stop_after_three_rounds(make_material):
    """A plan that never pleases is judged three times at the most."""
    material = make_material()
    asked = []

    def another(blueprint, material, policy):
        asked.append(blueprint)
        from dataclasses import replace

        return replace(blueprint, hook_text=f"This is {len(asked)}")

    members = [Fixed("a", 10), Fixed("b", 20)]
    final = council.deliberate(
        director.plan(material, POLICY, 1)[0], material, members, another, POLICY
    )
    assert (final.rounds, len(asked)) == (3, 2)


def test_two_plans_that_became_one_are_one(make_material):
    """A plan equal to a better-placed one is rejected as a duplicate."""
    material = make_material()
    draft = director.plan(material, POLICY, 1)[0]
    from dataclasses import replace

    members = [Fixed("a", 90), Fixed("b", 90)]
    judged = council.convene(
        [draft, replace(draft, id="other")], material, members, unchanged, POLICY
    )
    assert [b.verdict for b in judged] == [Verdict.APPROVED, Verdict.REJECTED]
    assert judged[1].degraded == ("duplicate-plan",)


def test_the_best_come_first_and_at_most_ten_are_rendered(make_material):
    """Ranks follow the score; no more than the policy's number are chosen."""
    material = make_material(lengths=(3.0,) * 12, scores=tuple(i / 12 for i in range(12)))
    held = council.convene(
        director.plan(material, POLICY, 10), material, [Fixed("a", 95), Fixed("b", 95)], unchanged,
        CouncilPolicy(max_rendered=4),
    )  # fmt: skip
    assert [b.rank for b in held] == list(range(len(held)))
    assert len(council.approved(held, CouncilPolicy(max_rendered=4))) == 4


def test_oracle_is_unknown_without_predictions(make_material):
    """No scene predicted means no prediction, not a default one."""
    from dataclasses import replace

    material = make_material()
    blind = replace(material, scenes=tuple(replace(s, prediction=None) for s in material.scenes))
    assert oracle.predict(director.plan(material, POLICY, 1)[0], blind) is None


def test_oracle_weighs_the_opening_double(make_material):
    """The opening shot counts twice for its length; the labels of its sources are kept."""
    material = make_material(lengths=(2.0, 2.0), scores=(1.0, 0.0))
    from dataclasses import replace

    from geminivideo.records import Shot

    draft = director.plan(material, POLICY, 1)[0]
    shots = tuple(Shot(scene_id=s.id, start_s=s.start_s, end_s=s.end_s) for s in material.scenes)
    predicted = oracle.predict(replace(draft, shots=shots), material)
    assert predicted.score == pytest.approx(2 / 3)
    assert (predicted.ctr, predicted.degraded) == (None, ("heuristic-rank",))
