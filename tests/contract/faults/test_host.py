"""Faults at the host's edge, the deaths of its processes, and who calls whom."""

from __future__ import annotations

import http.client
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests

from emulators import host as our_host
from emulators.faults import Rule
from emulators.faults.callers import Callers
from emulators.identity import Issuer
from emulators.topology.graph import FunctionSpec

from ..ended import is_gone

INVOKER = "invoker@test.iam.gserviceaccount.com"
SOURCE = """
import os, time, urllib.error, urllib.request
from pathlib import Path

def main(request):
    if "mark" in request.args:
        with Path(request.args["mark"]).open("a") as marks:
            marks.write(f"{os.getpid()}\\n")
    time.sleep(float(request.args.get("sleep", 0)))
    if "ask" in request.args:
        try:
            return str(urllib.request.urlopen(request.args["ask"], timeout=10).status)
        except urllib.error.HTTPError as error:
            return str(error.code)
    return str(os.getpid())
"""


class Site:
    """Two functions under the script, called over real sockets as the permitted invoker."""

    def __init__(self, tmp_path: Path, faults: Any) -> None:
        bundle = tmp_path / "in" / "echo.zip"
        bundle.parent.mkdir()
        with zipfile.ZipFile(bundle, "w") as packed:
            packed.writestr("main.py", SOURCE)
        self.specs = {name: self._spec(name, bundle) for name in ("one", "two")}
        self.issuer = Issuer(state_dir=tmp_path, clock=faults.clock)
        self.processes = our_host.Processes()
        children = self.processes.children
        faults.caller_at = Callers(lambda: ((c.name, c.pid) for c in children())).at
        self.host = our_host.Server(
            state_dir=tmp_path,
            clock=faults.clock,
            functions=list(self.specs.values()),
            ports=dict.fromkeys(self.specs, 0),
            verify=self.issuer.verify,
            secrets=lambda ref: "",
            env={},
            processes=self.processes,
            grace_s=0.3,
            faults=faults,
        )

    def _spec(self, name: str, bundle: Path) -> FunctionSpec:
        return FunctionSpec(
            name=name,
            step=name,
            url=f"http://{name}.test",
            bundle_path=bundle,
            entry_point="main",
            timeout_s=20,
            memory_mib=512,
            cpu=1.0,
            concurrency=2,
            max_instances=2,
            env={},
            secrets={},
            service_account=f"{name}@test.iam.gserviceaccount.com",
            invokers=(f"serviceAccount:{INVOKER}",),
        )

    def call(self, name: str, path: str = "/", agent: str = "test") -> tuple[int, str]:
        token = self.issuer.mint(self.specs[name].url, INVOKER)
        connection = http.client.HTTPConnection("127.0.0.1", self.host.ports[name], timeout=30)
        try:
            headers = {"Authorization": f"Bearer {token}", "User-Agent": agent}
            connection.request("POST", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture
def site(tmp_path, faults):
    site = Site(tmp_path, faults)
    site.host.start()
    yield site
    site.host.stop()


def test_a_code_at_the_edge_starts_no_process(site, faults):
    """Cloud Run's front end answers in the function's place: nothing of it has run."""
    faults.add(Rule(service="host/one", code=429, message="no instance", retry_after_s=3))
    status, text = site.call("one")
    assert (status, text) == (429, "Error: Too Many Requests\nno instance\n")
    assert site.host.processes() == []


def test_a_process_killed_before_did_nothing(site, faults, tmp_path):
    """The caller gets 503, no line of the function ran; the next call has a new process."""
    first = int(site.call("one")[1])
    faults.add(Rule(service="host/one", kill="before"))
    marks = tmp_path / "marks"
    status, text = site.call("one", f"/?mark={marks}")
    assert (status, "malformed or its connection failed" in text) == (503, True)
    assert not marks.exists()
    status, text = site.call("one", f"/?mark={marks}")
    assert status == 200
    assert int(text) != first


def test_a_process_killed_at_work_leaves_half_of_it(site, faults, tmp_path):
    """With a delay the function works for so long and dies in the middle."""
    site.call("one")
    marks = tmp_path / "marks"
    faults.add(Rule(service="host/one", kill="before", delay_s=0.3))
    status, _ = site.call("one", f"/?mark={marks}&sleep=10")
    assert status == 503
    assert is_gone(int(marks.read_text()))


def test_a_function_that_is_quicker_than_its_death_answers_nothing(site, faults, tmp_path):
    """``kill: before`` never lets an answer out, however late the death was set for."""
    site.call("one")
    marks = tmp_path / "marks"
    faults.add(Rule(service="host/one", kill="before", delay_s=600))
    status, _ = site.call("one", f"/?mark={marks}")
    assert status == 503
    assert marks.exists()


def test_a_process_killed_after_has_answered(site, faults, wait_until):
    """The caller has its answer, and the process that gave it is gone."""
    faults.add(Rule(service="host/one", kill="after"))
    status, pid = site.call("one")
    assert status == 200
    wait_until(lambda: is_gone(int(pid)))


def test_work_can_be_done_and_its_answer_lost(site, faults, tmp_path):
    """``drop: after``: the function ran to its end, the caller saw a cut connection."""
    faults.add(Rule(service="host", endpoint="POST *", drop="after"))
    marks = tmp_path / "marks"
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        site.call("one", f"/?mark={marks}")
    assert marks.exists()


def test_a_rule_strikes_one_function_that_calls_and_not_the_other(site, faults, serve, tmp_path):
    """Two functions ask the same endpoint: only the named caller gets the error, nor do we."""
    from emulators import storage

    server = serve(storage.Server)
    ask = f"{server.url}/storage/v1/b?project=p"
    faults.add(Rule(service="storage", caller="one", code=418 + 11, times="forever"))
    assert site.call("one", f"/?ask={ask}")[1] == "429"
    assert site.call("two", f"/?ask={ask}")[1] == "200"
    assert requests.get(ask, timeout=10).status_code == 200
    faults.clear()
    faults.add(Rule(service="storage", caller="external", code=503))
    assert site.call("two", f"/?ask={ask}")[1] == "200"
    assert requests.get(ask, timeout=10).status_code == 503


def test_deliveries_are_known_by_service_and_account(site, faults):
    """At the edge a caller goes by the service that delivers, and by its token's account."""
    faults.add(Rule(service="host/one", caller="pubsub", code=500, times="forever"))
    faults.add(Rule(service="host/two", caller="invoker@*", code=503, times="forever"))
    assert site.call("one", agent="CloudPubSub-Google")[0] == 500
    assert site.call("one", agent="Google-Cloud-Tasks")[0] == 200
    assert site.call("two")[0] == 503


def test_a_caller_is_looked_for_once_a_connection(monkeypatch):
    """Looking through processes costs milliseconds: an answer is kept for a while."""
    looked = []

    def children():
        looked.append(time.monotonic())
        return []

    callers = Callers(children)
    assert [callers.at(40_000) for _ in range(5)] == ["external"] * 5
    assert len(looked) == 1


def test_the_script_is_told_over_http(serve, faults):
    """GET, POST and DELETE of the script; what is refused names rule and member."""
    from aiohttp import web

    from emulators.faults.control import routes
    from emulators.serving import HttpService

    app = web.Application()
    app.add_routes(routes(faults))
    service = HttpService("control", lambda: app)
    service.start()
    try:
        url = f"{service.url}/faults"
        rules = [{"service": "run", "code": 503}, {"service": "run", "code": 500, "id": "b"}]
        added = requests.post(url, json={"faults": rules}, timeout=10).json()["faults"]
        assert [rule["id"] for rule in added] == ["run-1", "b"]
        shown = requests.get(url, timeout=10).json()["faults"]
        counts = {"seen": 0, "struck": 0, "spent": False}
        assert shown[0] == {"id": "run-1", "service": "run", "code": 503, "times": 1, **counts}
        bad = requests.post(url, json={"faults": [rules[0], {"service": "run"}]}, timeout=10)
        assert bad.status_code == 422
        assert bad.json()["error"].startswith("faults[1]: nothing would happen")
        assert requests.post(url, data=b"{", timeout=10).status_code == 422
        assert requests.delete(f"{url}/x", timeout=10).status_code == 404
        assert requests.delete(f"{url}/b", timeout=10).json() == {"cleared": 1}
        assert requests.delete(url, timeout=10).json() == {"cleared": 1}
        assert json.loads(requests.get(url, timeout=10).text) == {"faults": []}
    finally:
        service.stop()
