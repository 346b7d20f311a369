"""Structured logs: one JSON object a line, with severity, trace, step and flow."""

from __future__ import annotations

import logging
import os
import re
import sys
from contextvars import ContextVar

CONTEXT: ContextVar[dict[str, str] | None] = ContextVar("log_context", default=None)

_SECRET = re.compile(
    r"(access_token|appsecret_proof|client_secret|token|authorization)(=|%3D|\"?: ?\"?)"
    r"(Bearer )?[^&\s\"',}]+",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """``text`` with the values of tokens and secrets taken out."""
    return _SECRET.sub(r"\1\2[redacted]", text)


def setup(step: str) -> logging.Logger:
    """Send this process's logs to standard output as JSON; safe to call twice."""
    from pythonjsonlogger.json import JsonFormatter

    class CloudFormatter(JsonFormatter):
        def process_log_record(self, record: dict[str, object]) -> dict[str, object]:
            record.update(CONTEXT.get() or {})
            record["step"] = step
            for name in ("message", "exc_info"):
                if isinstance(record.get(name), str):
                    record[name] = redact(str(record[name]))
            return record

    logger = logging.getLogger("geminivideo")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(
            CloudFormatter(
                "{message}{levelname}", style="{", rename_fields={"levelname": "severity"}
            )
        )
        logger.addHandler(handler)
        logger.setLevel(os.environ.get("LOG_LEVEL", "INFO"))
        logger.propagate = False
    return logger
