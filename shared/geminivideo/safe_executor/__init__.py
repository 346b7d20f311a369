"""SafeExecutor: the only writer to Meta. Every effect once, every refusal explained."""

from geminivideo.safe_executor.executor import Outcome, OutcomeKind, execute
from geminivideo.safe_executor.ports import Ports

__all__ = ["Outcome", "OutcomeKind", "Ports", "execute"]
