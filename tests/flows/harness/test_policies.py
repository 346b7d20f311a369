"""The policy of an account, as its document says it."""

import msgspec
import pytest
from geminivideo.policy import Policy
from geminivideo.runtime.policies import PolicyError, policy_of


def test_a_policy_that_is_told_in_part_is_written_whole(world):
    """A document names one member; what is written from the policy holds all others too."""
    world.documents.set("policies/short", {"executor": {"mode": "auto"}})
    found = policy_of(world.documents, "short")
    said, whole = (msgspec.to_builtins(policy) for policy in (found, Policy()))
    assert said.keys() == whole.keys()
    assert said["executor"] == whole["executor"] | {"mode": "auto"}


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"sampler": {"mode": "Direct"}}, "sampler.mode is 'Direct'; say pipeline or direct"),
        ({"sampler": {"mode": "cash"}}, "sampler.mode is 'cash'; say pipeline or direct"),
        ({"sampler": {"mode": ""}}, "sampler.mode is ''; say pipeline or direct"),
        ({"sampler": {"mode": None}}, r"\$\.sampler\.mode"),
        ({"executor": {"mode": "Auto"}}, r"'Auto' - at `\$\.executor\.mode`"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_by_its_member(world, told, named):
    """No default takes the place of what the owner wanted and misspelt."""
    world.documents.set("policies/wrong", told)
    with pytest.raises(PolicyError, match=f"policies/wrong cannot be used: .*{named}"):
        policy_of(world.documents, "wrong")
    world.documents.set("policies/wrong", {"sampler": {"mode": "direct"}})
    assert policy_of(world.documents, "wrong").sampler.mode == "direct"
