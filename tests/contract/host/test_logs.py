"""The log of a function: every line can be attributed to the request that it belongs to."""

from __future__ import annotations

import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor

from emulators.step_logs import parsed, trace_of

PRINTS = """
import sys, time

def main(request):
    said = request.args["say"]
    for number in range(5):
        print(f"{said} {number}", flush=True)
        time.sleep(0.02)
    print(f"{said} complains", file=sys.stderr, flush=True)
    if "fail" in request.args:
        raise LookupError(said)
    return request.headers["X-Cloud-Trace-Context"]
"""


def lines_of(call, name: str = "echo", requests: int = 1) -> list[dict]:
    """The structured lines of a function's log, once its requests are in it."""
    until = time.monotonic() + 10
    while True:
        log = call.host.log_of(name).read_text()
        if log.count('"httpRequest"') >= requests:
            return [parsed(line) for line in log.splitlines()]
        assert time.monotonic() < until, "a request is not logged"
        time.sleep(0.01)


def w3c(trace: str) -> dict[str, str]:
    """The header of a caller that traces."""
    return {"traceparent": f"00-{trace}-00000000000000ab-01"}


def test_every_line_that_a_function_prints_names_its_trace(serve):
    """Plain prints, on both streams: Cloud Functions labels them with the execution."""
    call, trace = serve(PRINTS, echo={}), secrets.token_hex(16)
    assert call("echo", "/?say=hello", headers=w3c(trace)).status == 200
    said = [line for line in lines_of(call) if str(line.get("message", "")).startswith("hello")]
    assert len(said) == 6
    assert {trace_of(line) for line in said} == {trace}


def test_lines_of_requests_at_once_are_told_apart(serve):
    """Four requests in one process: each line is of the request that printed it."""
    call = serve(PRINTS, echo={"concurrency": 4})
    traces = {f"caller{number}": secrets.token_hex(16) for number in range(4)}
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(lambda name: call("echo", f"/?say={name}", headers=w3c(traces[name])), traces)
        )
    for name, trace in traces.items():
        said = [line for line in lines_of(call) if str(line.get("message", "")).startswith(name)]
        assert {trace_of(line) for line in said} == {trace}


def test_a_request_without_a_trace_begins_one_that_the_log_names(serve):
    """The host gives a trace as Cloud Run does; the request's line and the prints have it."""
    call = serve(PRINTS, echo={})
    trace = call("echo", "/?say=hi").text.partition("/")[0]
    assert len(trace) == 32
    traced = [line for line in lines_of(call) if trace_of(line) == trace]
    assert [line["message"] for line in traced if "httpRequest" in line] == ["GET / 200"]
    assert len(traced) == 7


def test_googles_older_trace_header_is_gone_on_with(serve):
    """X-Cloud-Trace-Context: the trace that it names becomes the traceparent too."""
    call, trace = serve(echo={}), secrets.token_hex(16)
    seen = call("echo", headers={"X-Cloud-Trace-Context": f"{trace}/171;o=1"}).json["headers"]
    assert seen["Traceparent"].split("-")[1] == trace
    assert seen["X-Cloud-Trace-Context"] == f"{trace}/171;o=1"


def test_each_request_has_a_line_with_status_and_latency(serve):
    """As in Cloud Run's request log (LogEntry.httpRequest); the query is not in it."""
    call = serve(PRINTS, echo={})
    call("echo", "/some/path?say=secret-word", method="POST")
    request = next(line["httpRequest"] for line in lines_of(call) if "httpRequest" in line)
    assert (request["requestMethod"], request["requestUrl"]) == ("POST", "/some/path")
    assert request["status"] == 200
    assert 0.05 < float(request["latency"].rstrip("s")) < 20


def test_a_refused_request_is_in_the_log_with_why(serve):
    """401 and 403 never reach the function; its log says that they came."""
    call, trace = serve(echo={}), secrets.token_hex(16)
    assert call("echo", headers=w3c(trace), token=None).status == 403
    assert call("echo", token="not.a.token").status == 401
    first, second = lines_of(call, requests=2)
    assert (first["severity"], trace_of(first)) == ("WARNING", trace)
    assert "carries no bearer token" in first["message"]
    assert second["httpRequest"]["status"] == 401
    assert "not.a.token" not in json.dumps(second)


def test_the_line_of_a_time_out_names_the_request_that_ran_over(serve):
    """504: both lines of the host, that it was answered and that the process goes."""
    call, trace = serve(echo={"timeout_s": 3}), secrets.token_hex(16)
    call("echo")
    assert call("echo", "/?sleep=20", headers=w3c(trace)).status == 504
    said = [line["message"] for line in lines_of(call, requests=2) if trace_of(line) == trace]
    assert any("maximum time-out of 3 s" in message for message in said)
    assert any(message.startswith("GET / 504: ") for message in said)


def test_a_traceback_is_of_the_request_that_raised(serve):
    """An exception is logged under the execution that it ended."""
    call, trace = serve(PRINTS, echo={}), secrets.token_hex(16)
    assert call("echo", "/?say=x&fail=1", headers=w3c(trace)).status == 500
    lines = lines_of(call)
    raised = [line for line in lines if "LookupError" in str(line.get("message", ""))]
    assert {trace_of(line) for line in raised} == {trace}
    assert next(line for line in lines if "httpRequest" in line)["severity"] == "ERROR"
