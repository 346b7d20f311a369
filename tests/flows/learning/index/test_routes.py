"""Winners over HTTP: told, searched, cached; and what ads are made of."""

from dataclasses import replace

import pytest
from geminivideo.learning_records import CacheCounts
from geminivideo.records import HookType

WON = {"ctr": 0.05, "roas": 2.0, "pipeline_roas": 4.0, "impressions": 5000}
INDEX, EXTRACT = "/api/ml/rag/index-winner", "/api/ml/creative-dna/extract"


def told(world, ad_id="t1", account="acme", hook="wet feet boots", did=WON, **dna):
    answer = world.post(
        INDEX,
        ad_id=ad_id,
        creative_dna={"hook": hook, **dna},
        performance=did,
        metadata={"account_id": account},
    )
    assert answer.status == 200, answer.json
    return answer.json


def ads(answer):
    return [match["ad_id"] for match in answer.json["matches"]]


def test_a_told_winner_is_indexed_and_found_by_its_words(world):
    """What a caller tells is found by a question, with its DNA and performance."""
    assert told(world)["status"] == "indexed"
    told(world, "t2", hook="sleep well tonight")
    (first, second) = world.search(query="boots for wet feet").json["matches"]
    assert (first["ad_id"], second["ad_id"]) == ("t1", "t2")
    assert first["similarity"] > second["similarity"]
    assert first["creative_dna"]["hook"] == "wet feet boots."
    assert first["performance"] == WON


def test_the_same_winner_again_is_there_already(world):
    """Told once more it changes nothing; new figures bring it up to date; new DNA replaces it."""
    told(world)
    again = told(world)
    better = told(world, did=WON | {"ctr": 0.08})
    other = told(world, hook="dry boots")
    assert [again["status"], better["status"], other["status"]] == [
        "already_indexed", "already_indexed", "indexed"
    ]  # fmt: skip
    assert "brought up to date" in better["reason"]
    assert world.search(query="boots").json["matches"][0]["performance"]["ctr"] == 0.05
    assert world.search(query="boots").json["results_found"] == 1


@pytest.mark.parametrize(
    ("did", "dna", "why"),
    [
        ({"ctr": 0.01, "roas": 1.0, "impressions": 5000}, {}, "are below 0.03 and 3.0"),
        ({"ctr": 0.05, "impressions": 10}, {}, "10 of 1000 impressions"),
        ({"ctr": 0.05}, {}, "too early to tell"),
        ({"ctr": 5.0, "impressions": 5000}, {}, "fraction from 0 to 1"),
        (WON, {"hook": "", "stranger": "x"}, "creative_dna tells nothing of hook, visual"),
    ],
)
def test_what_is_no_winner_or_tells_nothing_is_skipped_with_the_reason(world, did, dna, why):
    """Nothing is written of it, and the answer says why."""
    answer = told(world, did=did, **dna)
    assert answer["status"] == "skipped"
    assert why in answer["reason"]
    assert world.entries() == {}


def test_what_the_account_knows_of_an_ad_counts_before_what_is_told(world):
    """An ad whose actuals say that it lost is skipped, whatever the caller claims."""
    world.ad("lost", clicks=2)
    world.ad("won", clicks=40)
    assert "are below the bar" in told(world, "lost")["reason"]
    told(world, "won")
    found = world.search(query="wet").json["matches"][0]
    assert found["performance"]["ctr"] == 0.04


def test_filters_alone_search_without_a_question(world):
    """By trait and bar, best first; null filters ask for nothing."""
    told(world, "a", hook_type="question", did=WON | {"ctr": 0.04})
    told(world, "b", hook_type="question", did=WON | {"ctr": 0.09})
    told(world, "c", hook_type="story", did=WON | {"pipeline_roas": 9.0})
    assert ads(world.search(hook_type="question")) == ["b", "a"]
    assert ads(world.search(hook_type=None, metric="pipeline_roas", top_k=1)) == ["c"]
    assert ads(world.search(min_roas=5.0)) == ["c"]
    assert ads(world.search(filters={"hook_type": "question", "min_ctr": 0.05})) == ["b"]
    assert ads(world.search(query="wet feet", metric="ctr", threshold=0.06)) == ["b"]


def test_a_direction_is_searched_and_another_length_is_refused_by_name(world):
    """``query_embedding`` as long as the index's vectors; 422 names both lengths otherwise."""
    told(world)
    told(world, "t2", hook="sleep well")
    (direction,) = world.model.embed(["sleep well tonight"])
    assert ads(world.search(query_embedding=direction, top_k=1)) == ["t2"]
    refused = world.search(query_embedding=[1.0, 2.0])
    assert refused.status == 422
    assert "has 2 numbers; this index holds vectors of 64" in refused.json["error"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"top_k": 0}, "top_k"),
        ({"filters": {"colour": "red"}}, "filters.colour"),
        ({"metric": "likes"}, "metric"),
        ({"query_embedding": []}, "query_embedding"),
        ({"account_id": "a/b"}, "account_id"),
        ({"account_id": "a" * 300}, "account_id"),
        ({"query": 7}, "query"),
    ],
)
def test_what_cannot_be_understood_is_422_with_the_member(world, body, named):
    """Each by its name."""
    answer = world.search(**body)
    assert (answer.status, named in answer.json["error"]) == (422, True)


def test_an_account_without_winners_gets_nothing_and_no_figure(world):
    """Insufficient, with no version: there is no index."""
    found = world.search(query="anything", account_id="nobody").json
    assert (found["matches"], found["results_found"]) == ([], 0)
    assert (found["index_version"], found["data_status"]) == (None, "insufficient")


def test_an_account_never_sees_anothers_winners(world):
    """Not by words, direction or filters, nor by ids whose paths look alike."""
    told(world, "1-2", account="acme")
    told(world, "2", account="acme-1", hook="rival secret")
    told(world, "t", account="rival", hook="rival secret")
    (direction,) = world.model.embed(["rival secret"])
    for body in ({"query": "rival secret"}, {"query_embedding": direction}, {}):
        assert ads(world.search(**body)) == ["1-2"]
        assert ads(world.search(account_id="acme-1", **body)) == ["2"]
        assert ads(world.search(account_id="rival", **body)) == ["t"]


def test_a_repeated_question_is_answered_from_the_cache_until_the_index_changes(world):
    """Miss, exact, near; another version of the index answers anew."""
    told(world)
    asked = len(world.model.asked)
    bands = [world.search(query=q).json["cache"] for q in ("boots for feet", "Boots for feet?")]
    assert bands == ["miss", "exact"]
    assert len(world.model.asked) == asked + 1
    assert world.search(query="boot for a feet").json["cache"] in ("near", "miss")
    told(world, "t2", hook="boots for feet")
    found = world.search(query="boots for feet")
    assert (found.json["cache"], ads(found)[0]) == ("miss", "t2")


def test_a_cached_answer_never_shows_what_was_deleted_since(world):
    """Entries are read anew: one that is gone is left out, whatever was found."""
    told(world)
    told(world, "t2")
    world.search(query="boots")
    world.documents.delete("winner_entries/acme-t1")  # the index has not followed yet
    found = world.search(query="boots")
    assert (found.json["cache"], ads(found)) == ("exact", ["t2"])


def test_an_index_that_lags_shows_nothing_that_the_filters_no_longer_admit(world):
    """The entry fell below the bar meanwhile: the row still says otherwise, the answer does not."""
    told(world, "t1")
    told(world, "t2")
    worse = world.entries()["acme-t1"]
    worse = replace(worse, performance=replace(worse.performance, ctr=0.01))
    world.documents.set("winner_entries/acme-t1", worse)
    assert ads(world.search(metric="ctr", threshold=0.04)) == ["t2"]


def test_the_metrics_tell_how_questions_were_answered(world):
    """Counts per band, as the processes have stored them."""
    told(world)
    world.search(query="boots")
    for number, band in enumerate(("exact", "exact", "near")):
        counts = CacheCounts(id=f"p{number}", expire_at=0.0, **{band: 2})
        world.documents.set(f"semantic_cache_counts/{counts.id}", counts)
    text = world.metrics()
    assert 'semantic_cache_searches_total{band="exact"} 4.0' in text
    assert 'semantic_cache_searches_total{band="near"} 2.0' in text
    assert 'semantic_cache_searches_total{band="miss"}' in text


def test_without_the_text_model_a_question_falls_back_to_filters_and_says_so(world):
    """The best winners by CTR, without a similarity, and the reason."""
    told(world)
    world.model.is_down = True
    found = world.search(query="boots").json
    assert found["degraded"] == ["winners-not-compared"]
    assert found["matches"][0]["similarity"] is None


def test_the_route_indexes_an_accounts_winners_as_the_cycle_does(world):
    """``auto_index`` false only counts what is there."""
    world.ad("w0")
    path = "/api/ml/rag/index-winners"
    only = world.post(path, account_id="acme", auto_index=False).json
    assert (only["status"], only["winners"], only["data_status"]) == (
        "not_indexed", 0, "insufficient"
    )  # fmt: skip
    done = world.post(path, account_id="acme", auto_index=True).json
    assert (done["status"], done["indexed_count"]) == ("auto_indexed_in_feedback_loop", 1)
    assert done["index_version"] == world.store().open("acme").version


def test_the_index_is_built_from_the_entries_at_will(world):
    """``rebuild`` gives a new version that holds the same."""
    told(world)
    before = world.search(query="boots").json
    path = "/api/ml/rag/index-winners"
    again = world.post(path, account_id="acme", auto_index=False, rebuild=True).json
    after = world.search(query="boots").json
    assert (again["winners"], after["matches"]) == (1, before["matches"])
    assert after["index_version"] == again["index_version"] != before["index_version"]


def test_the_local_text_model_finds_a_winner_by_other_words(world, monkeypatch):
    """As a deployment without a cloud does it: no word of the question is in the ad."""
    from geminivideo.drive_intel.meaning import shared_text_model

    for module in ("winners_index", "rag"):
        monkeypatch.setattr(
            f"geminivideo.services.{module}.embedder", lambda project: shared_text_model()
        )
    told(world, "boots", hook="Tired of wet feet?", copy="These boots keep you dry")
    told(world, "bed", hook="From sore mornings to deep sleep", copy="Our foam eases your spine")
    found = world.search(query="waterproof shoes").json
    assert [match["ad_id"] for match in found["matches"]] == ["boots", "bed"]
    assert found["model"] == shared_text_model().source


def test_the_dna_of_an_ad_is_told_and_that_of_a_stranger_is_insufficient(world):
    """Six parts with what is missing; an unknown ad is 200 with nulls."""
    world.ad("w0", kind=HookType.STORY, hook="I got wet")
    world.ad("w1", clicks=5)
    told_dna = world.post(EXTRACT, ad_id="w0").json
    assert told_dna["components"]["hook"] == 'Opens with a story: "I got wet".'
    assert (told_dna["dna_score"], told_dna["data_status"]) == (1.0, "partial")
    assert told_dna["missing"] == ["audio", "pacing"]
    nobody = world.post(EXTRACT, ad_id="nobody")
    assert (nobody.status, nobody.json["data_status"]) == (200, "insufficient")
    assert set(nobody.json["components"].values()) == {None}
    assert nobody.json["dna_score"] is None


@pytest.mark.parametrize(
    ("mode", "did", "status"),
    [
        ("direct", {"roas": 3.0, "pipeline_roas": 0.0}, "indexed"),
        ("direct", {"roas": 1.0, "pipeline_roas": 9.0}, "skipped"),
        ("direct", {"pipeline_roas": 9.0}, "skipped"),
        ("pipeline", {"roas": 9.0, "pipeline_roas": 1.0}, "skipped"),
        ("pipeline", {"roas": 1.0, "pipeline_roas": 3.0}, "indexed"),
        ("pipeline", {"roas": 3.0}, "indexed"),
    ],
)
def test_a_told_winner_wins_by_the_return_that_counts(world, mode, did, status):
    """The account's mode says which; a service's caller who tells one return means that."""
    world.documents.set("policies/acme", {"sampler": {"mode": mode}})
    answer = told(world, did={"ctr": 0.01, "impressions": 5000} | did)
    assert answer["status"] == status, answer
