"""Whatever is sent to whatever route: an answer that names what is wrong, never a 500."""

import dataclasses
import json
import os
import string

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SERVICES = ("gateway", "drive_intel", "video_agent", "meta_publisher", "ml_service", "titan_core")
KNOWN = ("cf-duck", "cf-duck-000", "cf-duck-bp00", "default", "reels", "a/b", "..", "\x00", "ü" * 9)
ALLOWED = frozenset({200, 202, 400, 404, 405, 409, 422, 503})

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(KNOWN)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
EXAMPLES = int(os.environ.get("GV_EXAMPLES", "8"))  # of each route; `make stress` sends more
often = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def posts(api):
    return [route for route in api.routes if route.method == "POST"]


def bodies(kind):
    """Objects of ``kind``; objects with its members, right or wrong, now and then without one."""
    members = {f.name: values for f in dataclasses.fields(kind)}
    typed = {f.name: values if "Any" in str(f.type) else ... for f in dataclasses.fields(kind)}
    right = st.builds(kind, **typed).map(msgspec.to_builtins)
    return right | st.fixed_dictionaries({}, optional=members) | values


@pytest.fixture
def reached(world, analysed, monkeypatch):
    """A world with an analysed video, and no way to Google Drive."""
    monkeypatch.setenv("GV_DRIVE_URL", "http://127.0.0.1:9")
    return world


@pytest.mark.parametrize("service", SERVICES)
def test_any_json_on_any_post_route(reached, service):
    """Any JSON on any POST route is answered with a documented status and a named error."""
    routes = posts(reached.api(service))
    requests = st.one_of([st.tuples(st.just(route.path), bodies(route.body)) for route in routes])

    @settings(often, max_examples=EXAMPLES * len(routes))
    @given(request=requests)
    def sent(request):
        path, body = request
        answer = reached.post(service, path, raw=json.dumps(body).encode())
        assert answer.status in ALLOWED, request
        assert answer.status < 300 or answer.json["error"]

    sent()


@pytest.mark.parametrize("service", SERVICES)
def test_any_bytes_on_any_post_route(reached, service):
    """Bytes that are no JSON are a 422 that says so."""
    broken = [b"{", b"\xff\xfe", b"nul", b'{"a": NaN}', b'"\\ud800"', b"[" * 5000, b"[1,]", b"5"]
    for route in posts(reached.api(service)):
        for raw in broken:
            answer = reached.post(service, route.path, raw=raw)
            assert answer.status == 422, (route.path, raw)
            assert "body" in answer.json["error"]


@pytest.mark.parametrize("service", SERVICES)
@often
@given(
    item=st.text(string.printable + "äß\u200b", min_size=1, max_size=30),
    query=st.text(max_size=20),
)
def test_any_id_and_query_on_any_get_route(reached, service, item, query):
    """Any id and any query on any GET route is answered, never with a 500."""
    from urllib.parse import quote

    for route in reached.api(service).routes:
        if route.method != "GET" or route.path in ("/metrics", "/openapi.json", "/health/ready"):
            continue
        path = route.path.replace("{id}", quote(item, safe=""))
        asked = "&".join(f"{name}={quote(query, safe='')}" for name in route.query)
        answer = reached.get(service, f"{path}?{asked}")
        assert answer.status in ALLOWED, (path, asked)


@often
@given(path=st.text(string.printable, max_size=30))
def test_any_path(reached, path):
    """Any path that is no route is a 404 that names it."""
    answer = reached.call("gateway", "GET", "/nowhere/" + path.replace("?", ""))
    assert answer.status == 404
    assert "no route" in answer.json["error"]
