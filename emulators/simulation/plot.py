"""A simulation as a picture: value captured against the oracle, and every ad's budget."""

from __future__ import annotations

from pathlib import Path

from emulators.market.market import CURRENCIES
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
