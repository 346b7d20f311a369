"""A Video Intelligence endpoint whose answers are given by the test (docs/emulators/vision.md)."""

from emulators.vision.errors import ApiError
from emulators.vision.state import State
from emulators.vision.wire import Server

__all__ = ["ApiError", "Server", "State"]
