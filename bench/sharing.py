"""What accounts gain by sharing, by how many take part: ``python -m bench sharing``.

Deployments whose truth is known: each trait has an effect on the CTR (log, normal with a spread of
0.10 between traits) that an account shares up to 0.05 of its own, accounts differ in CTR, and each
has twenty ads with random traits and 5,000 impressions. Contributions, noise and release are the
product's, with its default policy. Judged are the new ads of accounts without any history.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from geminivideo.learning import noise, privacy, sharing
from geminivideo.learning_records import Actual, CreativeFeatures, SharedRelease
from geminivideo.policy import Policy, SharingPolicy
from rich.console import Console
from rich.table import Table

SIZES = (10, 25, 50, 100, 200, 400)
DEPLOYMENTS = 20
ADS, SHOWN, EMPTY = 20, 5_000, 40
NOW = 1_795_000_000.0
CTR, CTR_SPREAD, TRAIT_SPREAD, OWN_SPREAD = 0.013, 0.5, 0.10, 0.05


@dataclass(frozen=True)
class Row:
    """Means over deployments of one size; ``gain``: by how much the new ads' squared error (log)
    inside their account falls; ``right`` of ``found`` patterns point where the truth does."""

    accounts: int
    released: float
    found: float
    right: float
    gain: float


def measure(seed: int = 1, policy: SharingPolicy | None = None) -> list[Row]:
    """Every size, over the same seeds."""
    return [_of_size(size, seed, policy or SharingPolicy()) for size in SIZES]


def _of_size(size: int, seed: int, policy: SharingPolicy) -> Row:
    runs = [_deployment(size, random.Random(seed * 1000 + n), policy) for n in range(DEPLOYMENTS)]
    found = sum(run[1] for run in runs)
    return Row(
        accounts=size,
        released=fmean(run[0] for run in runs),
        found=found / len(runs),
        right=sum(run[2] for run in runs) / found if found else math.nan,
        gain=1 - sum(run[3] for run in runs) / sum(run[4] for run in runs),
    )


def _deployment(
    size: int, rng: random.Random, policy: SharingPolicy
) -> tuple[float, int, int, float, float]:
    """(released, patterns, right ones, squared error with sharing, and without)."""
    effects = {trait: rng.gauss(0, TRAIT_SPREAD) for trait in sharing.TRAITS}
    contributions = [
        made
        for number in range(size)
        if (made := sharing.contribute(_ads(number, effects, rng), policy, NOW)) is not None
    ]
    release = _release(contributions, policy)
    right = sum((p.lift > 1) == (effects[p.trait] > 0) for p in release.patterns)
    with_it = without = 0.0
    for _ in range(EMPTY):
        errors = _errors(release, effects, rng)
        with_it, without = with_it + errors[0], without + errors[1]
    return float(release.released_at is not None), len(release.patterns), right, with_it, without


def _release(contributions: Sequence[sharing.Contribution], policy: SharingPolicy) -> SharedRelease:
    slot = privacy.slot_of(NOW, policy)
    if len(contributions) < policy.min_accounts:
        return sharing.withheld(slot, policy, NOW)
    cells = sharing.measured(contributions, policy)
    noisy = noise.laplace(list(cells.values()), privacy.sensitivity(policy), policy.epsilon)
    return sharing.published(dict(zip(cells, noisy, strict=True)), slot, policy, NOW)


def _features(rng: random.Random) -> CreativeFeatures:
    return CreativeFeatures(
        hook_type=rng.choice(["question", "statistic", "story", "urgency"]),
        first_frame=rng.choice(["face", "text", "motion", "still"]),
        cta_type=rng.choice(["learn_more", "shop_now", "sign_up"]),
        hook_has_number=rng.random() < 0.4,
        has_speech=rng.random() < 0.6,
        has_music=rng.random() < 0.6,
        hook_words=rng.randint(3, 12),
        opening_shot_s=rng.uniform(0.8, 3.0),
        cuts_per_s=rng.uniform(0.1, 1.2),
        duration_s=rng.uniform(6.0, 30.0),
    )


def _effect(features: CreativeFeatures, effects: dict[str, float]) -> float:
    return math.fsum(
        effect for trait, effect in effects.items() if sharing.TRAITS[trait].met_by(features)
    )


def _ads(number: int, effects: dict[str, float], rng: random.Random) -> list[Actual]:
    level = math.log(CTR) + rng.gauss(0, CTR_SPREAD)
    own = {trait: effect + rng.gauss(0, OWN_SPREAD) for trait, effect in effects.items()}
    return [_ad(f"{number}-{n}", level, own, rng) for n in range(ADS)]


def _ad(name: str, level: float, own: dict[str, float], rng: random.Random) -> Actual:
    features = _features(rng)
    mean = SHOWN * math.exp(level + _effect(features, own) + rng.gauss(0, 0.2))
    clicks = max(0, round(rng.gauss(mean, math.sqrt(mean))))
    return Actual(
        id=name,
        ad_id=name,
        account_id="",
        currency="USD",
        impressions=SHOWN,
        clicks=min(clicks, SHOWN),
        spend=0,
        pipeline_value=0,
        cash_revenue=0,
        first_shown_at=NOW,
        until_at=NOW,
        linked_at=NOW,
        features=features,
    )


def _errors(
    release: SharedRelease, effects: dict[str, float], rng: random.Random
) -> tuple[float, float]:
    """Squared errors of an empty account's ads around their mean: with wisdom, and with none."""
    ads = [_features(rng) for _ in range(ADS)]
    truth = [_effect(features, effects) for features in ads]
    prior = Policy().sampler
    words = [sharing.wisdom(one, release, newness=1.0, prior=prior) for one in ads]
    logs = [math.log(word.ratio) if word else 0.0 for word in words]
    true_mean, said_mean = fmean(truth), fmean(logs)
    return (
        math.fsum((t - true_mean - w + said_mean) ** 2 for t, w in zip(truth, logs, strict=True)),
        math.fsum((t - true_mean) ** 2 for t in truth),
    )


def show(rows: Sequence[Row], console: Console) -> None:
    """A line for each size."""
    table = Table(title=f"What sharing gives, {DEPLOYMENTS} deployments each")
    for heading in ("accounts", "released", "patterns", "pointing right", "error falls by"):
        table.add_column(heading, justify="right")
    for row in rows:
        right = "" if math.isnan(row.right) else f"{row.right:.0%}"
        table.add_row(
            str(row.accounts), f"{row.released:.0%}", f"{row.found:.1f}", right, f"{row.gain:.1%}"
        )
    console.print(table)
