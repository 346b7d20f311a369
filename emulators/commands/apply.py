"""``geminivideo apply``: bring a running cloud to what its program declares now."""

from __future__ import annotations

from emulators.commands.console import STATE, JsonOption, StateOption, answer, told


def apply(as_json: JsonOption = False, state: StateOption = STATE) -> None:
    """Apply the changed program to the running cloud; functions take their new bundles."""
    from emulators.remote import Control, RefusedError

    with told(RefusedError):
        done = Control(state).post("/apply", {})
    answer(done, "\n".join([*done["changes"], done["summary"]]), as_json)
