"""Which model predicts: a new one without a new deployment, the one before with one command."""

import pytest
from geminivideo.learning_records import ModelVersion
from geminivideo.ml.ctr import ModelUnreadableError
from geminivideo.services import model_registry

ROUTE = "/api/models/ctr"
SCENE = {"features": {"motion": 0.9, "quality": 0.8}, "duration": 3.0}


@pytest.fixture
def two(world):
    """Two versions: the first in use, the second registered beside it."""
    world.show(72, 60)
    world.learned()
    first = world.champion.version
    world.audience.taste = {"question": -0.6, "statistic": 0.7}
    world.later(30)
    world.show(72, 28)
    return first, world.learned(accuracy=0.5).result["new_model_version"]


def predicted(world):
    """What the gateway, one process all along, says of a scene: version and CTR."""
    status, said = world.call("gateway", "POST", "/api/ml/predict-ctr", {"scenes": [SCENE]})
    assert status == 200
    return said["model_version"], said["predictions"][0]["predicted_ctr"]


def test_promoted_and_rolled_back_without_a_deployment(world, two):
    """The running service predicts with the model in use: the first, the second, the first again,
    and after that is rolled back too, with the heuristic."""
    first, second = two
    before = predicted(world)
    asked = {"version": second, "by": "ann", "reason": "looks right"}
    status, made = world.call("gateway", "POST", f"{ROUTE}/promote", asked)
    assert (status, made["version"], made["by"], made["previous"]) == (200, second, "ann", [first])
    after = predicted(world)
    assert (before[0], after[0]) == (first, second)
    assert before[1] != after[1]
    status, back = world.call("gateway", "POST", f"{ROUTE}/rollback", {"by": "bob"})
    assert (status, back["version"], back["previous"]) == (200, first, [])
    assert predicted(world) == before
    assert world.version(second).state == "retired"
    assert "rolled back by bob" in world.version(second).reason
    assert world.call("gateway", "POST", f"{ROUTE}/rollback", {})[1]["version"] is None
    assert predicted(world) == ("heuristic-1", None)
    status, said = world.call("gateway", "POST", f"{ROUTE}/rollback", {})
    assert status == 409
    assert "nothing to roll back" in said["error"]


@pytest.mark.long
def test_the_list_has_every_version(world, two):
    """The latest first, with state, scores and reason."""
    first, second = two
    status, shown = world.call("gateway", "GET", f"{ROUTE}?limit=10")
    assert (status, shown["champion"]) == (200, first)
    assert [one["version"] for one in shown["versions"]] == [second, first]
    assert [one["state"] for one in shown["versions"]] == ["shadow", "champion"]
    assert all(one["reason"] for one in shown["versions"])
    assert len(world.call("gateway", "GET", f"{ROUTE}?limit=1")[1]["versions"]) == 1


@pytest.mark.long
def test_promotions_that_are_refused(world, two):
    """An unknown version, another champion than expected, an object that is not the registered
    one: nothing changes."""
    first, second = two
    before = world.champion
    found = world.version(second)
    other = world.files.write(b"{}", world.bucket, "other.json", "application/json")
    bad = ModelVersion(
        version="ctr-bad", state="shadow", artifact=other, checksum=found.checksum,
        trained_at=1.0, trained_from=1.0, trained_to=1.0, kind="logistic",
    )  # fmt: skip
    world.documents.set(model_registry.path_of("ctr-bad"), bad)
    refused = [
        ({"version": "ctr-none"}, 404, "no version"),
        ({"version": second, "expected": "ctr-none"}, 409, first),
        ({"version": "ctr-bad"}, 409, "SHA-256 differs"),
        ({"version": "a/b"}, 422, "version"),
    ]
    for body, status, said in refused:
        answer = world.call("gateway", "POST", f"{ROUTE}/promote", body)
        assert answer[0] == status
        assert said in answer[1]["error"]
    assert world.champion == before


def test_an_altered_artifact_is_not_loaded(world):
    """Other bytes than the registered ones are refused before they are read."""
    ref = world.files.write(b"{}", world.bucket, "model.json", "application/json")
    with pytest.raises(ModelUnreadableError, match="SHA-256 differs"):
        model_registry.load(world.files, ref, "0" * 64)


# A training that is asked for ------------------------------------------------------------------

TRAIN = "/api/ml/train/ctr"


@pytest.mark.parametrize("service", ["ml_service", "meta_publisher"])
def test_asked_without_data(world, service):
    """An unknown account and one without ads: insufficient, nulls, and no job."""
    for account, said in (("nobody", "no account"), ("a", "0 ads with actuals")):
        asked = {"account_id": account, "trigger": "manual", "min_accuracy": 0.8}
        status, answer = world.call(service, "POST", TRAIN, asked)
        assert (status, answer["triggered"], answer["data_status"]) == (200, False, "insufficient")
        assert said in answer["reason"]
        assert answer["new_model_version"] is None


def test_asked_and_trained_once(world, servers):
    """202 while the job works, the outcome afterwards; the same question starts no second job."""
    world.show(72, 30)
    asked = {"account_id": "a", "trigger": "manual", "min_accuracy": 0.8}
    before = len(servers.launcher.specs)
    status, answer = world.call("ml_service", "POST", TRAIN, asked)
    assert (status, answer["triggered"], answer["new_model_version"]) == (202, True, None)
    assert world.call("ml_service", "POST", TRAIN, asked)[0] == 202
    assert len(servers.launcher.specs) == before + 1
    assert world.train_asked(answer["training_id"]).status == 200
    made = world.champion.version
    again = world.train_asked(answer["training_id"])
    assert (again.status, again.reason) == (200, "done before")
    status, answer = world.call("ml_service", "POST", TRAIN, asked)
    assert (status, answer["triggered"], answer["promoted"]) == (200, True, True)
    assert answer["new_model_version"] == made
    world.later(0.1)
    status, answer = world.call("ml_service", "POST", TRAIN, asked)
    assert (status, answer["triggered"], answer["model_version"]) == (200, False, made)
    assert "unknown" in answer["reason"]


@pytest.mark.long
def test_asked_by_force(world):
    """Somebody may want a challenger whatever the accuracy: it is judged all the same."""
    world.show(72, 60)
    world.learned()
    world.later(5)
    world.show(20, 3)
    asked = {"account_id": "a", "trigger": "force"}
    status, answer = world.call("ml_service", "POST", TRAIN, asked)
    assert status == 202
    world.train_asked(answer["training_id"])
    status, answer = world.call("ml_service", "POST", TRAIN, asked)
    assert (status, answer["triggered"], answer["promoted"]) == (200, True, False)
    assert answer["new_model_version"] not in (None, answer["model_version"])
    assert answer["reason"]


@pytest.mark.parametrize(
    ("body", "said"),
    [({}, "account_id"), ({"account_id": "a", "min_accuracy": 2}, "min_accuracy"),
     ({"account_id": "a/b"}, "account_id"), ({"account_id": "a", "min_accuracy": "x"}, "min")],
)  # fmt: skip
def test_questions_that_are_not_understood(world, body, said):
    """422 that names the member."""
    status, answer = world.call("ml_service", "POST", TRAIN, body)
    assert status == 422
    assert said in answer["error"]
