"""The creative doctor with Gemini: what it is told, what of its answer is taken, what not."""

import json

import pytest
from geminivideo.runtime.clock import Clock

from emulators.vertex import ApiError, Reply, Server

ROUTE = "/api/ml/creative-doctor/generate"


@pytest.fixture
def vertex(world, tmp_path, monkeypatch):
    server = Server(state_dir=tmp_path, clock=Clock())
    server.start()
    monkeypatch.setenv("GV_VERTEX_URL", server.url)
    monkeypatch.setenv("GV_COUNCIL", "gemini")
    yield server
    server.stop()


def drafted(**members):
    draft = {
        "title": "Open on the duck", "hook_text": "The quick duck", "hook_type": "story",
        "shots": [{"scene_id": "cf-source-001", "start_s": 4.4, "end_s": 7.4}],
        "cta_text": "Shop now", "cta_type": "buy_now", "caption": "Two for one",
        "emotional_triggers": ["curiosity"], "grade": "vivid",
    }  # fmt: skip
    return draft | members


def remedy(change="Opens with a story", because=("F1",), **members):
    return {"change": change, "because": list(because), "ad": drafted(**members)}


def answered(*remedies, cause="It opens with a question", because=("F1",)):
    said = {"cause": cause, "because": list(because), "remedies": list(remedies)}
    return Reply(text=json.dumps(said))


def ask(world, ad, **members):
    body = {"creative_id": ad, "issue": "few clicks", "variations": 2} | members
    status, answer = world.post(ROUTE, body, "ml_service")
    assert status == 200, answer
    return answer


def test_the_model_is_told_the_account_s_evidence_and_cited_by_it(world, vertex, ad):
    """Figures, features, patterns and like winners go out; cause and remedies cite facts."""
    dna = {"hook": "a rubber duck, dull baths", "copy": "Two for one on a rubber duck"}
    winner = {
        "account_id": "acme", "ad_id": "12345", "creative_dna": dna,
        "performance": {"ctr": 0.05, "roas": 4.0, "pipeline_roas": 4.0, "impressions": 9000},
    }  # fmt: skip
    status, indexed = world.post("/api/ml/rag/index-winner", winner, "ml_service")
    assert (status, indexed["status"]) == (200, "indexed")
    vertex.state.answer_by(lambda asked: answered(remedy(), because=("F1", "F2", "F999")))
    answer = ask(world, ad)
    (asked,) = vertex.state.log
    told = [json.loads(row) for row in asked.prompt.splitlines() if row.startswith('{"id":"F')]
    facts = {one["source"]: one["fact"] for one in told}
    assert "10000 impressions, 60 clicks, CTR 0.0060, spend 250.00 USD" in facts["figures"]
    assert '"hook_type":"question"' in facts["features"]
    assert "1.80 times" in facts["pattern"]
    assert '"ad_id":"12345"' in facts["winner"]
    assert "few clicks" in asked.prompt
    assert asked.media == ("gs://uploads/acme/duck.mp4",)
    assert (answer["mode"], answer["model_version"]) == ("gemini", "gemini-2.5-flash")
    assert answer["degraded"] == []
    by_id = {one["id"]: one["fact"] for one in told}
    diagnosis = answer["diagnosis"]
    assert diagnosis["cause"] == "It opens with a question"
    assert diagnosis["evidence"] == [by_id["F1"], by_id["F2"]]
    (plan,), (reason,) = answer["variations"], answer["reasons"]
    assert (plan["id"], plan["mode"]) == ("cf-source-bp00-alt00", "gemini:gemini-2.5-flash")
    assert plan["verdict"]
    assert reason["variation_id"] == plan["id"]
    assert reason["evidence"] == [by_id["F1"]]


def test_a_remedy_that_cannot_be_is_left_out_with_its_reason(world, vertex, ad):
    """Each is dropped by name; the one that holds is kept."""
    shown = [
        {"scene_id": f"cf-source-{n:03d}", "start_s": 4.0 * n + 0.4, "end_s": 4.0 * n + 3.4}
        for n in (0, 1, 2)
    ]
    same = {"hook_text": "Tired of dull baths?", "shots": shown, "grade": "natural"}
    outside = [{"scene_id": "cf-source-001", "start_s": 0.0, "end_s": 99.0}]
    bad = {
        "outside": remedy(shots=outside),
        "no scene": remedy(shots=[{"scene_id": "x", "start_s": 0.0, "end_s": 1.0}]),
        "same ad again": remedy(**same),
        "cites none": remedy(because=("F998", "nothing")),
        "figure of no fact: 73": remedy(change="Lifts CTR by 73 %"),
        "the figure '90'": remedy(caption="Saves 90 %"),
    }
    vertex.state.answer_by(lambda asked: answered(*bad.values(), remedy(), remedy()))
    answer = ask(world, ad, variations=20)
    assert len(answer["variations"]) == 1
    assert len(answer["notes"]) == len(bad) + 1
    words = [*bad, "same ad again"]
    words[1] = "scene x does not exist"
    for word, note in zip(words, answer["notes"], strict=True):
        assert word in note
    vertex.state.answer_by(lambda asked: answered(remedy(), remedy(shots=shown)))
    (plan,) = ask(world, ad, duration=9.0)["variations"]
    assert len(plan["shots"]) == 3


REFUSED = {
    "500 INTERNAL": Reply(error=ApiError(500, "INTERNAL", "boom")),
    "429 RESOURCE_EXHAUSTED": Reply(error=ApiError(429, "RESOURCE_EXHAUSTED", "slow down")),
    "finish reason FinishReason.SAFETY": Reply(finish_reason="SAFETY"),
    "finish reason FinishReason.MAX_TOKENS": Reply(text="{", finish_reason="MAX_TOKENS"),
    "not JSON": Reply(text="Sure! It is the hook."),
    "wrong shape": Reply(text='{"diagnosis": "the hook"}'),
    "none given": answered(),
    "cites none of the facts": answered(remedy(), because=("F997",)),
    "figure of no fact: 312": answered(remedy(), cause="It lost 312 clicks"),
    "does not exist": answered(remedy(shots=[{"scene_id": "x", "start_s": 0, "end_s": 1}])),
}


def test_without_a_usable_answer_the_rules_plan_and_say_so(world, vertex, ad):
    """Errors, blocked, cut and senseless answers: variations by rule, labelled, with the reason."""
    for said, reply in REFUSED.items():
        vertex.state.enqueue(reply)
        answer = ask(world, ad)
        assert said in answer["notes"][0], answer["notes"]
        assert (answer["mode"], answer["degraded"]) == ("default", ["default-strategy"])
        assert answer["variations"]
        assert answer["diagnosis"]["cause"] is None
    assert len(vertex.state.log) == len(REFUSED)  # a caller waits: asked once each


def test_an_unknown_creative_asks_nothing(world, vertex):
    """Nothing is known, so nothing is spent on a model."""
    answer = ask(world, "nobody")
    assert (answer["data_status"], answer["variations"]) == ("insufficient", [])
    assert vertex.state.log == []
