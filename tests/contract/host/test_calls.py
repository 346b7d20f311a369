"""A function behind the host: its environment, its streams, its time-outs and slots."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor


def test_the_first_call_starts_the_process_and_the_second_finds_it(serve):
    """No process runs before the first call; the same one answers the next."""
    call = serve(echo={})
    assert call.host.processes() == []
    first, second = call("echo"), call("echo")
    assert (first.status, second.status) == (200, 200)
    assert first.json["pid"] == second.json["pid"]


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
        "FUNCTION_SIGNATURE_TYPE", "WORKERS", "THREADS", "SERVER_SOFTWARE",
    }  # fmt: skip


def test_a_sleeping_handler_is_answered_504_and_the_next_call_served_by_a_new_process(serve):
    """The time-out is the host's: the framework would not cut the handler off."""
    call = serve(echo={"timeout_s": 1})
    before = call("echo").json["pid"]
    late = call("echo", "/?sleep=15")
    assert late.status == 504
    assert "maximum request timeout of 1 s" in late.text
    assert call("echo").json["pid"] != before
