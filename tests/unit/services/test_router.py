"""The router: which handler answers, what a body may hold, which errors are named."""

from dataclasses import dataclass, field, replace

import pytest
from geminivideo.runtime.http import Api, ApiError, Call, Reply, Text, identifier, is_id, parse
from hypothesis import given
from hypothesis import strategies as st


@dataclass(frozen=True, kw_only=True)
class Wheel:
    size: float


@dataclass(frozen=True, kw_only=True)
class Car:
    name: str
    wheels: list[Wheel] = field(default_factory=list)
    doors: int = 4


def attempt(act):
    """What ``act`` gives, or the error that it answers with."""
    try:
        return act()
    except ApiError as error:
        return error


@pytest.fixture
def router():
    made = Api("cars")
    made.post("/cars", body=Car, answer=Car, status=201)(lambda call: replace(call.body))
    made.get("/cars/{id}", answer=dict, query=("limit",))(
        lambda call: {"id": call.path["id"], "limit": call.number("limit", 5, 1, 9)}
    )
    made.get("/cars/{id}/sold", answer=dict)(lambda call: Reply({"sold": True}, 202))
    made.get("/plain", answer=Text)(lambda call: Text(b'"plain"', "text/plain"))
    return made


def test_the_matching_handler_answers(router, ask):
    """Path and method choose the handler; a trailing slash changes nothing."""
    assert ask(router, "GET", "/cars/mini")[:2] == (200, {"id": "mini", "limit": 5})
    assert ask(router, "GET", "/cars/mini/sold")[:2] == (202, {"sold": True})
    assert ask(router, "GET", "/cars/mini/sold/")[0] == 202
    assert ask(router, "HEAD", "/cars/mini")[0] == 200


def test_text_answers_keep_their_type(router, ask):
    """An answer that is text is sent as it is."""
    status, _, headers = ask(router, "GET", "/plain")
    assert (status, headers["Content-Type"]) == (200, "text/plain")


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/bikes", 404, "/bikes"),
        ("GET", "/", 404, "cars has no route /"),
        ("GET", "//cars/mini", 404, "no route"),
        ("GET", "/cars/a/b/c", 404, "no route"),
        ("GET", "/cars", 405, "POST"),
        ("DELETE", "/cars/mini", 405, "GET"),
        ("POST", "/metrics", 405, "GET"),
        ("BREW", "/cars/mini", 405, "GET"),
    ],
)
def test_no_such_route(router, ask, method, path, status, said):
    """An unknown path is a 404 naming it; another method is a 405 naming those there are."""
    answered, body, _ = ask(router, method, path)
    assert answered == status
    assert said in body["error"]


def test_unknown_members_are_ignored(router, ask):
    """Members that the type does not have change nothing; defaults fill what is missing."""
    sent = {"name": "mini", "colour": "red", "wheels": [{"size": 1, "rim": True}]}
    status, body, _ = ask(router, "POST", "/cars", sent)
    assert status == 201
    assert body == {"name": "mini", "wheels": [{"size": 1.0}], "doors": 4}


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ({}, "name"),
        ({"name": 5}, "$.name"),
        ({"name": None}, "$.name"),
        ({"name": "m", "doors": "many"}, "$.doors"),
        ({"name": "m", "doors": 4.5}, "$.doors"),
        ({"name": "m", "wheels": {}}, "$.wheels"),
        ({"name": "m", "wheels": [{"size": 1}, {"size": "x"}]}, "$.wheels[1].size"),
        ({"name": "m", "wheels": [{}]}, "size"),
    ],
)
def test_a_bad_member_is_named(router, ask, body, member):
    """A member that is missing or of another type is a 422 that names it."""
    status, answer, _ = ask(router, "POST", "/cars", body)
    assert status == 422
    assert member in answer["error"]


@pytest.mark.parametrize("raw", [b"{", b"[]", b"null", b"1", b"\xff", b"{'a': 1}", b"[" * 100000])
def test_a_body_that_is_no_object(router, ask, raw):
    """What is no JSON object is a 422 about the body."""
    status, answer, _ = ask(router, "POST", "/cars", raw=raw)
    assert status == 422
    assert "the body" in answer["error"]


def test_an_empty_body_is_an_empty_object(router, ask):
    """No body at all is read as no members: the one that is required is named."""
    status, answer, _ = ask(router, "POST", "/cars", raw=b"")
    assert (status, "name" in answer["error"]) == (422, True)


@given(raw=st.binary(max_size=60))
def test_any_bytes_are_a_record_or_a_422(raw):
    """Parsing gives a record or an ``ApiError`` of 422, whatever the bytes are."""
    found = attempt(lambda: parse(raw, Car))
    assert isinstance(found, Car) or found.status == 422


@given(raw=st.text(max_size=25))
def test_numbers_of_a_query(raw):
    """A whole number in range is taken, anything else is a 422 naming the member."""
    call = Call(ports=None, body=None, path={}, query={"limit": raw})
    found = attempt(lambda: call.number("limit", 5, -3, 9))
    if isinstance(found, ApiError):
        assert found.status == 422
        assert "limit" in found.body["error"]
    else:
        assert -3 <= found <= 9
        assert int(raw) == found


@pytest.mark.parametrize(("raw", "expected"), [("1", True), ("TRUE", True), ("no", False)])
def test_flags_of_a_query(raw, expected):
    """1, true and yes are yes; all else, and nothing, is no."""
    assert Call(ports=None, body=None, path={}, query={"ranked": raw}).flag("ranked") is expected
    assert Call(ports=None, body=None, path={}, query={}).flag("ranked") is False


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "a/b", "/", "__id__", "____", "\x00", "a\nb", "\x7f", "a" * 513, "\ud800"],
)
def test_what_can_be_no_id(text):
    """A path, a reserved or empty name, control characters and endless names are no ids."""
    assert not is_id(text)
    with pytest.raises(ApiError, match="asset_id is not an id") as raised:
        identifier(text, "asset_id")
    assert raised.value.status == 422


@pytest.mark.parametrize(
    "text", ["cf-1", "a.b", "...", "_x_", "ü", "a b", "render:cf#1", "a" * 512]
)
def test_what_can_be_an_id(text):
    """Anything else can be one."""
    assert is_id(text)
    assert identifier(text, "asset_id") == text


@given(text=st.text(max_size=40))
def test_an_id_never_leaves_its_collection(text):
    """An accepted id is one segment of a document's path."""
    if is_id(text):
        assert f"flows/{text}".split("/") == ["flows", text]
        assert text not in (".", "..")
