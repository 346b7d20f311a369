"""Ways into the uploads bucket: local folders, upload sessions, Google Drive."""

import os

import pytest
import requests
from geminivideo.events import ObjectRef, flow_id_of
from geminivideo.services import drive as drive_service

MP4 = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 40


def ref(blob):
    return ObjectRef(bucket=blob.bucket.name, name=blob.name, generation=int(blob.generation))


@pytest.fixture(params=[("gateway", "/api"), ("drive_intel", "")], ids=["gateway", "drive_intel"])
def face(request):
    """The two services that ingest, and the prefix of their routes."""
    return request.param


def test_folder_becomes_objects(world, face):
    """Every video of a folder is an object with its metadata; asset ids are the flows' ids."""
    service, prefix = face
    (world.media_root / "deep").mkdir()
    (world.media_root / "a.mp4").write_bytes(MP4)
    (world.media_root / "deep" / "b.MOV").write_bytes(MP4 + b"b")
    (world.media_root / "notes.txt").write_text("no video")
    body = {"folder_path": str(world.media_root), "account_id": "acme", "campaign_id": "ca-1"}
    answer = world.post(service, f"{prefix}/ingest/local/folder", body)
    blobs = world.blobs()
    assert answer.status == 200
    assert answer.json["status"] == "processing"
    assert answer.json["total_videos"] == 2
    assert sorted(answer.json["asset_ids"]) == sorted(flow_id_of(ref(blob)) for blob in blobs)
    assert answer.json["asset_id"] == answer.json["asset_ids"][0]
    assert {blob.name.rpartition("-")[2] for blob in blobs} == {"a.mp4", "b.MOV"}
    assert all(blob.name.startswith("acme/") for blob in blobs)
    assert all(blob.metadata == {"account": "acme", "campaign": "ca-1"} for blob in blobs)


def test_same_folder_twice_is_the_same_assets(world):
    """Ingesting a folder again gives the same generations, so the same assets."""
    (world.media_root / "a.mp4").write_bytes(MP4)
    body = {"folder_path": str(world.media_root)}
    first = world.post("gateway", "/api/ingest/local/folder", body).json
    again = world.post("gateway", "/api/ingest/local/folder", body).json
    assert again["asset_ids"] == first["asset_ids"]
    assert len(world.blobs()) == 1


@pytest.mark.parametrize(
    ("folder", "reason"), [("gone", "is missing"), ("", "holds no video")], ids=["gone", "empty"]
)
def test_no_video_is_a_failed_asset(world, folder, reason):
    """A missing or empty folder is answered with 200, an asset id, FAILED and the reason."""
    body = {"folder_path": str(world.media_root / folder)}
    answer = world.post("gateway", "/api/ingest/local/folder", body)
    assert answer.status == 200
    assert (answer.json["status"], answer.json["total_videos"]) == ("FAILED", 0)
    assert answer.json["asset_ids"] == [answer.json["asset_id"]]
    assert reason in answer.json["reason"]
    assert world.blobs() == []


@pytest.mark.parametrize("path", ["/etc", "{root}/..", "{root}/../media2", "\x00", "a" * 5000, "."])
def test_nothing_outside_the_roots(world, path):
    """A path that leads out of the media roots, or is none, is a 400 and reads nothing."""
    (world.media_root.parent / "media2").mkdir(exist_ok=True)
    body = {"folder_path": path.format(root=world.media_root)}
    answer = world.post("gateway", "/api/ingest/local/folder", body)
    assert answer.status == 400
    assert world.blobs() == []


def test_links_out_of_the_folder_are_not_followed(world, tmp_path):
    """A symbolic link inside the root to a video outside it uploads nothing."""
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(MP4)
    os.symlink(secret, world.media_root / "link.mp4")
    answer = world.post(
        "gateway", "/api/ingest/local/folder", {"folder_path": str(world.media_root)}
    )
    assert answer.json["status"] == "FAILED"
    direct = {"folder_path": str(world.media_root / "link.mp4")}
    assert world.post("gateway", "/api/ingest/local/folder", direct).status == 400
    assert world.blobs() == []


def test_no_roots_no_local_paths(world, monkeypatch):
    """Where no media root is configured (the cloud) local paths are refused."""
    monkeypatch.delenv("GV_MEDIA_ROOTS")
    answer = world.post("gateway", "/api/ingest/local/folder", {"folder_path": "/"})
    assert answer.status == 400
    assert "no media root" in answer.json["error"]


def test_upload_session_takes_the_bytes(world, make):
    """The session URL accepts the bytes, and the asset is found by the upload's id."""
    body = {"filename": "../my clip.mp4", "content_type": "video/mp4", "account_id": "acme"}
    answer = world.post("gateway", "/api/uploads", body | {"campaign_id": "ca-1"})
    assert answer.status == 200
    sent = requests.put(answer.json["upload_url"], data=MP4, timeout=10)
    assert sent.status_code == 200
    (blob,) = world.blobs()
    assert blob.name == answer.json["video_id"]
    assert blob.name.startswith("acme/")
    assert blob.name.endswith("-my clip.mp4")
    assert blob.download_as_bytes() == MP4
    assert blob.content_type == "video/mp4"
    assert blob.metadata == {"account": "acme", "campaign": "ca-1"}
    flow = make.flow(flow_id_of(ref(blob)), 1.0, video=ref(blob))
    make.put(world, f"flows/{flow.id}", flow)
    make.put(world, "flows/cf-other", make.flow("cf-other", 2.0))
    found = world.get("gateway", f"/api/assets?video_id={blob.name.replace(' ', '%20')}")
    assert [asset["asset_id"] for asset in found.json["assets"]] == [flow.id]


def test_uploads_of_one_name_stay_apart(world):
    """Two uploads of the same file name are two objects: the first one's flow still reads it."""
    ids = {
        world.post("gateway", "/api/uploads", {"filename": "a.mp4"}).json["video_id"]
        for _ in range(3)
    }
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("content_type", "video/mp4\r\nX-Evil: 1"),
        ("content_type", ""),
        ("account_id", "../other"),
        ("account_id", ""),
        ("campaign_id", "a/b"),
    ],
)
def test_upload_refuses_what_it_cannot_use(world, member, value):
    """A member that cannot stand in a header, name or id is a 422 that names it."""
    answer = world.post("gateway", "/api/uploads", {"filename": "a.mp4", member: value})
    assert answer.status == 422
    assert member in answer.json["error"]


def ask_drive(world, face, folder="team", **more):
    service, prefix = face
    return world.post(service, f"{prefix}/ingest/drive/folder", {"folder_id": folder, **more})


def test_drive_folder_becomes_objects(world, drive, face):
    """Every video of every page of a Drive folder is copied byte for byte; the rest is not."""
    contents = [bytes([n]) * (1000 + n) for n in range(5)]
    for number, data in enumerate(contents):
        drive.add("team", f"v{number}.mp4", data)
    drive.add("team", "table.csv", b"1,2", kind="text/csv")
    answer = ask_drive(world, face, account_id="acme", campaign_id="ca-1")
    blobs = world.blobs()
    assert answer.status == 200
    assert (answer.json["status"], answer.json["total_videos"]) == ("processing", 5)
    assert answer.json["errors"] == []
    assert sorted(blob.download_as_bytes() for blob in blobs) == contents
    assert set(answer.json["asset_ids"]) == {flow_id_of(ref(blob)) for blob in blobs}
    assert all(blob.metadata == {"account": "acme", "campaign": "ca-1"} for blob in blobs)
    assert len(drive.asked) == 3


def test_drive_streams_large_files(world, drive, face):
    """A video larger than an upload chunk arrives whole, through a resumable session."""
    data = os.urandom(1 << 20) * 9
    drive.add("team", "large.mp4", data)
    answer = ask_drive(world, face)
    assert answer.json["errors"] == []
    (blob,) = world.blobs()
    assert blob.download_as_bytes() == data


def test_drive_folder_twice_is_the_same_assets(world, drive, face):
    """What is in the bucket already is not fetched again; a changed file is a new asset."""
    file_id = drive.add("team", "a.mp4", b"one")
    first = ask_drive(world, face).json["asset_ids"]
    drive.cut.add(file_id)
    assert ask_drive(world, face).json["asset_ids"] == first
    drive.add("team", "a.mp4", b"two")
    assert len(set(ask_drive(world, face).json["asset_ids"]) - set(first)) == 1


@pytest.mark.parametrize("size", [3000, 9 << 20], ids=["small", "large"])
def test_drive_copy_that_breaks_off_leaves_no_object(world, drive, face, size):
    """A connection lost in the middle is named for that video; the others are there."""
    drive.cut.add(drive.add("team", "broken.mp4", b"x" * size))
    drive.add("team", "whole.mp4", b"y" * 3000)
    answer = ask_drive(world, face)
    assert answer.status == 200
    assert answer.json["status"] == "processing"
    assert [error["name"] for error in answer.json["errors"]] == ["broken.mp4"]
    assert "broke off" in answer.json["errors"][0]["reason"]
    assert [blob.name.rpartition("-")[2] for blob in world.blobs()] == ["whole.mp4"]


def test_drive_names_each_error(world, drive):
    """A file that may not be downloaded, or has no bytes, is named with its reason."""
    drive.refusals[drive.add("team", "secret.mp4", b"x")] = (403, "cannotDownloadFile")
    drive.add("team", "link.mp4", b"", size=None, md5Checksum=None)
    answer = ask_drive(world, ("gateway", "/api"))
    assert (answer.status, answer.json["status"]) == (200, "FAILED")
    reasons = {error["name"]: error["reason"] for error in answer.json["errors"]}
    assert "share the folder" in reasons["secret.mp4"]
    assert "no bytes" in reasons["link.mp4"]


def test_drive_stops_in_time_and_goes_on(world, drive, monkeypatch):
    """When the time is up the answer says how many remain; asking again fetches the rest."""
    for number in range(3):
        drive.add("team", f"v{number}.mp4", bytes([number]))
    monkeypatch.setattr(drive_service, "BUDGET_S", 0.0)
    first = ask_drive(world, ("gateway", "/api")).json
    assert (first["status"], first["remaining"]) == ("partial", 3)
    monkeypatch.setattr(drive_service, "BUDGET_S", 30.0)
    second = ask_drive(world, ("gateway", "/api")).json
    assert (second["status"], second["remaining"]) == ("processing", 0)
    assert len(world.blobs()) == 3


@pytest.mark.parametrize(
    ("refusal", "status", "said"),
    [
        ((404, "notFound"), 404, "share it"),
        ((403, "insufficientPermissions"), 403, "share the folder"),
        ((403, "userRateLimitExceeded"), 429, "limit"),
        ((401, "authError"), 503, "credentials"),
        ((500, "backendError"), 503, "answered 500"),
    ],
)
def test_drive_refusals_have_their_own_answer(world, drive, refusal, status, said):
    """Drive's refusal of a folder is told with what to do; never a 500."""
    drive.add("team", "a.mp4", b"x")
    drive.refusals["team"] = refusal
    answer = ask_drive(world, ("gateway", "/api"))
    assert answer.status == status
    assert said in answer.json["error"]
    assert ("retry_after" in answer.json) is (status in (429, 503))


@pytest.mark.parametrize("folder", ["nowhere", "x' or '1'='1", "", "a/../b", "ü"])
def test_drive_folder_that_is_none(world, drive, folder):
    """An unknown folder, or an id that could change the query, is a 404."""
    assert ask_drive(world, ("gateway", "/api"), folder).status == 404
    assert drive.asked == []


def test_drive_file_is_no_folder(world, drive):
    """The id of a file is a 404 that says so."""
    file_id = drive.add("team", "a.mp4", b"x")
    answer = ask_drive(world, ("gateway", "/api"), file_id)
    assert answer.status == 404
    assert "not a folder" in answer.json["error"]


def test_drive_without_credentials(world, monkeypatch, tmp_path):
    """Where the service has no Google credentials the answer is a 503 that says so."""
    monkeypatch.delenv("GV_DRIVE_URL", raising=False)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    answer = ask_drive(world, ("gateway", "/api"))
    assert answer.status == 503
    assert "no credentials for Google Drive" in answer.json["error"]


def test_drive_that_does_not_answer(world, monkeypatch):
    """A Drive that cannot be reached is a 503 with retry_after."""
    monkeypatch.setenv("GV_DRIVE_URL", "http://127.0.0.1:9")
    answer = ask_drive(world, ("gateway", "/api"))
    assert answer.status == 503
    assert answer.headers["Retry-After"] == str(answer.json["retry_after"])
