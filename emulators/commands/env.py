"""``geminivideo env``: the environment that points any Google client at a running cloud."""

from __future__ import annotations

import shlex
import sys

from emulators.commands.console import STATE, JsonOption, StateOption, answer, told


def env(as_json: JsonOption = False, state: StateOption = STATE) -> None:
    """Print export lines for a shell: eval "$(geminivideo env)"."""
    from emulators.running import Running

    with told():
        found = Running.find(state).env
    if as_json:
        answer(found, "", as_json)
        return
    sys.stdout.writelines(f"export {name}={shlex.quote(found[name])}\n" for name in sorted(found))
