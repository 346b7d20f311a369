"""Faults by script on any endpoint of the local cloud (docs/emulators/faults.md)."""

from emulators.faults.engine import EXTERNAL, Call, Faults, Standing
from emulators.faults.errors import FaultError, ScriptError
from emulators.faults.rules import Kind, Quota, Reorder, Rule, rule_of

__all__ = [
    "EXTERNAL",
    "Call",
    "FaultError",
    "Faults",
    "Kind",
    "Quota",
    "Reorder",
    "Rule",
    "ScriptError",
    "Standing",
    "rule_of",
]
