"""A publish request is judged and stored by its bytes: nothing valid may be lost on the way."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from emulators.pubsub import rules
from emulators.pubsub.published import Published, PublishRequest
from emulators.pubsub.state import PubsubMessage
from emulators.rpc import ApiError

TOPIC = "projects/p1/topics/top"
SIZES = (1, 2, 126, 127, 128, 129, 16_382, 16_383, 16_384, 20_000)


def request(*messages):
    return Published(PublishRequest(topic=TOPIC, messages=messages).SerializeToString())


@pytest.mark.parametrize("size", SIZES)
def test_data_of_every_length_is_valid_and_whole(size):
    """Lengths around the steps of their encoding are let through, and nothing is cut off."""
    made = request(PubsubMessage(data=b"x" * size), PubsubMessage(data=b"y"))
    rules.check_publish(made)
    assert (made.topic, made.count) == (TOPIC, 2)
    assert [len(each.data) for each in made.messages] == [size, 1]


@given(
    st.lists(
        st.builds(
            PubsubMessage,
            data=st.binary(max_size=300),
            attributes=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
            ordering_key=st.text(max_size=3),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_what_its_bytes_call_plain_is_valid(messages):
    """A request that is not parsed for its check holds data in each message, and nothing else."""
    made = request(*messages)
    assert made.is_plain == all(
        bool(each.data) and not each.attributes and not each.ordering_key for each in messages
    )


def test_a_message_without_data_or_attributes_is_refused_among_plain_ones():
    """One invalid message refuses the request (PubsubMessage reference)."""
    for empty in (PubsubMessage(), PubsubMessage(ordering_key="k"), PubsubMessage(data=b"")):
        with pytest.raises(ApiError, match="at least one is required"):
            rules.check_publish(request(PubsubMessage(data=b"x"), empty))


def test_bytes_that_are_no_message_are_not_taken_in():
    """A message that cannot be parsed is refused before anything is stored."""
    broken = b"\x12\x03\x0a\x05x"  # a message whose data is said to be longer than it is
    with pytest.raises(DecodeError):
        rules.check_publish(Published(broken))
