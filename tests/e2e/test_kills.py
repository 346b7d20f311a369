"""Processes killed in the middle of their work: the flow completes, one ad per variation."""

import pytest
from geminivideo.runtime.runs import RunState

from emulators import verdict
from emulators.host.errors import NotRunningError


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.timeout(900)
def test_extract_features_and_render_killed_in_the_middle(new_site, clips):
    """SIGKILL to the feature extractor and to every render task; both are taken up again."""
    site = new_site(speed=3.0)
    flow_id = site.drop(clips["single"])

    def running(step):
        runs = site.watcher.runs(flow_id)
        return any(r.step == step and r.state is RunState.RUNNING for r in runs)

    site.wait_for(lambda: running("extract_features"))
    site.cloud.host.kill("extract-features")
    site.wait_for(lambda: running("render"))
    killed = site.cloud.jobs.kill("render")
    assert killed
    facts = site.ended(flow_id)
    assert verdict.complaints(facts) == []
    attempts = {}
    for run in facts.runs:
        attempts[run.step] = max(attempts.get(run.step, 0), run.attempts)
    assert attempts["extract_features"] >= 2
    assert attempts["render"] >= 2


def test_killing_what_does_not_run_says_so(new_site):
    """The chaos switch itself is honest: nothing running is an error, not a silent success."""
    site = new_site()
    with pytest.raises(NotRunningError):
        site.cloud.jobs.kill("render")
