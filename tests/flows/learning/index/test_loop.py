"""The last loop of the cycle: winners enter the index, and leave it when they are none."""

from dataclasses import replace

import pytest
from geminivideo.learning_records import CreativeDna
from geminivideo.records import HookType


def test_the_winners_of_the_account_are_indexed_and_the_others_are_not(world):
    """Three ads win, one does not and one is too young: three entries, one index object."""
    for number in range(3):
        world.ad(f"w{number}")
    world.ad("loser", clicks=5)
    world.ad("young", impressions=10, clicks=5)
    loop = world.run_loop()
    assert (loop.status, loop.result) == (
        "completed", {"status": "auto_indexed_in_feedback_loop", "indexed_count": 3}
    )  # fmt: skip
    assert set(world.entries()) == {"acme-w0", "acme-w1", "acme-w2"}
    assert world.manifest()["rows"] == 3


def test_a_second_cycle_indexes_nothing_anew_and_leaves_the_index_as_it_is(world):
    """Without news the next cycle counts no winner and the manifest keeps its generation."""
    world.ad("w0")
    world.run_loop()
    before, asked = world.store().open("acme").version, len(world.model.asked)
    world.clock.at += 86_400
    assert world.run_loop("lc-2").result["indexed_count"] == 0
    assert world.store().open("acme").version == before
    assert len(world.model.asked) == asked


def test_a_loop_that_runs_again_counts_what_its_first_attempt_indexed(world):
    """The same delivery after a crash answers the same count, by the time of the entries."""
    world.ad("w0")
    store = world.store()
    first = world.run_loop()
    world.documents.delete("step_runs/index_winners:lc-1")
    assert world.run_loop().result == first.result
    assert store.open("acme").index.rows.keys() == {"w0"}


def test_an_ad_that_turned_out_to_be_no_winner_leaves_the_index(world):
    """Actuals that were corrected take the ad out, of the entries and of the index."""
    world.ad("w0")
    world.ad("w1")
    world.run_loop()
    world.ad("w1", clicks=2)
    world.run_loop("lc-2")
    assert set(world.entries()) == {"acme-w0"}
    assert set(world.store().open("acme").index.rows) == {"w0"}


def test_an_ad_told_by_a_caller_stays_though_the_cycle_knows_no_actual_of_it(world):
    """Only what the cycle itself put in is taken out by it."""
    told = {"ctr": 0.05, "impressions": 5000}
    world.post("/api/ml/rag/index-winner", ad_id="told", account_id="acme",
               creative_dna={"hook": "A duck asks"}, performance=told)  # fmt: skip
    world.run_loop()
    assert set(world.store().open("acme").index.rows) == {"told"}


def test_the_dna_joins_plan_scene_speech_and_features(world):
    """Each part is a sentence of what is known of the ad, kept in the extractions too."""
    world.ad("w0", hook="Wet feet again?", says="boots that stay dry", shows="boot")
    world.run_loop()
    dna = world.documents.require("creative_dna_extractions/w0", CreativeDna)
    assert '"Wet feet again?"' in dna.hook
    assert "boot" in dna.visual
    assert "boots that stay dry" in dna.copy
    assert "Shop now" in dna.cta
    assert dna.missing == ("audio", "pacing")


def test_the_score_is_the_share_of_the_accounts_ads_that_an_ad_beats(world):
    """With four ads, the best beats all three others; an account's only ad has no score."""
    for ad, clicks in (("a", 80), ("b", 60), ("c", 10), ("d", 5)):
        world.ad(ad, clicks=clicks)
    world.ad("only", account="lone")
    world.run_loop()
    world.run_loop("lc-2", account="lone")
    entries = world.entries()
    assert entries["acme-a"].dna.score == 1.0
    assert entries["acme-b"].dna.score == pytest.approx(2 / 3)
    assert entries["lone-only"].dna.score is None


def test_ads_of_which_nothing_is_known_are_left_out_and_that_is_said(world):
    """A winner that was not made here has no DNA: it is no entry, and the loop is degraded."""
    world.actual("foreign")
    loop = world.run_loop()
    assert (loop.result["indexed_count"], loop.degraded) == (0, ("winners-without-dna",))
    assert world.manifest() is None


def test_without_the_text_model_winners_are_kept_and_embedded_later(world):
    """A model that is down costs the meaning only: filters find the entry, the next cycle reads."""
    world.ad("w0")
    world.model.is_down = True
    loop = world.run_loop()
    assert loop.degraded == ("winners-not-compared",)
    assert world.search(hook_type="question").json["results_found"] == 1
    world.model.is_down = False
    world.run_loop("lc-2")
    found = world.search(query="tired of wet feet").json
    assert found["matches"][0]["similarity"] > 0.3
    assert found["degraded"] == []


def test_another_text_model_reads_every_entry_again(world):
    """Vectors of two models never meet: a deployment that changes it has an index of the new."""
    world.ad("w0")
    world.ad("w1", kind=HookType.STORY)
    world.run_loop()
    world.model.source, world.model.length = "words-32", 32
    assert world.search(query="wet feet").json["degraded"] == ["winners-not-compared"]
    world.run_loop("lc-2")
    assert (world.manifest()["source"], world.manifest()["dimensions"]) == ("words-32", 32)
    assert {len(e.vector) for e in world.entries().values()} == {4 * 32}
    assert world.search(query="wet feet").json["degraded"] == []


def test_a_loop_without_time_says_so_and_the_next_goes_on(world):
    """Past its deadline nothing more is taken up; what was is in the index."""
    from geminivideo.policy import LearningPolicy, Policy

    world.documents.set("policies/acme", Policy(learning=LearningPolicy(loop_s=0.0)))
    world.ad("w0")
    loop = world.run_loop()
    assert (loop.result["indexed_count"], loop.degraded) == (0, ("winners-indexed-in-part",))
    world.documents.delete("policies/acme")
    assert world.run_loop("lc-2").result["indexed_count"] == 1


def test_an_account_without_actuals_indexes_nothing(world):
    """Nothing is no failure: the loop ends with a count of 0."""
    loop = world.run_loop()
    assert (loop.status, loop.result["indexed_count"], loop.degraded) == ("completed", 0, ())


@pytest.mark.parametrize(("mode", "kept"), [("direct", {"acme-shop"}), ("pipeline", {"acme-crm"})])
def test_the_value_of_the_accounts_mode_brings_a_winner_in(world, mode, kept):
    """Of two ads of few clicks, one with purchases and one with deals, the one that counts."""
    world.documents.set("policies/acme", {"sampler": {"mode": mode}})
    for name, cash, pipeline in (("shop", 400_00, 0), ("crm", 0, 400_00)):
        seen = world.ad(name, clicks=10)
        sold = {"cash_revenue": cash, "pipeline_value": pipeline}
        world.documents.set(f"actuals/{name}", replace(seen, **sold))
    world.run_loop()
    assert set(world.entries()) == kept
