"""The policy of an account, as its document says it."""

from pathlib import Path

import msgspec
import pytest
from geminivideo.policy import ExecutionMode, Policy
from geminivideo.records import Account
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


def test_an_account_is_set_up_as_its_page_says(world):
    """The example of docs/accounts.md, run as it stands: a shop that a person has the word of."""
    page = (Path(__file__).parents[3] / "docs" / "accounts.md").read_text()
    exec(page.partition("```python\n")[2].partition("```")[0], {})
    found = policy_of(world.documents, "shop")
    assert (found.sampler.mode, found.executor.mode) == ("direct", ExecutionMode.APPROVE)
    assert world.documents.require("accounts/shop", Account).ad_account_id == "act_1234567890"
