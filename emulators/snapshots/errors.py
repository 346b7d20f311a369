"""What can go wrong with a snapshot; each message says what to do."""

from __future__ import annotations

from pathlib import Path


class SnapshotError(RuntimeError):
    """A snapshot cannot be saved, loaded or deleted."""


class SnapshotNameError(SnapshotError):
    """Not a name for a snapshot."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} is no name for a snapshot: letters, digits, '-', '_' and '.', "
            "beginning with a letter or digit, at most 64"
        )


class SnapshotMissingError(SnapshotError):
    """There is none of that name."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(
            f"no snapshot {name!r} in {folder}: `geminivideo snapshot list` shows what there is"
        )


class SnapshotExistsError(SnapshotError):
    """There is one of that name already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"a snapshot {name!r} is there already: choose another name, or --replace")


class SnapshotFormatError(SnapshotError):
    """Not a snapshot of this version, or damaged."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"snapshot {name!r} cannot be used ({why}): save it again")


class NothingToSaveError(SnapshotError):
    """A folder without a cloud's state."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__(f"{state_dir} holds no cloud's state: name the right one with --state")


class BusyError(SnapshotError):
    """The databases would not stand still at one moment."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the cloud's databases did not stand still together within {seconds:.0f} s: try again"
        )
