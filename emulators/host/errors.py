"""Errors of the host, and the answers that Cloud Run's front end gives in their place."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web


class HostError(RuntimeError):
    """Something the host was asked for cannot be done; the message says what to do."""


class BundleError(HostError):
    """A bundle cannot be unpacked."""


class UnknownFunctionError(HostError):
    """No function of that name is deployed here."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no function {name!r} is deployed; there are: {', '.join(known)}")


class NotRunningError(HostError):
    """The function or job has no process to act on now."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} has no running process; it starts with its first call")


class SecretMissingError(HostError):
    """A declared secret has no value in this cloud."""

    def __init__(self, secret: str, wanted_by: str) -> None:
        super().__init__(
            f"{wanted_by} wants the secret {secret!r}, which this cloud has no value for"
        )


class Refusal(Exception):
    """The front end answers in the function's place."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def response(self) -> web.Response:
        """A short page naming the reason."""
        headers = {"X-GV-Host": "refused"}
        if self.status is HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
        text = f"Error: {self.status.phrase}\n{self.message}\n"
        return web.Response(status=self.status, text=text, headers=headers)


def token_missing() -> Refusal:
    """No bearer token on a function that is not open to all."""
    return Refusal(
        HTTPStatus.FORBIDDEN, "The request was not authenticated: it carries no bearer token."
    )


def token_invalid(reason: str) -> Refusal:
    """The token could not be verified."""
    return Refusal(HTTPStatus.UNAUTHORIZED, f"The bearer token could not be verified: {reason}.")


def not_invoker(email: str, function: str) -> Refusal:
    """A verified caller without the role."""
    return Refusal(HTTPStatus.FORBIDDEN, f"{email} lacks roles/run.invoker on {function}.")


def too_large(limit: int) -> Refusal:
    """A request body above Cloud Run's HTTP/1 limit."""
    message = f"The request is larger than {limit // 2**20} MiB."
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)


def no_instance(function: str) -> Refusal:
    """The request waited for a free slot in vain."""
    return Refusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        f"The request was aborted because {function} had no available instance.",
    )


def timed_out(function: str, timeout_s: int) -> Refusal:
    """The function did not answer in its declared time."""
    message = f"{function} reached its maximum request timeout of {timeout_s} s."
    return Refusal(HTTPStatus.GATEWAY_TIMEOUT, message)


def broken(function: str, why: str) -> Refusal:
    """The process died, did not start, or answered nonsense."""
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"The response of {function} was malformed or its connection failed: {why}.",
    )
