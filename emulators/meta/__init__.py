"""A double of the Graph API (v26.0) that Meta's own Python client talks to unmodified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geminivideo.runtime.clock import Clock

from emulators.faults.engine import Faults
from emulators.faults.http_hook import HttpFaults
from emulators.faults.rules import META, Rule
from emulators.meta.limits import TIERS
from emulators.meta.state import Graph, Pace, Write
from emulators.meta.wire import Wire, endpoint, fingerprint
from emulators.serving import HttpService, open_database

__all__ = ["TIERS", "Pace", "Server", "Write", "fingerprint"]


class Server(HttpService):
    """The double on a loopback port; its objects and its log are in ``state_dir``.

    ``tokens`` are the access tokens it accepts (any other answers 190). ``tier`` is the access
    tier of every ad account: ``full`` or ``limited``. ``FacebookSession.GRAPH`` is set to ``url``.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        clock: Clock,
        port: int = 0,
        tokens: set[str],
        tier: str = "full",
        pace: Pace | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.faults = faults or Faults(clock)
        hook = HttpFaults(META, self.faults, endpoint=endpoint, render=None, reads_first=True)
        super().__init__("meta", lambda: self._wire.application(), (port,), hook)
        self._database = open_database(state_dir / "meta.sqlite")
        self.graph = Graph(self._database, clock, pace or Pace(), tier)
        self._wire = Wire(self.graph, self.faults, clock, tokens)

    def stop(self) -> None:
        """Stop serving and close the files."""
        super().stop()
        self._database.close()

    def fault(self, match: str = "*", **members: Any) -> None:
        """Add a rule for this double: ``fault("POST act_*/ads", drop="after")``."""
        self.faults.add(Rule(service=META, endpoint=match, **members))

    def writes(self) -> list[Write]:
        """Every write that reached the double, in order."""
        return self.graph.writes()

    def objects(self, account: str, kind: str) -> list[dict[str, Any]]:
        """The live objects of one kind (``ad``, ``adset``, ...), newest first, as Graph shows."""
        return self.graph.children(account, kind)
