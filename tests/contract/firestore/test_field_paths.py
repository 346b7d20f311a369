"""Field paths as document.proto describes them: simple names, and quoted ones with escapes."""

from __future__ import annotations

import pytest
from google.cloud.firestore_v1.field_path import get_field_path
from hypothesis import given
from hypothesis import strategies as st

from emulators.firestore import fields
from emulators.firestore.errors import ApiError
from emulators.firestore.names import name_key
from emulators.firestore.writes import Document, Value

segments = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4).map(tuple)


@given(path=segments)
def test_a_path_that_is_shown_reads_back_the_same(path):
    """Any segment can be quoted."""
    assert fields.parse(fields.shown(path)) == path


@given(path=segments)
def test_the_clients_spelling_is_understood(path):
    """What the client library writes for the segments is read as those segments."""
    assert fields.parse(get_field_path(path)) == path


@pytest.mark.parametrize(
    "path", ["", ".", "a.", ".a", "a..b", "1a", "a b", "`a", "a`b`", "``", "é"]
)
def test_malformed_paths_are_refused(path):
    """Unquoted names are letters, digits and underscores, not starting with a digit."""
    with pytest.raises(ApiError, match="Invalid property path"):
        fields.parse(path)


@given(paths=st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(tuple)))
def test_what_was_put_is_found_until_it_is_removed(paths):
    """put makes maps on the way; remove takes only what is there."""
    document = Document()
    for number, path in enumerate(paths):
        fields.put(document.fields, path, Value(integer_value=number))
        assert fields.lookup(document.fields, path).integer_value == number
    for path in paths:
        fields.remove(document.fields, path)
        assert fields.lookup(document.fields, path) is None


@given(paths=st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(tuple)))
def test_a_lookup_changes_nothing(paths):
    """Reading a missing field must not create it (protobuf maps do)."""
    document = Document()
    document.fields["a"].map_value.fields["b"].integer_value = 1
    before = document.SerializeToString(deterministic=True)
    for path in paths:
        fields.lookup(document.fields, path)
        fields.remove(document.fields, ("x", *path))
    assert document.SerializeToString(deterministic=True) == before


def test_names_sort_by_segment_with_numeric_ids_first():
    """``a/b`` comes before ``a!``'s children would by plain text; numbers by value."""
    names = ["c/__id-3__", "c/__id2__", "c/__id10__", "c/a", "c/a/s/x", "c/a!", "c/b"]
    assert sorted(sorted(names), key=name_key) == names
