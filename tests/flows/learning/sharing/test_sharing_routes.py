"""Sharing over HTTP: who takes part, what is contributed, and what accounts told each other."""

import pytest
from geminivideo.services import sharing as loop

DAY = 86400.0


def silent(cells, sensitivity, epsilon):
    return list(cells)


def share(world, account, service="ml_service", **members):
    body = {"account_id": account, "anonymize": True} | members
    return world.call(service, "POST", "/api/ml/cross-learn/share", body)


def query(world, **members):
    return world.call("ml_service", "POST", "/api/ml/federated-learning/query", members)


@pytest.mark.parametrize("service", ["ml_service", "meta_publisher"])
def test_an_unknown_account_has_insufficient_data(world, service):
    """200, not opted in, and no invented number."""
    answer = share(world, "nobody", service)
    assert answer.status == 200
    assert answer.json == {
        "status": "active",
        "patterns_shared": 0,
        "global_patterns_received": 0,
        "opted_in": False,
        "data_status": "insufficient",
        "degraded": [],
    }


def test_the_route_renews_the_contribution_and_never_releases(world):
    """What the account says is stored for the next release; the release is the cycle's."""
    world.account("a")
    world.opt("a")
    world.ads("a")
    answer = share(world, "a")
    assert answer.json["opted_in"] is True
    assert answer.json["patterns_shared"] == 2
    assert answer.json["degraded"] == ["nothing-shared-yet"]
    assert len(world.consent("a").contribution.lifts) == 2
    assert world.releases() == []


def test_nothing_is_shared_that_is_not_anonymous(world):
    """Asking for it plainly is refused, and says why."""
    world.account("a")
    world.opt("a")
    answer = share(world, "a", anonymize=False)
    assert answer.status == 422
    assert "anonymize" in answer.json["error"]


def test_taking_part_is_an_account_s_own_word(world):
    """Off until somebody says yes by name; in, then out again, with what cannot be taken back."""
    world.account("a")
    before = world.call("gateway", "GET", "/api/sharing/a").json
    assert (before["opted_in"], before["by"], before["received"]) == (False, None, [])
    into = world.call("gateway", "POST", "/api/sharing/a/in", {"by": "ann"}).json
    assert (into["opted_in"], into["by"]) == (True, "ann")
    world.few()
    world.ads("a")
    assert share(world, "a").json["patterns_shared"] == 2
    loop.release_if_due(world.documents, world.clock.now(), silent)
    shown = world.call("gateway", "GET", "/api/sharing/a").json
    assert shown["contribution"]["hook_type=question"] == pytest.approx(1.24, abs=0.02)
    assert (shown["epsilon_spent"], shown["epsilon_budget"]) == (2.0, 14.0)
    assert shown["next_release_after"] > world.clock.now()
    assert shown["expected_ctr"] > 0.01
    out = world.call("gateway", "POST", "/api/sharing/a/out", {"by": "bob"}).json
    assert (out["opted_in"], out["by"], out["contribution"]) == (False, "bob", None)
    assert out["not_taken_back"] == 1
    assert out["received"] == []
    assert out["expected_ctr"] is None


def test_saying_the_same_twice_keeps_the_first_word(world):
    """Opting in again changes neither when nor who."""
    world.account("a")
    first = world.call("gateway", "POST", "/api/sharing/a/in", {"by": "ann"}).json
    world.clock.at += 60.0
    again = world.call("gateway", "POST", "/api/sharing/a/in", {"by": "bob"}).json
    assert (again["by"], again["changed_at"]) == ("ann", first["changed_at"])


def test_an_account_that_is_not_there_cannot_opt_in_but_out(world):
    """404 with what to do; leaving is always possible."""
    answer = world.call("gateway", "POST", "/api/sharing/ghost/in", {"by": "ann"})
    assert answer.status == 404
    assert "ghost" in answer.json["error"]
    assert world.call("gateway", "POST", "/api/sharing/ghost/out", {}).status == 200


def test_without_a_release_the_answer_is_withheld(world):
    """No aggregate, no count, and the mechanism that would be used."""
    answer = query(world, business_type="retail", time_period="last_month", metric="ctr")
    assert answer.status == 200
    assert answer.json["aggregate"] is None
    assert answer.json["accounts"] == "withheld"
    assert answer.json["data_status"] == "insufficient"
    assert answer.json["noise"]["mechanism"] == "discrete-laplace"


def test_the_accounts_usual_ctr_is_told_with_its_interval_and_its_noise(world):
    """The value, between its bounds; the count is the noisy one."""
    world.few()
    loop.release_if_due(world.documents, world.clock.now(), silent)
    answer = query(world, metric="ctr").json
    low, high = answer["aggregate"]["interval"]
    assert low < answer["aggregate"]["ctr"] < high
    assert answer["accounts"] == 8
    assert answer["noise"]["epsilon"] == 2.0
    assert answer["data_status"] == "known"
    of_business = query(world, business_type="retail", metric="ctr").json
    assert of_business["aggregate"] == answer["aggregate"]
    assert of_business["degraded"] == ["all-businesses-together"]


def test_patterns_are_told_as_ratios(world):
    """Above one raises the CTR, below lowers it."""
    world.sharers(60)
    loop.release_if_due(world.documents, world.clock.now(), silent)
    told = query(world, metric="lift").json["aggregate"]["patterns"]
    lifts = {one["trait"]: one["lift"] for one in told}
    assert lifts["hook_type=question"] > 1 > lifts["first_frame=face"]


@pytest.mark.parametrize(
    ("members", "status", "data"),
    [
        ({"metric": "roas"}, 200, "insufficient"),
        ({"time_period": "last_week"}, 200, "known"),
        ({"time_period": "last_fortnight"}, 422, None),
        ({"time_period": "Q9"}, 422, None),
    ],
)
def test_other_questions(world, members, status, data):
    """A metric that nobody shares is insufficient; a period that is none is refused by name."""
    world.few()
    loop.release_if_due(world.documents, world.clock.now(), silent)
    answer = query(world, **members)
    assert answer.status == status
    assert answer.json.get("data_status") == data
