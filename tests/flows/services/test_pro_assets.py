"""The asset library over the wire: contents once, licences, versions, what renders keep."""

import shutil

import pytest
from geminivideo.records import LibraryAsset

ROUTE = "/api/pro/assets"

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def song(world, tone):
    shutil.copy(tone, world.media_root / "song.wav")
    return str(world.media_root / "song.wav")


def do(world, operation, **members):
    return world.post("video_agent", ROUTE, {"operation": operation} | members)


def add(world, path, **members):
    given = {"kind": "music", "name": "Sunny walk", "licence": "owned", "tags": ["Calm"]}
    answer = do(world, "add", path=path, **(given | members))
    assert answer.status == 200, answer.json
    return answer.json


def objects(world):
    return {ref.name for ref in world.files.list(world.buckets["media"], "assets/")}


def test_added_and_found(world, song):
    """What was added is found by words, tags, kind and licence, with what was measured in it."""
    made = add(world, song)["assets"][0]
    assert (made["publishable"], made["degraded"], made["tags"]) == (True, [], ["calm"])
    assert made["versions"][0]["facts"]["duration_s"] == pytest.approx(2, abs=0.1)
    for wanted in ({"query": "sun"}, {"tags": ["CALM"]}, {"kind": "music"}, {"licence": "owned"}):
        found = do(world, "search", **wanted).json
        assert [one["asset_id"] for one in found["assets"]] == [made["asset_id"]]
    assert do(world, "search", query="moon").json["count"] == 0
    assert do(world, "search", account_id="other").json["count"] == 0


def test_the_same_content_is_one_object(world, song, tone):
    """Added twice, under two names and by two accounts: one object, one asset an account."""
    first = add(world, song)
    shutil.copy(tone, world.media_root / "copy.bin")
    second = add(world, str(world.media_root / "copy.bin"), name="Copy", tags=["happy"])
    assert second["duplicate"]
    assert second["assets"][0]["asset_id"] == first["assets"][0]["asset_id"]
    assert second["assets"][0]["tags"] == ["calm", "happy"]
    other = add(world, song, account_id="other")
    assert other["assets"][0]["url"] == first["assets"][0]["url"]
    assert len(objects(world)) == 1


def test_an_unknown_licence_is_allowed_and_follows_its_asset(world, song, clip):
    """It is refused for publishing, and what is made with it says so, also from the record."""
    made = add(world, song, licence="unknown")["assets"][0]
    assert (made["publishable"], made["degraded"]) == (
        False,
        [f"licence-unknown:{made['asset_id']}"],
    )
    video = world.files.upload(clip, world.buckets["uploads"], "v.mp4", "video/mp4")
    body = {"video_path": video.uri, "music_path": made["url"]}
    for _ in range(2):
        mixed = world.post("video_agent", "/api/pro/audio-mix", body)
        assert mixed.status == 200, mixed.json
        assert f"licence-unknown:{made['asset_id']}" in mixed.json["degraded"]
        assert mixed.json["publishable"] is False
        assert made["asset_id"] in mixed.json["refusals"][0]
    add(world, song, licence="cc0-1.0")
    known = world.post("video_agent", "/api/pro/audio-mix", body).json
    assert not any(one.startswith("licence") for one in known["degraded"])
    assert (known["publishable"], known["refusals"], known["credits"]) == (True, [], [])
    # What another account does not know of the same content is that account's affair.
    add(world, song, licence="unknown", name="Secret", account_id="other")
    again = world.post("video_agent", "/api/pro/audio-mix", body).json
    assert (again["publishable"], again["refusals"], again["cached"]) == (True, [], True)


def test_versions_and_what_a_render_keeps(world, song, clip):
    """Deleted, an asset keeps the versions that renders read, and no others; then it is gone."""
    made = add(world, song)["assets"][0]
    video = world.files.upload(clip, world.buckets["uploads"], "v.mp4", "video/mp4")
    shutil.copy(clip, world.media_root / "other.mp4")
    grown = do(
        world, "add_version", asset_id=made["asset_id"], path=str(world.media_root / "other.mp4")
    ).json["assets"][0]
    assert [one["number"] for one in grown["versions"]] == [1, 2]
    assert grown["url"] != made["url"]
    back = do(world, "restore", asset_id=made["asset_id"], version=1).json["assets"][0]
    assert (back["url"], len(back["versions"])) == (made["url"], 3)
    body = {"video_path": video.uri, "music_path": made["url"]}
    assert world.post("video_agent", "/api/pro/audio-mix", body).status == 200
    left = do(world, "delete", asset_id=made["asset_id"]).json["assets"][0]
    assert {one["url"] for one in left["versions"]} == {made["url"]}
    assert left["deleted"]
    assert do(world, "search").json["count"] == 0
    assert len(objects(world)) == 2
    unused = add(world, str(world.media_root / "other.mp4"), kind="video")["assets"][0]
    assert do(world, "delete", asset_id=unused["asset_id"]).json["assets"] == []
    assert world.documents.get(f"library_assets/{unused['asset_id']}", LibraryAsset) is None
    assert do(world, "get", asset_id=unused["asset_id"]).status == 404


def test_tags_are_replaced(world, song):
    """Tagging sets the tags."""
    made = add(world, song)["assets"][0]
    tagged = do(world, "tag", asset_id=made["asset_id"], tags=["b", "A"]).json["assets"][0]
    assert tagged["tags"] == ["a", "b"]


def test_the_licences(world):
    """The list says which may be published and what they demand."""
    licences = do(world, "licences").json["licences"]
    assert licences["unknown"]["refusal"]
    assert licences["cc-by-4.0"]["credits"]
    assert not licences["cc0-1.0"]["refusal"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"operation": "steal"}, 422, "search"),
        ({"operation": "add", "kind": "music", "name": "x"}, 422, "licence is required"),
        ({"operation": "add", "kind": "smell", "licence": "owned"}, 422, "kind"),
        ({"operation": "add", "kind": "music", "licence": "cc-by-4.0", "name": "x"}, 422, "attrib"),
        ({"operation": "add", "kind": "music", "licence": "owned", "name": "x"}, 422, "path"),
        (
            {"operation": "add", "kind": "lut", "licence": "owned", "path": "{song}"},
            422,
            "LUT",
        ),
        ({"operation": "add", "kind": "music", "licence": "owned", "path": "/etc/x"}, 400, "root"),
        (
            {"operation": "add", "kind": "music", "licence": "owned", "path": "http://x/a"},
            400,
            "path",
        ),
        ({"operation": "get", "asset_id": "as-none"}, 404, "as-none"),
        ({"operation": "get", "asset_id": "a/b"}, 422, "asset_id"),
        ({"operation": "restore", "asset_id": "as-none", "version": 2}, 404, "as-none"),
        ({"operation": "delete"}, 422, "asset_id"),
        ({"operation": "search", "kind": "smell"}, 422, "kind"),
        ({"operation": "search", "limit": 0}, 422, "limit"),
        ({"operation": "search", "account_id": "../x"}, 422, "account_id"),
    ],
)
def test_what_is_refused(world, song, body, status, said):
    """Each refusal has its status and names the member."""
    answer = world.post(
        "video_agent", ROUTE, body | {"path": body.get("path", "").format(song=song)}
    )
    assert answer.status == status, answer.json
    assert said in answer.json["error"]
    assert objects(world) == set()
