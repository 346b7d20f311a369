"""The control API: what it answers, and how it refuses (docs/emulators/control.md)."""

from __future__ import annotations

import http.client
import json
import threading

import pytest
from aiohttp import web

TRACE, OTHER = "a" * 32, "b" * 32


def structured(trace: str, message: str, **members) -> str:
    """A line as the product writes it."""
    trace_name = f"projects/p/traces/{trace}"
    line = {"message": message, "logging.googleapis.com/trace": trace_name, **members}
    return json.dumps(line) + "\n"


def printed(trace: str, message: str) -> str:
    """A line as the framework labels what a function prints."""
    labels = {"logging.googleapis.com/labels": {"execution_id": trace}}
    return json.dumps({"message": message, **labels}) + "\n"


@pytest.fixture
def log(small_cloud):
    """The log of detect_scenes."""
    path = small_cloud.state_dir / "logs" / "detect-scenes.log"
    path.parent.mkdir()
    path.write_text(
        "starting\n"
        + printed(TRACE, "one")
        + structured(TRACE, "two", flow_id="cf-1")
        + structured(OTHER, "three", flow_id="cf-2")
        + printed(OTHER, "four")
    )
    return path


def test_the_clock_is_shown(control, small_cloud):
    """GET /clock: product time as a number and as RFC 3339, and the speed."""
    status, body = control("GET", "/clock")
    assert status == 200
    assert (body["now"], body["speed"]) == (small_cloud.clock.now(), 0)
    assert body["time"].endswith("Z")


def test_the_clock_is_advanced(control, small_cloud):
    """POST /clock/advance: by exactly that, answered with the new time."""
    then = small_cloud.clock.now()
    status, body = control("POST", "/clock/advance", {"seconds": 10_800})
    assert (status, body["now"]) == (200, then + 10_800)


def test_the_clock_is_advanced_in_steps(control, small_cloud):
    """step: no move is longer, and together they are exact."""
    then = small_cloud.clock.now()
    control("POST", "/clock/advance", {"seconds": 25, "step": 10})
    assert small_cloud.moves == [10, 10, 5]
    assert small_cloud.clock.now() == pytest.approx(then + 25)


def test_the_speed_is_changed(control, small_cloud):
    """POST /clock: the clock runs on from where it was."""
    then = small_cloud.clock.now()
    status, body = control("POST", "/clock", {"speed": 3600})
    assert (status, body["speed"]) == (200, 3600)
    assert small_cloud.clock.now() >= then


def test_an_empty_change_of_the_clock_shows_it(control):
    """POST /clock without members changes nothing."""
    assert control("POST", "/clock")[1] == control("GET", "/clock")[1]


@pytest.mark.parametrize(
    ("path", "body", "member"),
    [
        ("/clock", {"speed": "fast"}, "speed"),
        ("/clock", {"speed": True}, "speed"),
        ("/clock", {"speed": -1}, "speed"),
        ("/clock", {"speeed": 1}, "speeed"),
        ("/clock/advance", {}, "seconds"),
        ("/clock/advance", {"seconds": "3h"}, "seconds"),
        ("/clock/advance", {"seconds": -1}, "seconds"),
        ("/clock/advance", {"seconds": None}, "seconds"),
        ("/clock/advance", {"seconds": 1, "step": "x"}, "step"),
        ("/clock/advance", {"seconds": 1, "step": 0}, "seconds"),
        ("/clock/advance", {"seconds": 1e9, "step": 1}, "seconds"),
        ("/snapshots", {}, "name"),
        ("/snapshots", {"name": 3}, "name"),
        ("/snapshots", {"name": "x", "replace": "yes"}, "replace"),
        ("/snapshots", {"name": "x", "dir": "/etc"}, "dir"),
    ],
)
def test_a_member_that_is_not_understood_is_named(control, small_cloud, path, body, member):
    """400 with the member; nothing was done."""
    then = small_cloud.clock.now()
    status, answer = control("POST", path, body)
    assert (status, answer["member"]) == (400, member)
    assert member in answer["error"]
    assert (small_cloud.clock.now(), small_cloud.clock.speed) == (then, 0)


@pytest.mark.parametrize("raw", [b"{", b"[1]", b"3", b'"x"', b"\xff\xfe", b'{"seconds": 1e999}'])
def test_a_body_that_is_no_json_object_is_refused(control, raw):
    """400 that says so."""
    status, answer = control("POST", "/clock/advance", raw=raw)
    assert status == 400
    assert "JSON object" in answer["error"] or answer["member"] == "seconds"


def test_an_unknown_path_says_where_the_paths_are(control):
    """404; GET / lists the routes."""
    status, answer = control("GET", "/klock")
    assert status == 404
    assert "GET / lists" in answer["error"]
    assert "POST /clock/advance" in control("GET", "/")[1]["routes"]


def test_a_wrong_method_says_which_are_right(control):
    """405 with the methods."""
    status, answer = control("DELETE", "/clock")
    assert status == 405
    assert "POST" in answer["error"]


def test_status_shows_services_and_the_clock(control):
    """GET /status: what the cloud says of itself, and its time."""
    status, body = control("GET", "/status")
    assert (status, body["services"]) == (200, {"pubsub": 1})
    assert body["clock"]["speed"] == 0


def test_logs_are_shown_by_either_name(control, log):
    """A step's name and its function's mean the same."""
    shown = control.text("GET", "/logs/detect_scenes")
    assert shown == (200, log.read_text())
    assert control.text("GET", "/logs/detect-scenes") == shown


def test_only_the_last_lines_are_shown(control, log):
    """lines=N: so many, the last ones."""
    shown = control.text("GET", "/logs/detect-scenes?lines=2")[1]
    assert shown.splitlines() == log.read_text().splitlines()[-2:]
    assert control.text("GET", "/logs/detect-scenes?lines=0")[1] == ""


def test_the_lines_of_one_trace_are_shown(control, log):
    """Structured lines and labelled prints of the same request."""
    shown = control.text("GET", f"/logs/detect-scenes?trace={TRACE}")[1]
    assert [json.loads(line)["message"] for line in shown.splitlines()] == ["one", "two"]


def test_the_lines_of_one_flow_are_shown_with_those_of_its_traces(control, log):
    """What a function printed before it named its flow belongs to it too."""
    shown = control.text("GET", "/logs/detect-scenes?flow=cf-1")[1]
    assert [json.loads(line)["message"] for line in shown.splitlines()] == ["one", "two"]


def test_following_shows_what_is_added(control, log):
    """follow=true: the answer goes on with each line that is written, whole lines only."""
    connection = http.client.HTTPConnection("127.0.0.1", control.port, timeout=10)
    connection.request("GET", f"/logs/detect-scenes?lines=1&follow=true&trace={OTHER}")
    answer = connection.getresponse()
    assert json.loads(answer.readline())["message"] == "four"

    def add() -> None:
        with log.open("a") as file:
            file.write(printed(TRACE, "not wanted"))
            file.write(printed(OTHER, "five")[:20])
            file.flush()
            file.write(printed(OTHER, "five")[20:])

    threading.Timer(0.1, add).start()
    assert json.loads(answer.readline())["message"] == "five"
    connection.close()


def test_a_step_without_logs_yet_has_none(control):
    """A function that was not called: an empty answer, not an error."""
    assert control.text("GET", "/logs/detect_scenes") == (200, "")


def test_every_attempt_of_a_job_is_in_its_log(control, small_cloud):
    """One file an attempt, in the order in which they were written."""
    folder = small_cloud.state_dir / "logs"
    folder.mkdir()
    for number in range(2):
        (folder / f"render-render-abc12-0-{number}.log").write_text(f"attempt {number}\n")
    assert control.text("GET", "/logs/render")[1] == "attempt 0\nattempt 1\n"
    assert control("GET", "/logs")[1]["steps"] == ["detect-scenes", "render"]


def test_an_unknown_step_is_answered_with_those_there_are(control):
    """404 with the names."""
    status, answer = control("GET", "/logs/detect")
    assert status == 404
    assert "detect-scenes" in answer["error"]


@pytest.mark.parametrize("path", ["..%2F..%2Fetc%2Fpasswd", "..%2fclock", "%2E%2E"])
def test_no_other_file_can_be_read(control, path):
    """A name is compared with those there are, never joined to a path."""
    assert control("GET", f"/logs/{path}")[0] == 404


@pytest.mark.parametrize(
    ("query", "member"),
    [
        ("lines=x", "lines"),
        ("lines=-1", "lines"),
        ("lines=9999999", "lines"),
        ("follow=perhaps", "follow"),
        ("line=1", "line"),
    ],
)
def test_a_query_that_is_not_understood_is_named(control, log, query, member):
    """400 with the member, as for bodies."""
    status, answer = control("GET", f"/logs/detect-scenes?{query}")
    assert (status, answer["member"]) == (400, member)


def test_other_parts_hang_their_routes_in(serve):
    """``routes``: the faults are reached beside the clock, and listed."""

    async def faults(_: web.Request) -> web.Response:
        return web.json_response({"faults": []})

    control = serve(web.get("/faults", faults))
    assert control("GET", "/faults") == (200, {"faults": []})
    assert "GET /faults" in control("GET", "/")[1]["routes"]


def test_snapshots_are_saved_listed_and_deleted(control, small_cloud):
    """POST, GET and DELETE of /snapshots, while the cloud runs."""
    status, saved = control("POST", "/snapshots", {"name": "one"})
    assert (status, saved["at"]) == (200, small_cloud.clock.now())
    assert saved["running"]
    assert control("GET", "/snapshots")[1]["snapshots"] == [saved]
    assert control("DELETE", "/snapshots/one") == (200, {"deleted": "one"})
    assert control("GET", "/snapshots")[1]["snapshots"] == []


def test_a_snapshot_is_not_replaced_by_accident(control):
    """409 with what to do; replace=true does it."""
    control("POST", "/snapshots", {"name": "one"})
    status, answer = control("POST", "/snapshots", {"name": "one"})
    assert status == 409
    assert "there already" in answer["error"]
    assert control("POST", "/snapshots", {"name": "one", "replace": True})[0] == 200


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "x" * 65, " "])
def test_a_snapshots_name_cannot_leave_its_folder(control, name):
    """Letters, digits and three marks."""
    assert control("POST", "/snapshots", {"name": name})[0] == 409


def test_deleting_what_is_not_there_is_404(control):
    """The name is in the message."""
    status, answer = control("DELETE", "/snapshots/nothing")
    assert (status, "nothing" in answer["error"]) == (404, True)
