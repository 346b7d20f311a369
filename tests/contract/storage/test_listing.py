"""Listing: https://cloud.google.com/storage/docs/json_api/v1/objects/list."""

import os

import pytest
from geminivideo.runtime.clock import Clock
from google.api_core import exceptions
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.storage import errors, globs
from emulators.storage.contents import Stored
from emulators.storage.rules import NO_CONDITIONS
from emulators.storage.state import Selection, State

NAMES = ["a.txt", "b/1.txt", "b/2.txt", "b/c/3.txt", "d/", "d/4.txt", "e.txt"]


@pytest.fixture
def filled(bucket):
    for name in NAMES:
        bucket.blob(name).upload_from_string(b"x")
    return bucket


def listed(bucket, **options):
    iterator = bucket.list_blobs(**options)
    names = [blob.name for blob in iterator]
    return names, sorted(iterator.prefixes)


def test_all_in_name_order(filled):
    """Objects are listed in lexicographic order of their names."""
    assert listed(filled) == (sorted(NAMES), [])


def test_prefix(filled):
    """A prefix keeps the names that begin with it."""
    assert listed(filled, prefix="b/") == (["b/1.txt", "b/2.txt", "b/c/3.txt"], [])


def test_delimiter_collapses_into_prefixes(filled):
    """With a delimiter, names that hold it behind the prefix appear once, as prefixes."""
    assert listed(filled, delimiter="/") == (["a.txt", "e.txt"], ["b/", "d/"])
    assert listed(filled, prefix="b/", delimiter="/") == (["b/1.txt", "b/2.txt"], ["b/c/"])


def test_include_trailing_delimiter(filled):
    """includeTrailingDelimiter lists ``d/`` as an item and as a prefix."""
    assert listed(filled, delimiter="/", include_trailing_delimiter=True) == (
        ["a.txt", "d/", "e.txt"],
        ["b/", "d/"],
    )


def test_offsets(filled):
    """startOffset is inclusive, endOffset exclusive."""
    assert listed(filled, start_offset="b/2.txt", end_offset="d/4.txt") == (
        ["b/2.txt", "b/c/3.txt", "d/"],
        [],
    )


@pytest.mark.parametrize("size", [1, 2, 3])
def test_pages_add_up(filled, size):
    """Pages of any size give every item and every prefix exactly once."""
    assert listed(filled, page_size=size) == (sorted(NAMES), [])
    assert listed(filled, delimiter="/", page_size=size) == (["a.txt", "e.txt"], ["b/", "d/"])


def test_max_results(filled):
    """max_results bounds the whole listing."""
    assert listed(filled, max_results=2)[0] == ["a.txt", "b/1.txt"]


def test_deleted_objects_are_not_listed(filled):
    """Without versioning a deleted object is gone from the listing."""
    filled.blob("a.txt").delete()
    assert "a.txt" not in listed(filled)[0]


def test_listing_a_missing_bucket_is_not_found(client):
    """Listing a bucket that does not exist is 404."""
    with pytest.raises(exceptions.NotFound):
        list(client.list_blobs("demo-nothing"))


@pytest.mark.parametrize(
    ("glob", "names"),
    [
        ("*.txt", ["a.txt", "e.txt"]),
        ("**.txt", ["a.txt", "b/1.txt", "b/2.txt", "b/c/3.txt", "d/4.txt", "e.txt"]),
        ("b/*", ["b/1.txt", "b/2.txt"]),
        ("b/**", ["b/1.txt", "b/2.txt", "b/c/3.txt"]),
        ("**/3.txt", ["b/c/3.txt"]),
        ("?.txt", ["a.txt", "e.txt"]),
        ("[a-d].txt", ["a.txt"]),
        ("[^a]*.txt", ["e.txt"]),
        ("{a,b/1,d/4}.txt", ["a.txt", "b/1.txt", "d/4.txt"]),
        ("nothing*", []),
    ],
)
def test_glob(filled, glob, names):
    """matchGlob: * and ? within a level, ** across levels, [] and {} choose."""
    assert listed(filled, match_glob=glob)[0] == names


def test_glob_in_pages_with_prefix_and_delimiter(filled):
    """matchGlob filters before pages, prefix and delimiter are applied."""
    assert listed(filled, match_glob="**.txt", page_size=1)[0] == sorted(
        name for name in NAMES if name.endswith(".txt")
    )
    assert listed(filled, match_glob="**3.txt", delimiter="/") == ([], ["b/"])
    assert listed(filled, match_glob="**1.txt", prefix="b/")[0] == ["b/1.txt"]


@pytest.mark.parametrize("glob", ["[a", "{a,b", "[z-a]"])
def test_malformed_globs(filled, glob):
    """A pattern with an open bracket or brace, or an empty range, is 400."""
    with pytest.raises(exceptions.BadRequest, match="glob"):
        listed(filled, match_glob=glob)


def matches(glob, name):
    """The definition of ``*``, ``**`` and ``?``, written a second time, by recursion."""
    if not glob:
        return not name
    if glob.startswith("**"):
        return matches(glob[2:], name) or (bool(name) and matches(glob, name[1:]))
    if glob[0] == "*":
        within = bool(name) and name[0] != "/"
        return matches(glob[1:], name) or (within and matches(glob, name[1:]))
    if not name:
        return False
    fits = name[0] != "/" if glob[0] == "?" else name[0] == glob[0]
    return fits and matches(glob[1:], name[1:])


@given(glob=st.text("ab/*?", max_size=6), name=st.text("ab/", min_size=1, max_size=6))
def test_globs_equal_their_definition(glob, name):
    """For any pattern of stars and question marks, the names are those of the definition."""
    if "**/" in f"/{glob}"[: len(glob) + 1].replace("***", "~"):
        return  # "**/" at the start of a level also matches nothing: held by the cases above
    assert bool(globs.compiled(glob).fullmatch(name)) == matches(glob, name)


@given(glob=st.text("ab/*?[]{},^-\\", max_size=8), name=st.text("ab/", min_size=1, max_size=6))
def test_a_globs_literal_beginning_is_no_filter_of_its_own(glob, name):
    """A name that matches begins with the pattern's literal beginning."""
    try:
        pattern = globs.compiled(glob)
    except errors.ApiError:
        return
    assert not pattern.fullmatch(name) or name.startswith(globs.literal_prefix(glob))


def test_ten_thousand_objects_are_listed_page_by_page(tmp_path):
    """Each page begins where the last one ended: its cost does not grow with what lies before."""
    state = State(tmp_path, Clock(), "http://x")
    state.create_bucket("demo-list", "demo", {})
    with state._transaction():
        for number in range(10_000):
            stored = Stored(os.urandom(8).hex(), 0, "", "")
            state.insert("demo-list", f"o{number:05}", {}, stored, NO_CONDITIONS, {})
    seen, visited = [], []
    state._database.set_progress_handler(lambda: visited.append(1) and 0, 1_000)
    after = None
    while True:
        before = len(visited)
        page = state.list_objects("demo-list", Selection(after=after, limit=500))
        seen += [row["name"] for row in page.rows]
        after = page.next_after
        assert len(visited) - before <= 60, "a page walks over what other pages gave"
        if after is None:
            break
    state.close()
    assert seen == [f"o{number:05}" for number in range(10_000)]


def test_versions_of_a_versioned_bucket(bucket):
    """With versioning, overwritten and deleted generations stay readable and listed."""
    bucket.versioning_enabled = True
    bucket.patch()
    blob = bucket.blob("a")
    blob.upload_from_string(b"one")
    first = blob.generation
    blob.upload_from_string(b"two")
    second = blob.generation
    bucket.blob("a").delete()
    assert listed(bucket) == ([], [])
    assert [b.generation for b in bucket.list_blobs(versions=True)] == [first, second]
    assert bucket.blob("a", generation=first).download_as_bytes() == b"one"
    bucket.blob("a", generation=first).delete()
    assert [b.generation for b in bucket.list_blobs(versions=True)] == [second]


@settings(max_examples=40, deadline=None)
@given(
    names=st.sets(st.text("ab/", min_size=1, max_size=5), max_size=12),
    prefix=st.sampled_from(["", "a", "a/", "b/a"]),
    delimiter=st.sampled_from(["", "/", "ab"]),
    size=st.integers(1, 4),
)
def test_paging_equals_the_definition(tmp_path_factory, names, prefix, delimiter, size):
    """For any names, the pages together are the documented items and prefixes, each once."""
    items, prefixes = set(), set()
    for name in names:
        if not name.startswith(prefix):
            continue
        head, found, _ = name[len(prefix) :].partition(delimiter or "\0")
        (prefixes if found else items).add(prefix + head + found if found else name)
    seen_items, seen_prefixes = paged(tmp_path_factory, names, prefix, delimiter, size)
    assert seen_items == sorted(items, key=str.encode)
    assert sorted(seen_prefixes) == sorted(prefixes)


def paged(tmp_path_factory, names, prefix, delimiter, size):
    state = State(tmp_path_factory.mktemp("list"), Clock(), "http://x")
    state.create_bucket("demo-list", "demo", {})
    for name in names:
        stored = Stored(os.urandom(8).hex(), 0, "", "")
        state.insert("demo-list", name, {}, stored, NO_CONDITIONS, {})
    items, prefixes, after = [], [], None
    while True:
        selection = Selection(prefix=prefix, delimiter=delimiter, limit=size, after=after)
        page = state.list_objects("demo-list", selection)
        assert len(page.rows) + len(page.prefixes) <= size
        items += [row["name"] for row in page.rows]
        prefixes += page.prefixes
        after = page.next_after
        if after is None:
            state.close()
            return items, prefixes
