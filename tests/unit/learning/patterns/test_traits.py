"""Traits: features in words, with unknown kept apart from absent."""

from dataclasses import fields, replace

from geminivideo.learning.traits import PART_OF, PARTS, bands, phrase, trait_of, traits_of
from geminivideo.learning_records import Condition, CreativeFeatures, all_met
from geminivideo.policy import TraitPolicy
from hypothesis import given
from hypothesis import strategies as st

POLICY = TraitPolicy()
CUT = [one.name for one in fields(TraitPolicy)]


def test_an_ad_of_which_nothing_is_known_has_no_trait():
    """Unknown members give no trait at all."""
    assert traits_of(CreativeFeatures(), POLICY) == ()


def test_every_known_member_gives_exactly_one_trait():
    """A question with a number in 12 s is three traits, each of its own part."""
    known = CreativeFeatures(hook_type="question", hook_has_number=True, duration_s=12.0)
    found = {trait.name: trait.part for trait in traits_of(known, POLICY)}
    assert found == {
        "hook_type=question": "hook",
        "hook_has_number=yes": "hook",
        "duration_s=medium": "pacing",
    }


def test_every_member_belongs_to_a_part_and_exists():
    """The table of parts names members of the features, and only the six parts of an ad."""
    members = {one.name for one in fields(CreativeFeatures)}
    assert set(PART_OF) <= members
    assert set(PART_OF.values()) <= set(PARTS)
    assert set(CUT) <= set(PART_OF)


@given(member=st.sampled_from(CUT), value=st.floats(0, 1e6, allow_nan=False))
def test_the_bands_of_a_member_neither_overlap_nor_leave_gaps(member, value):
    """Every number lies in exactly one band, and the trait that it gives holds of it."""
    holding = [band for band in bands(member, POLICY) if band.condition.allows(value)]
    assert len(holding) == 1
    assert trait_of(member, value, POLICY) == holding[0]
    assert holding[0].holds(replace(CreativeFeatures(), **{member: value})) is True


def test_a_cut_point_belongs_to_the_band_above_it():
    """Ten seconds are not under ten seconds."""
    cut = POLICY.duration_s[0]
    assert trait_of("duration_s", cut, POLICY).name == "duration_s=medium"
    assert trait_of("duration_s", cut - 1e-9, POLICY).name == "duration_s=low"


def test_what_is_no_number_lies_in_no_band():
    """NaN is unknown, not the last band."""
    assert trait_of("duration_s", float("nan"), POLICY) is None


def test_other_cut_points_are_other_conditions():
    """A policy with five bands numbers them, and each is a range of its own."""
    made = bands("motion", TraitPolicy(motion=(0.1, 0.2, 0.3, 0.4)))
    assert [band.name for band in made] == [f"motion={place}" for place in range(5)]
    assert len({band.condition for band in made}) == 5


def test_a_condition_tells_unknown_from_absent():
    """A hook that is a story is no question; a hook that is unknown may be one."""
    question = Condition(member="hook_type", equals="question")
    assert question.met_by(CreativeFeatures(hook_type="question")) is True
    assert question.met_by(CreativeFeatures(hook_type="story")) is False
    assert question.met_by(CreativeFeatures()) is None


@given(
    hook=st.sampled_from([None, "question", "story"]), speech=st.sampled_from([None, True, False])
)
def test_a_pair_is_unknown_only_while_no_part_of_it_is_denied(hook, speech):
    """One denied condition denies the pair, whatever is unknown of the other."""
    pair = (
        Condition(member="hook_type", equals="question"),
        Condition(member="has_speech", equals=True),
    )
    found = all_met(pair, CreativeFeatures(hook_type=hook, has_speech=speech))
    if hook == "story" or speech is False:
        assert found is False
    else:
        assert found is (None if None in (hook, speech) else True)


def test_a_kind_is_never_a_number():
    """A text does not lie in a range."""
    assert Condition(member="duration_s", low=1.0).allows("long") is False


def test_conditions_read_as_a_person_would_say_them():
    """Ranges name their unit and which end is open."""
    told = phrase(
        [
            Condition(member="hook_type", equals="pattern_interrupt"),
            Condition(member="duration_s", high=10.0),
            Condition(member="cuts_per_s", low=0.5),
            Condition(member="hook_words", low=5, high=8),
            Condition(member="has_speech", equals=False),
        ]
    )
    assert told == (
        "hook type pattern interrupt and duration under 10 s and cuts from 0.5 a second on and "
        "hook length 5 to 8 words and speech no"
    )
