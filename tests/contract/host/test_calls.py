"""A function behind the host: its environment, its streams, its time-outs and slots."""

from __future__ import annotations

import http.client
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from emulators.host import UnknownFunctionError


def test_the_first_call_starts_the_process_and_the_second_finds_it(serve):
    """No process runs before the first call; the same one answers the next."""
    call = serve(echo={})
    assert call.host.processes() == []
    first, second = call("echo"), call("echo")
    assert (first.status, second.status) == (200, 200)
    assert first.json["pid"] == second.json["pid"]


def test_a_warmed_function_answers_its_first_call_from_the_process_it_has(serve):
    """A process that was started ahead of the calls is the one that answers; an unknown name is
    refused."""
    call = serve(echo={}, other={})
    call.host.warm(["echo"])
    deadline = time.monotonic() + 15
    while not (started := call.host.processes()):
        assert time.monotonic() < deadline, "no process was started"
    assert call("echo").status == 200
    assert [(p.function, p.pid) for p in call.host.processes()] == [("echo", started[0].pid)]
    with pytest.raises(UnknownFunctionError):
        call.host.warm(["nobody"])


def test_a_function_sees_only_its_declared_environment(serve, monkeypatch):
    """Declared variables, secrets and the runtime contract reach the process; ours do not."""
    monkeypatch.setenv("LEAKED", "from the host")
    call = serve(
        echo={"env": {"DECLARED": "yes"}, "concurrency": 3}, env={"PUBSUB_EMULATOR_HOST": "x:1"}
    )
    seen = call("echo").json["env"]
    assert seen["DECLARED"] == "yes"
    assert seen["PUBSUB_EMULATOR_HOST"] == "x:1"
    assert seen["THREADS"] == "3"
    assert set(seen) <= {
        "DECLARED", "PUBSUB_EMULATOR_HOST", "PATH", "HOME", "LANG", "LC_CTYPE", "PORT", "HOST",
        "K_SERVICE", "K_REVISION", "K_CONFIGURATION", "FUNCTION_TARGET",
        "FUNCTION_SIGNATURE_TYPE", "LOG_EXECUTION_ID", "WORKERS", "THREADS", "SERVER_SOFTWARE",
    }  # fmt: skip


def test_a_sleeping_handler_is_answered_504_and_the_next_call_served_by_a_new_process(serve):
    """The time-out is the host's: the framework would not cut the handler off."""
    call = serve(echo={"timeout_s": 4})
    before = call("echo").json["pid"]
    late = call("echo", "/?sleep=20")
    assert late.status == 504
    assert "maximum request timeout of 4 s" in late.text
    assert call("echo").json["pid"] != before


def test_requests_inside_never_exceed_the_declared_concurrency(serve):
    """Six callers of a function with two slots: two at a time, all answered."""
    call = serve(echo={"concurrency": 2})
    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda _: call("echo", "/?sleep=0.15"), range(6)))
    assert [reply.status for reply in replies] == [200] * 6
    assert max(reply.json["peak"] for reply in replies) == 2


def test_a_request_that_finds_no_slot_in_time_is_answered_429(serve, monkeypatch):
    """Beyond concurrency x instances a request is held for a while, then refused."""
    monkeypatch.setattr("emulators.host.state.PENDING_S", 0.1)
    call = serve(echo={"concurrency": 1, "max_instances": 1})
    call("echo")
    with ThreadPoolExecutor(2) as pool:
        replies = list(pool.map(lambda _: call("echo", "/?sleep=1.5"), range(2)))
    assert sorted(reply.status for reply in replies) == [200, 429]
    assert "no available instance" in next(r.text for r in replies if r.status == 429)


def test_a_body_of_30_mib_passes_whole_and_one_above_32_mib_is_answered_413(serve):
    """Uploads stream through; Cloud Run's own limit stands, announced or not."""
    call = serve(echo={})
    body = b"x" * (30 << 20)
    assert call("echo", method="POST", body=body).json["length"] == len(body)
    pieces = (b"y" * (1 << 20) for _ in range(33))
    late = call(
        "echo", method="POST", body=pieces, headers={"Transfer-Encoding": "chunked"}, chunked=True
    )
    assert late.status == 413


def test_a_chunked_body_arrives_whole(serve):
    """A body of unknown length reaches the function."""
    call = serve(echo={})
    pieces = (b"z" * 1000 for _ in range(5))
    reply = call(
        "echo", method="POST", body=pieces, headers={"Transfer-Encoding": "chunked"}, chunked=True
    )
    assert (reply.status, reply.json["length"]) == (200, 5000)


def test_path_query_method_and_headers_reach_the_function_as_sent(serve):
    """The front end changes nothing but what Cloud Run changes."""
    call = serve(echo={})
    reply = call("echo", "/a%2Fb/c?q=1%202&q=3", method="PATCH", body=b"{}", headers={"X-Own": "v"})
    assert (reply.json["method"], reply.json["url"]) == ("PATCH", "/a/b/c?q=1%202&q=3")
    assert reply.json["headers"]["X-Own"] == "v"
    assert reply.json["headers"]["Traceparent"].startswith("00-")


def test_a_large_answer_is_streamed_back_whole(serve):
    """An answer made in pieces arrives in full."""
    source = """
import flask

def main(request):
    return flask.Response((b"p" * 65536 for _ in range(160)), mimetype="video/mp4")
"""
    call = serve(source, echo={})
    reply = call("echo")
    assert (len(reply.body), reply.headers["Content-Type"]) == (160 * 65536, "video/mp4")


def test_an_answer_cut_by_the_time_out_is_not_taken_for_a_whole_one(serve):
    """When the time is up in the middle of an answer, the connection is cut."""
    source = """
import flask, time

def endless():
    while True:
        yield b"tick"
        time.sleep(0.2)

def main(request):
    return flask.Response(endless())
"""
    call = serve(source, echo={"timeout_s": 4})
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        call("echo")


def test_the_bundle_is_what_runs_not_the_development_install(serve, tmp_path, write_bundle):
    """A bundle without a module fails although the project is importable here."""
    lacking = write_bundle(tmp_path / "lacking.zip", "import geminivideo.events\ndef main(r): pass")
    carrying = write_bundle(
        tmp_path / "carrying.zip",
        "import geminivideo\ndef main(r): return geminivideo.__file__",
        **{"geminivideo/__init__.py": ""},
    )
    call = serve(lacking={"bundle": lacking}, carrying={"bundle": carrying})
    assert call("lacking").status == 503
    assert "No module named 'geminivideo'" in call.host.log_of("lacking").read_text()
    assert str(tmp_path) in call("carrying").text


DEPLOYER = """
import sys
begun_with = sorted(name for name in sys.modules if "cloud_functions_service" in name)

def main(request):
    from google.cloud import functions_v1
    return {"begun_with": begun_with, "client": functions_v1.CloudFunctionsServiceClient.__name__}
"""


def test_the_client_that_deploys_functions_is_loaded_only_for_who_asks(serve):
    """It is installed in the framework's place; a function starts without it, and can have it."""
    call = serve(DEPLOYER, deployer={})
    assert call("deployer").json == {"begun_with": [], "client": "CloudFunctionsServiceClient"}


def test_a_handler_that_raises_is_a_500_of_its_own_and_the_process_stays(serve):
    """An exception is the function's answer, not the host's."""
    call = serve(
        "import os\ndef main(r):\n  return {'pid': os.getpid()} if r.args else 1/0", echo={}
    )
    assert call("echo").status == 500
    assert "ZeroDivisionError" in call.host.log_of("echo").read_text()
    assert len(call.host.processes()) == 1


def test_what_a_function_prints_is_in_its_own_log(serve):
    """Each function has one log file, with the host's own lines in it."""
    call = serve(echo={}, other={})
    call("echo")
    log = call.host.log_of("echo").read_text()
    assert "said by the function" in log
    assert "started from echo.zip" in log
    assert not call.host.log_of("other").exists()
