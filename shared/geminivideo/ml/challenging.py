"""A challenger is trained and judged on ads that neither it nor the champion has seen.

One that wins goes on trial (``trials``). The first model of a deployment has nobody beside it and
takes its place at once when it beats the base rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from geminivideo.ml.ctr import CtrModel
from geminivideo.ml.guarding import guarded
from geminivideo.ml.judging import Comparison, Row, compare
from geminivideo.ml.training import base_rates, learn
from geminivideo.ml.trials import State
from geminivideo.policy import RankPolicy, TrainingPolicy


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """A trained challenger, how it was judged, and what it is to be; ``left_out`` are sentences.

    ``model`` is what goes to use or on trial: it has learned from the ads of the judgement too,
    which was passed by the same way to learn without them.
    """

    model: CtrModel
    state: State
    reason: str
    over_baseline: Comparison
    over_champion: Comparison | None
    accounts: tuple[str, ...]
    left_out: tuple[str, ...]


def rates_of(model: CtrModel, rows: Sequence[Row]) -> list[float]:
    """What a model says of ads, each at its account's level."""
    return model.predict_many([model.of_account(row.values, row.account_id) for row in rows])


def challenge(
    rows: Sequence[Row],
    champion: CtrModel | None,
    policy: TrainingPolicy,
    ranking: RankPolicy,
    now: float,
) -> Challenge:
    """Train a challenger and judge it against the base rate and the champion.

    The champion is compared on those of the held-out ads that began after all it learned from.
    Raises ``TooFewActualsError``, ``PoisonedActualsError``, ``GraphDiffersError``.
    """
    found = guarded(rows, policy, now)
    learned = learn(found.rows, policy, ranking)
    model, earlier, later = learned.judged, learned.earlier, learned.later
    likeness, rates = model.report.likeness, rates_of(model, later)
    baseline = compare(base_rates(earlier, later, policy), rates, later, likeness, policy)
    against = None
    if champion is not None:
        fresh = [row for row in later if row.at > champion.trained_to]
        if len(fresh) >= policy.min_judged:
            said = rates_of(champion, fresh), rates_of(model, fresh)
            against = compare(*said, fresh, likeness, policy)
    state, reason = _verdict(baseline, against, champion, policy)
    return Challenge(
        model=learned.served,
        state=state,
        reason=reason,
        over_baseline=baseline,
        over_champion=against,
        accounts=tuple(sorted({row.account_id for row in found.rows if row.account_id})),
        left_out=found.left_out,
    )


def _verdict(
    baseline: Comparison,
    against: Comparison | None,
    champion: CtrModel | None,
    policy: TrainingPolicy,
) -> tuple[State, str]:
    if baseline.ads < policy.min_judged:
        few = f"only {baseline.ads} of {policy.min_judged} later ads to judge it by"
        return State.REJECTED, few
    if not baseline.better:
        return State.REJECTED, f"it does not beat the base rate {_on(baseline)}"
    if champion is None:
        return State.CHAMPION, f"it beats the base rate {_on(baseline)}, and no model was in use"
    if against is None:
        return State.REJECTED, (
            f"fewer than {policy.min_judged} ads began after all that the champion learned from"
        )
    if not against.better:
        return State.REJECTED, f"it is not better than {champion.version} {_on(against)}"
    return State.SHADOW, f"it is better than {champion.version} {_on(against)}; now on trial"


def _on(found: Comparison) -> str:
    return (
        f"on {found.ads} later ads (gain {found.gain:.2g}, lower bound {found.bound:.2g} at "
        f"{found.level:.0%})"
    )
