"""The page about faults says what is: its scripts are taken, its members are all that there are."""

import re
from pathlib import Path

import pytest

from emulators.faults.rules import MEMBERS, SERVICES
from emulators.faults.script import parse

PAGE = (Path(__file__).parents[3] / "docs/emulators/faults.md").read_text()
SCRIPTS = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("script", SCRIPTS, ids=range(len(SCRIPTS)))
def test_each_example_is_a_script(faults, script):
    """What a reader copies from the page is taken as it stands."""
    parse(script, "page.yaml").replace_in(faults)
    assert faults.active


def test_there_are_three_worked_examples():
    """The page shows three scripts."""
    assert len(SCRIPTS) == 3


@pytest.mark.parametrize("name", [*MEMBERS, *SERVICES])
def test_every_member_and_service_is_documented(name):
    """Nothing can be written in a rule that the page does not explain."""
    assert re.search(rf"`{name}[`:/]", PAGE)
