"""Whatever a document can hold, for the tests of reading and of writing it."""

from datetime import UTC, datetime

from hypothesis import strategies as st

names = st.text("aä.`_ 1", min_size=1, max_size=4)


def values(floats=None):
    """Plain values, nested or empty; ``floats`` are all of them, with what is no number."""
    scalars = (
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | (st.floats() if floats is None else floats)
        | st.text(max_size=6)
        | st.binary(max_size=6)
        | st.datetimes(timezones=st.just(UTC), min_value=datetime(1, 1, 2))
    )

    def nested(inner):
        return st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)

    return st.recursive(scalars, nested)
