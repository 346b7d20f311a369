"""Entries of winners with directions that a test can foresee."""

from dataclasses import replace

import numpy as np
import pytest
from geminivideo.learning_records import (
    CreativeDna,
    CreativeFeatures,
    WinnerEntry,
    WinnerPerformance,
)
from geminivideo.rag.index import packed, revision_of


def entry_of(ad_id, vector, *, account="acme", source="test", **performance):
    """A winner's entry; ``hook_type`` among the members is a trait, the rest how it did."""
    hook_type = performance.pop("hook_type", None)
    traits = CreativeFeatures(hook_type=hook_type) if hook_type else None
    entry = WinnerEntry(
        id=f"{account}-{ad_id}",
        account_id=account,
        ad_id=ad_id,
        dna=CreativeDna(id=ad_id, account_id=account, at=0.0, hook="h", features=traits),
        performance=WinnerPerformance(**performance),
        text="h",
        origin="loop",
        revision="",
        indexed_at=0.0,
        source=source if vector is not None else "",
        vector=b"" if vector is None else packed(vector),
    )
    return replace(entry, revision=revision_of(entry))


@pytest.fixture
def make_entry():
    return entry_of


@pytest.fixture(scope="session")
def clustered():
    """10,000 directions of 64 numbers in 300 clusters, and 100 questions near them; seeded."""
    chance = np.random.default_rng(7)
    middles = chance.normal(size=(300, 64))
    of = chance.integers(0, 300, 10_000)
    stored = middles[of] + 0.6 * chance.normal(size=(10_000, 64))
    asked = middles[chance.integers(0, 300, 100)] + 0.6 * chance.normal(size=(100, 64))
    return stored.astype(np.float32), asked.astype(np.float32)


@pytest.fixture(scope="session")
def many(clustered):
    """The 10,000 as entries; the CTR rises with their number."""
    stored, one = clustered[0], entry_of("", None)
    vectors = (stored / np.linalg.norm(stored, axis=1, keepdims=True)).astype("<f4")
    return [
        replace(
            one, ad_id=str(n), revision=str(n), source="test", vector=vector.tobytes(),
            performance=WinnerPerformance(ctr=n / 10_000),
        )
        for n, vector in enumerate(vectors)
    ]  # fmt: skip
