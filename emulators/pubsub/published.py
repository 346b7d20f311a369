"""A publish request as the bytes that came: looked at without an object for each message.

Most requests hold messages of data alone. Their bytes tell that they are valid, are what is
stored, and become messages only when somebody takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.pubsub_v1 import types

from emulators.rpc import raw

PublishRequest = raw(types.PublishRequest)

_DATA_TAG = 0x0A  # field 1 of PubsubMessage, length-delimited
_ONE_BYTE = 0x80  # lengths below are one byte, those below its square are two


def _view() -> Any:
    """PublishRequest with its messages left as bytes."""
    file = descriptor_pb2.FileDescriptorProto(
        name="publish_view.proto", package="geminivideo.emulators.pubsub", syntax="proto3"
    )
    fields = descriptor_pb2.FieldDescriptorProto
    view = file.message_type.add(name="View")
    view.field.add(name="topic", number=1, type=fields.TYPE_STRING, label=fields.LABEL_OPTIONAL)
    view.field.add(name="messages", number=2, type=fields.TYPE_BYTES, label=fields.LABEL_REPEATED)
    pool = DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("geminivideo.emulators.pubsub.View")
    )


_View = _view()


class Published:
    """A publish request: its ``topic``, its ``count`` of messages and its serialized ``body``."""

    __slots__ = ("_each", "body", "count", "topic")

    def __init__(self, body: bytes) -> None:
        """Raises ``DecodeError`` for bytes that are no publish request."""
        view = _View.FromString(body)
        self.body = body
        self.topic: str = view.topic
        self._each = list(view.messages)
        self.count = len(self._each)

    @staticmethod
    def FromString(body: bytes) -> Published:
        """The request of these bytes."""
        return Published(body)

    @classmethod
    def of(cls, topic: str, message: Any) -> Published:
        """A request with one message."""
        return cls(PublishRequest(topic=topic, messages=[message]).SerializeToString())

    @property
    def is_plain(self) -> bool:
        """Whether every message is data and nothing else; such a one is valid whatever it holds."""
        return all(map(_is_plain, self._each))

    @property
    def messages(self) -> Sequence[Any]:
        """The messages, parsed; raises ``DecodeError``."""
        return messages_of(self.body)


def messages_of(body: bytes) -> Sequence[Any]:
    """The messages of a serialized publish request."""
    found: Sequence[Any] = PublishRequest.FromString(body).messages
    return found


def _is_plain(message: bytes) -> bool:
    """Whether the bytes are one ``data`` field that is not empty, up to 16 KiB."""
    size = len(message)
    if size < 3 or message[0] != _DATA_TAG:
        return False
    length = message[1]
    if length < _ONE_BYTE:
        return length == size - 2
    return message[2] < _ONE_BYTE and (message[2] << 7) + length - _ONE_BYTE == size - 3
