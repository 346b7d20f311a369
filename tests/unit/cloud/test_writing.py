"""Firestore's writes as the product fills them, beside those of Google's own client."""

import pytest
from geminivideo.cloud import writing
from google.cloud.firestore_v1 import _helpers
from google.cloud.firestore_v1.types.write import Write
from hypothesis import given, settings
from hypothesis import strategies as st

from .plain_values import names, values

NAME = "projects/p/databases/(default)/documents/shapes/one"
VALUES = values()


def sent(write: Write) -> bytes:
    return Write.pb(write).SerializeToString(deterministic=True)


@settings(max_examples=150, deadline=None)
@given(data=st.dictionaries(names, VALUES, max_size=4))
def test_a_whole_document_is_sent_as_googles_client_sends_it(data):
    """Any plain value, nested or empty, is the same bytes; so is the precondition."""
    assert sent(writing.set_to(NAME, data)) == sent(_helpers.pbs_for_set_no_merge(NAME, data)[0])
    created = _helpers.pbs_for_create(NAME, data)[0]
    assert sent(writing.set_to(NAME, data, exists=False)) == sent(created)


@settings(max_examples=100, deadline=None)
@given(changes=st.dictionaries(st.text("ab_1", min_size=1, max_size=3), VALUES, min_size=1))
def test_changed_members_are_sent_as_googles_client_sends_them(changes):
    """The mask names what is changed, and the document must exist; odd names are quoted."""
    try:
        theirs = _helpers.pbs_for_update(NAME, dict(changes), None)
    except ValueError:  # a name that only a quoted path may have
        with pytest.raises(ValueError):
            writing.change(NAME, changes)
        return
    assert [sent(write) for write in writing.change(NAME, changes)] == list(map(sent, theirs))


@settings(max_examples=100, deadline=None)
@given(data=st.dictionaries(st.text("ab_", min_size=1, max_size=3), VALUES, min_size=1))
def test_merged_members_are_sent_as_googles_client_sends_them(data):
    """The mask names what is merged, whole maps too; there need not be a document."""
    (theirs,) = _helpers.pbs_for_set_with_merge(NAME, data, list(data))
    assert sent(writing.merge(NAME, data)) == sent(theirs)


def test_a_member_that_a_path_would_quote_is_not_merged():
    """It is refused by name before anything is sent; so is no member, which would mean all."""
    with pytest.raises(ValueError, match=r"a\.b"):
        writing.merge(NAME, {"x": 1, "a.b": 2})
    with pytest.raises(ValueError, match="no members"):
        writing.merge(NAME, {})


def test_a_dotted_key_changes_a_member_of_a_member():
    """Such a change is left to Google's client, which knows the paths."""
    (write,) = writing.change(NAME, {"counts.done": 3})
    assert list(write.update_mask.field_paths) == ["counts.done"]
    assert write.update.fields["counts"].map_value.fields["done"].integer_value == 3


def test_what_is_no_plain_value_is_refused_by_name():
    """A record is encoded first; what was not is said before anything is sent."""
    with pytest.raises(TypeError, match="complex"):
        writing.set_to(NAME, {"x": [1j]})
