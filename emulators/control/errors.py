"""What the control API answers when it cannot do what it is asked: one shape, the member named."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ControlError(Exception):
    """A refused request: its status, what is wrong, and the member that is wrong (or "")."""

    def __init__(self, status: HTTPStatus, message: str, member: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.member = member

    def response(self) -> web.Response:
        """``{"error": ..., "member": ...}``."""
        body = {"error": self.message} | ({"member": self.member} if self.member else {})
        return web.json_response(body, status=self.status)


def malformed(member: str, wanted: str) -> ControlError:
    """A member that cannot be understood."""
    return ControlError(HTTPStatus.BAD_REQUEST, f"{member} must be {wanted}", member)


def unknown_member(member: str, known: str) -> ControlError:
    """A member that nobody reads: most likely misspelt."""
    return ControlError(
        HTTPStatus.BAD_REQUEST, f"{member} is not known here; there are: {known}", member
    )


def not_json(reason: str) -> ControlError:
    """A body that is no JSON object."""
    return ControlError(HTTPStatus.BAD_REQUEST, f"the body must be a JSON object: {reason}", "body")


def missing(what: str) -> ControlError:
    """There is none of that name."""
    return ControlError(HTTPStatus.NOT_FOUND, what)


def conflict(why: str) -> ControlError:
    """It cannot be done in this state; the message says what to do."""
    return ControlError(HTTPStatus.CONFLICT, why)


@web.middleware
async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn refusals into answers; a path that is not there is one too."""
    try:
        return await handler(request)
    except ControlError as error:
        return error.response()
    except web.HTTPNotFound:
        return missing(f"{request.path} is not there; GET / lists what is").response()
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        status = HTTPStatus.METHOD_NOT_ALLOWED
        return ControlError(status, f"{request.path} answers {allowed}").response()
