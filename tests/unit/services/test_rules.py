"""The services' own small rules: names of objects, paths, bands, word search, weights."""

import math
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from geminivideo.runtime.http import ApiError, unavailable
from geminivideo.services.intake import account_of, local_path, object_name, video_metadata
from geminivideo.services.prediction import band_of
from geminivideo.services.search import bm25
from geminivideo.services.titan import CouncilRequest, ScriptBlueprint, evaluate
from google.api_core import exceptions as google
from google.auth.exceptions import DefaultCredentialsError
from hypothesis import given
from hypothesis import strategies as st
from requests.exceptions import ConnectionError as NoConnection

ROOT = Path(__file__).resolve().parents[3]
SERVICES = ("gateway", "drive_intel", "video_agent", "meta_publisher", "ml_service", "titan_core")
words = st.lists(st.sampled_from(["duck", "car", "red", "soup", "night"]), max_size=6)


@given(name=st.text(max_size=300), content=st.binary(max_size=8))
def test_object_names_are_safe(name, content):
    """Whatever the file is called: one folder (the account), no way up, not too long, printable."""
    made = object_name("acme", name, content)
    account, _, rest = made.partition("/")
    assert account == "acme"
    assert "/" not in rest
    assert "\\" not in rest
    assert len(made.encode()) <= 1024
    assert not any(ord(c) < 32 or ord(c) == 127 for c in made)
    assert ".." not in PurePosixPath(made).parts


@given(a=st.binary(max_size=8), b=st.binary(max_size=8))
def test_object_names_follow_the_content(a, b):
    """The same name of different contents gives different objects, of the same the same."""
    assert (object_name("x", "v.mp4", a) == object_name("x", "v.mp4", b)) is (a == b)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("v.mp4", "v.mp4"),
        ("../../etc/v.mp4", "v.mp4"),
        ("C:\\clips\\v.mp4", "v.mp4"),
        ("a\r\nb.mp4", "ab.mp4"),
        ("..", "video"),
        ("", "video"),
        ("clips/", "video"),
        ("Ünï.mp4", "Ünï.mp4"),
        ("x" * 400 + ".mp4", "x" * 196 + ".mp4"),
    ],
)
def test_what_is_kept_of_a_name(name, kept):
    """The last part of a path stays, with its suffix; a name that is none becomes ``video``."""
    assert object_name("acme", name, b"1").partition("-")[2] == kept


@pytest.mark.parametrize("account", ["", "..", "a/b", "a b", "-a", "x" * 101, "a\n", "ü"])
def test_accounts_that_lead_no_name(account):
    """An account id that could change an object's path is a 422."""
    with pytest.raises(ApiError, match="account_id"):
        account_of(account)


def test_metadata_of_an_upload():
    """The account is always told, the campaign when there is one."""
    assert video_metadata("a", None) == {"account": "a"}
    assert video_metadata("a", "ca-1") == {"account": "a", "campaign": "ca-1"}


@given(parts=st.lists(st.sampled_from(["..", ".", "a", "b", "~", "", "media"]), max_size=8))
def test_no_way_out_of_the_roots(tmp_path_factory, parts):
    """A path made of any turns is under the root when it is accepted at all."""
    root = (tmp_path_factory.getbasetemp() / "media").resolve()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GV_MEDIA_ROOTS", str(root))
        try:
            found = local_path(str(root) + "/" + "/".join(parts))
        except ApiError as error:
            found = error
    if isinstance(found, ApiError):
        assert found.status == 400
    else:
        assert found == root or root in found.parents


def test_several_roots(tmp_path, monkeypatch):
    """Each of the roots is served; a folder that only begins with a root's name is not."""
    monkeypatch.setenv("GV_MEDIA_ROOTS", f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    assert local_path(str(tmp_path / "b" / "c")) == (tmp_path / "b" / "c").resolve()
    with pytest.raises(ApiError):
        local_path(str(tmp_path / "ab"))


@pytest.mark.parametrize(
    ("ctr", "band"),
    [
        (None, None),
        (0.0, "low"),
        (0.0199, "low"),
        (0.02, "medium"),
        (0.0499, "medium"),
        (0.05, "high"),
        (1.0, "high"),
    ],
)
def test_bands_at_their_borders(ctr, band):
    """Low below 2 %, high from 5 %, and none for a CTR that is not known."""
    assert band_of(ctr) == band


def test_bm25_against_the_formula():
    """One word of one document, worked out by hand: ln(1 + (N - n + .5)/(n + .5)) tf (k+1)/..."""
    documents = [["duck", "duck", "soup"], ["car"]]
    found = bm25(["duck"], documents)
    rarity = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    expected = rarity * 2 * 2.2 / (2 + 1.2 * (1 - 0.75 + 0.75 * 3 / 2))
    assert found == [pytest.approx(expected), 0.0]


@given(query=words, documents=st.lists(words, max_size=6))
def test_bm25_is_sound(query, documents):
    """Scores are finite, never negative, and above zero exactly where a word is shared."""
    for score, document in zip(bm25(query, documents), documents, strict=True):
        assert math.isfinite(score)
        assert (score > 0) is bool(set(query) & set(document))


@given(document=words.filter(bool), others=st.lists(words, min_size=1, max_size=4))
def test_bm25_does_not_depend_on_order(document, others):
    """A document's score is the same wherever it stands."""
    first = bm25(["duck"], [document, *others])[0]
    last = bm25(["duck"], [*others, document])[-1]
    assert first == pytest.approx(last)


@given(
    text=st.text(max_size=60),
    given_score=st.none() | st.floats(0, 100),
    bar=st.none() | st.floats(0, 100),
)
def test_verdicts_follow_score_and_threshold(text, given_score, bar):
    """A plan's verdict is what its score and the threshold say, on one scale of 0 to 100."""
    plan = ScriptBlueprint(id="p", hook_text=text, council_score=given_score)
    call = type("C", (), {"body": CouncilRequest(blueprints=[plan], approval_threshold=bar)})()
    (judged,) = evaluate(call).evaluations
    line = 85.0 if bar is None else bar * 100 if bar <= 1 else bar
    assert 0 <= judged.council_score <= 100
    assert judged.verdict == ("APPROVED" if judged.council_score >= line else "REJECTED")


@given(script=st.text(max_size=200))
def test_a_script_is_judged_by_its_words(script):
    """A script's approval is its score against 85, which lies within its members' scores."""
    call = type("C", (), {"body": CouncilRequest(script=script)})()
    judged = evaluate(call)
    low, high = min(judged.breakdown.values()), max(judged.breakdown.values())
    assert low - 0.01 <= judged.final_score <= high + 0.01
    assert judged.approved is (judged.final_score >= 85)


@pytest.mark.parametrize(
    "error",
    [
        google.ServiceUnavailable("x"),
        google.DeadlineExceeded("x"),
        google.RetryError("x", None),
        google.TooManyRequests("x"),
        google.PermissionDenied("x"),
        NoConnection("x"),
        DefaultCredentialsError("x"),
    ],
)
def test_which_errors_mean_down(error):
    """What the clients raise when a backend is down or closed is told from our own mistakes."""
    assert unavailable(error)


@pytest.mark.parametrize(
    "error", [google.NotFound("x"), google.InvalidArgument("x"), KeyError("x"), ValueError("x")]
)
def test_which_errors_are_ours(error):
    """A refusal or a mistake of ours is not a backend that is down."""
    assert unavailable(error) is None


@pytest.mark.parametrize("service", SERVICES)
def test_cold_start_imports_nothing_heavy(service):
    """Importing a service's main brings no Google client, no numpy, no scikit-learn, no flask."""
    path = ROOT / "functions" / "services" / service / "main.py"
    program = (
        "import runpy, sys; runpy.run_path(sys.argv[1]); "
        "heavy = {'google', 'grpc', 'numpy', 'sklearn', 'flask', 'requests', 'av', 'cv2', "
        "'prometheus_client', 'werkzeug', 'pydantic', 'fastapi'}; "
        "print(sorted(heavy & {m.partition('.')[0] for m in sys.modules}))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    # namespace packages of site-packages' .pth files show up as an empty ``google``
    assert found.stdout.strip() in ("[]", "['google']")
