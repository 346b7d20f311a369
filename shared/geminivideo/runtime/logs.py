"""Structured logs: one JSON object a line, with severity, trace, step and flow."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar

TRACE = "logging.googleapis.com/trace"
CONTEXT: ContextVar[dict[str, str] | None] = ContextVar("log_context", default=None)

_SECRET = re.compile(
    r"(access_token|appsecret_proof|client_secret|token|authorization)(=|%3D|\"?: ?\"?)"
    r"(Bearer )?[^&\s\"',}]+",
    re.IGNORECASE,
)


def trace_members(parent: str, project: str) -> dict[str, str]:
    """What makes a line part of a trace in Cloud Logging; {} without a trace.

    ``parent`` is ``00-TRACE-SPAN-01`` (W3C) or ``TRACE/SPAN;o=1`` (Google's older header).
    """
    trace_id = parent.split("-")[1] if parent.count("-") == 3 else parent.partition("/")[0]
    return {TRACE: f"projects/{project}/traces/{trace_id}"} if trace_id else {}


def parent_of(headers: Mapping[str, str]) -> str:
    """A request's trace context, "" when it has none; header names in any case."""
    names = {name.lower(): value for name, value in headers.items()}
    return names.get("traceparent", "") or names.get("x-cloud-trace-context", "")


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
