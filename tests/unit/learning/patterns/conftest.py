"""Accounts whose truth is known: ads in campaigns, with effects that are planted or none."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from geminivideo.learning.comparing import Ad
from geminivideo.learning_records import CreativeFeatures
from geminivideo.policy import PatternPolicy

DAY = 86_400.0
NOW = 1_795_000_000.0
HOOKS = ("question", "story", "statistic", "pattern_interrupt")
BRISK = PatternPolicy(max_pairs=0, shuffles=1000, max_shuffles=1000)


def features(rng, bright, speech):
    """A campaign's footage (bright, speech) with an ad's own hook, length, grade and call."""
    return CreativeFeatures(
        hook_type=str(rng.choice(HOOKS)),
        hook_words=int(rng.integers(2, 11)),
        hook_has_number=bool(rng.random() < 0.4),
        duration_s=float(rng.choice([8.0, 9.0, 12.0, 15.0])),
        grade=str(rng.choice(["natural", "vivid", "warm"])),
        cta_type=str(rng.choice(["learn_more", "buy_now"])),
        cuts_per_s=float(rng.uniform(0, 0.9)),
        brightness=bright,
        has_speech=speech,
    )


def account(
    seed, *, campaigns=8, each=8, base=0.02, spread=0.2, apart=0.3, effects=(), at=None, name="c"
):
    """Ads in campaigns ``apart`` (sd of the log CTR) with ad-level ``spread`` of their own.

    ``effects`` are (predicate of features, factor on the CTR). Campaigns start two days apart, the
    last of them today (or at ``at``).
    """
    rng = np.random.default_rng(seed)
    last = at or NOW - 3 * DAY
    ads = []
    for number in range(campaigns):
        level = math.exp(rng.normal(0, apart))
        bright, speech = float(rng.uniform(0, 1)), bool(rng.random() < 0.5)
        for index in range(each):
            made = features(rng, bright, speech)
            factor = math.prod(by for holds, by in effects if holds(made))
            ctr = min(0.5, base * level * factor * math.exp(rng.normal(0, spread)))
            impressions = int(rng.lognormal(8.3, 0.6)) + 200
            clicks = int(rng.binomial(impressions, ctr))
            won = clicks / impressions >= 0.03 if impressions >= 1000 else None
            ads.append(
                Ad(
                    id=f"{name}{number}-{index}", features=made, impressions=impressions,
                    clicks=clicks, shown_at=last - 2 * DAY * (campaigns - 1 - number),
                    is_winner=won, campaign=f"{name}{number}",
                )
            )  # fmt: skip
    return ads


@pytest.fixture(scope="session")
def make():
    """Builders and constants that tests share."""
    return SimpleNamespace(account=account, now=NOW, day=DAY, brisk=BRISK, features=features)
