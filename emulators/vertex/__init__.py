"""A Vertex AI endpoint whose answers are scripted (docs/emulators/vertex.md)."""

from emulators.vertex.errors import ApiError
from emulators.vertex.state import Asked, Reply
from emulators.vertex.wire import Server

__all__ = ["ApiError", "Asked", "Reply", "Server"]
