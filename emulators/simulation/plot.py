"""A simulation as a picture: value captured against the oracle, and every ad's budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emulators.market.market import CURRENCIES
from emulators.simulation.learning import Pair
from emulators.simulation.outcome import Outcome


def draw(outcome: Outcome, path: Path) -> None:
    """Write a PNG. Budgets are as they were live at the end of each day."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    scenario, major = outcome.scenario, 10.0 ** CURRENCIES[outcome.currency][0]
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(10, 9), sharex=True)
    hours = [hour / 24 for hour in range(1, len(outcome.best) + 1)]
    above.plot(hours, [value / major for value in outcome.best], label="the best possible")
    above.plot(hours, [v / major for v in outcome.captured], label=str(scenario.contender))
    above.set_ylabel(f"expected value captured ({outcome.currency})")
    above.legend()
    above.set_title(
        f"seed {scenario.seed}, {scenario.ads} ads: {outcome.share_of_best:.1%} of the best"
    )
    days = list(range(1, len(outcome.budgets[0]) + 1)) if outcome.budgets else []
    for budgets in outcome.budgets:
        below.plot(days, [budget / major for budget in budgets], linewidth=0.9)
    below.set_ylabel(f"daily budget of each ad ({outcome.currency})")
    below.set_xlabel("day")
    figure.tight_layout()
    figure.savefig(path, format="png", dpi=110)
    pyplot.close(figure)


def draw_pairs(pairs: Sequence[Pair], path: Path) -> None:
    """Write a PNG: each day's value with learning on by that with learning off, and errors."""
    import matplotlib

    matplotlib.use("Agg")
    import numpy as np
    from matplotlib import pyplot

    on = np.array([pair.on.daily for pair in pairs])
    off = np.array([pair.off.daily for pair in pairs])
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(10, 9), sharex=True)
    days = np.arange(1, on.shape[1] + 1)
    for number in range(len(pairs)):
        above.plot(days, on[number] / off[number], color="0.8", linewidth=0.7)
    above.plot(days, on.sum(0) / off.sum(0), label=f"all {len(pairs)} seeds")
    above.axhline(1.0, color="black", linewidth=0.6)
    above.set_ylabel("expected value, learning on / off")
    above.legend()
    for pair in pairs:
        at = [one.at_day for one in pair.errors]
        by = [one.champion_log_rmse / one.first_log_rmse for one in pair.errors]
        below.plot(at, by, linewidth=0.9)
    below.axhline(1.0, color="black", linewidth=0.6)
    below.set_ylabel("RMSE of ln CTR, champion / first model")
    below.set_xlabel("day")
    figure.tight_layout()
    figure.savefig(path, format="png", dpi=110)
    pyplot.close(figure)
