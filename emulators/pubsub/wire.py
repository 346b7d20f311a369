"""The gRPC face: google.pubsub.v1 Publisher and Subscriber over raw protobuf classes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

from emulators.pubsub import errors
from emulators.pubsub.archive import SnapshotSpec
from emulators.pubsub.published import Published
from emulators.pubsub.state import Broker, SubscriptionSpec, Topic
from emulators.pubsub.subscription import Stream
from emulators.rpc import ApiError, Method, page, raw, seconds

PULL_WAIT_S = 5.0  # machine seconds that a pull waits for a first message
PAGE_SIZE = 1_000
_MARGIN_S = 0.2  # a pull answers this long before its caller stops listening

PublishResponse = raw(types.PublishResponse)
PullResponse = raw(types.PullResponse)
StreamingPullResponse = raw(types.StreamingPullResponse)
ListTopicsResponse = raw(types.ListTopicsResponse)
ListSubscriptionsResponse = raw(types.ListSubscriptionsResponse)
ListTopicSubscriptionsResponse = raw(types.ListTopicSubscriptionsResponse)
ListTopicSnapshotsResponse = raw(types.ListTopicSnapshotsResponse)
ListSnapshotsResponse = raw(types.ListSnapshotsResponse)
DetachSubscriptionResponse = raw(types.DetachSubscriptionResponse)
SeekResponse = raw(types.SeekResponse)


def services(broker: Broker, has_minter: bool) -> dict[str, dict[str, Method]]:
    """The method tables; OIDC pushes are refused when there is nothing to mint tokens with."""
    subscriber = _Subscriber(broker, has_minter)
    return {
        "google.pubsub.v1.Publisher": _Publisher(broker).methods(),
        "google.pubsub.v1.Subscriber": subscriber.methods(),
    }


class _Publisher:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def methods(self) -> dict[str, Method]:
        return {
            "CreateTopic": Method(Topic, Topic, self._create),
            "GetTopic": Method(raw(types.GetTopicRequest), Topic, self._get),
            "UpdateTopic": Method(raw(types.UpdateTopicRequest), Topic, self._update),
            "DeleteTopic": Method(raw(types.DeleteTopicRequest), Empty, self._delete),
            "ListTopics": Method(raw(types.ListTopicsRequest), ListTopicsResponse, self._list),
            "ListTopicSubscriptions": Method(
                raw(types.ListTopicSubscriptionsRequest),
                ListTopicSubscriptionsResponse,
                self._list_subscriptions,
            ),
            "ListTopicSnapshots": Method(
                raw(types.ListTopicSnapshotsRequest),
                ListTopicSnapshotsResponse,
                self._list_snapshots,
            ),
            "DetachSubscription": Method(
                raw(types.DetachSubscriptionRequest), DetachSubscriptionResponse, self._detach
            ),
            "Publish": Method(Published, PublishResponse, self._publish, quick=True),
        }

    def _create(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._broker.create_topic(request)

    def _get(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._broker.topic(request.topic)

    def _update(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._broker.update_topic(request.topic, request.update_mask)

    def _delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._broker.delete_topic(request.topic)
        return Empty()

    def _list(self, request: Any, context: grpc.ServicerContext) -> Any:
        topics = self._broker.topics(request.project)
        names, token = page(topics, request.page_size, request.page_token, PAGE_SIZE)
        return ListTopicsResponse(topics=[topics[n] for n in names], next_page_token=token)

    def _list_subscriptions(self, request: Any, context: grpc.ServicerContext) -> Any:
        found = self._broker.subscriptions_of(request.topic)
        names, token = page(found, request.page_size, request.page_token, PAGE_SIZE)
        return ListTopicSubscriptionsResponse(subscriptions=names, next_page_token=token)

    def _publish(self, request: Any, context: grpc.ServicerContext) -> Any:
        return PublishResponse(message_ids=self._broker.publish(request))

    def _detach(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._broker.detach_subscription(request.subscription)
        return DetachSubscriptionResponse()

    def _list_snapshots(self, request: Any, context: grpc.ServicerContext) -> Any:
        found = self._broker.snapshots_of(request.topic)
        names, token = page(found, request.page_size, request.page_token, PAGE_SIZE)
        return ListTopicSnapshotsResponse(snapshots=names, next_page_token=token)


class _Subscriber:
    def __init__(self, broker: Broker, has_minter: bool) -> None:
        self._broker = broker
        self._has_minter = has_minter

    def methods(self) -> dict[str, Method]:
        spec = SubscriptionSpec
        return {
            "CreateSubscription": Method(spec, spec, self._create),
            "GetSubscription": Method(raw(types.GetSubscriptionRequest), spec, self._get),
            "UpdateSubscription": Method(raw(types.UpdateSubscriptionRequest), spec, self._update),
            "DeleteSubscription": self._empty(types.DeleteSubscriptionRequest, self._delete),
            "ListSubscriptions": Method(
                raw(types.ListSubscriptionsRequest), ListSubscriptionsResponse, self._list
            ),
            "ModifyPushConfig": self._empty(types.ModifyPushConfigRequest, self._modify_push),
            "Pull": Method(raw(types.PullRequest), PullResponse, self._pull),
            "StreamingPull": Method(
                raw(types.StreamingPullRequest), StreamingPullResponse, self._stream, streams=True
            ),
            "Acknowledge": Method(raw(types.AcknowledgeRequest), Empty, self._acknowledge),
            "ModifyAckDeadline": Method(
                raw(types.ModifyAckDeadlineRequest), Empty, self._modify_deadline
            ),
            "Seek": Method(raw(types.SeekRequest), SeekResponse, self._seek),
            "CreateSnapshot": Method(
                raw(types.CreateSnapshotRequest), SnapshotSpec, self._create_snapshot
            ),
            "GetSnapshot": Method(raw(types.GetSnapshotRequest), SnapshotSpec, self._get_snapshot),
            "UpdateSnapshot": Method(
                raw(types.UpdateSnapshotRequest), SnapshotSpec, self._update_snapshot
            ),
            "DeleteSnapshot": self._empty(types.DeleteSnapshotRequest, self._delete_snapshot),
            "ListSnapshots": Method(
                raw(types.ListSnapshotsRequest), ListSnapshotsResponse, self._list_snapshots
            ),
        }

    @staticmethod
    def _empty(request: Any, call: Callable[[Any], None]) -> Method:
        def answer(message: Any, context: grpc.ServicerContext) -> Any:
            call(message)
            return Empty()

        return Method(raw(request), Empty, answer)

    def _create(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check_minter(request.push_config)
        return self._broker.create_subscription(request)

    def _get(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._broker.subscription(request.subscription)

    def _update(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check_minter(request.subscription.push_config)
        return self._broker.update_subscription(request.subscription, request.update_mask)

    def _delete(self, request: Any) -> None:
        self._broker.delete_subscription(request.subscription)

    def _list(self, request: Any, context: grpc.ServicerContext) -> Any:
        found = self._broker.subscriptions(request.project)
        names, token = page(found, request.page_size, request.page_token, PAGE_SIZE)
        specs = [found[name] for name in names]
        return ListSubscriptionsResponse(subscriptions=specs, next_page_token=token)

    def _modify_push(self, request: Any) -> None:
        self._check_minter(request.push_config)
        self._broker.modify_push(request.subscription, request.push_config)

    def _pull(self, request: Any, context: grpc.ServicerContext) -> Any:
        remaining = context.time_remaining()
        wait = PULL_WAIT_S if remaining is None else min(PULL_WAIT_S, remaining - _MARGIN_S)
        if request.return_immediately:
            wait = 0.0
        received = self._broker.pull(request.subscription, request.max_messages, wait)
        return PullResponse(received_messages=received)

    def _acknowledge(self, request: Any, context: grpc.ServicerContext) -> Any:
        _check_refused(context, self._broker.acknowledge(request.subscription, request.ack_ids))
        return Empty()

    def _modify_deadline(self, request: Any, context: grpc.ServicerContext) -> Any:
        refused = self._broker.modify_deadline(
            request.subscription, request.ack_ids, request.ack_deadline_seconds
        )
        _check_refused(context, refused)
        return Empty()

    def _seek(self, request: Any, context: grpc.ServicerContext) -> Any:
        target = request.WhichOneof("target")
        if target == "time":
            self._broker.seek_to_time(request.subscription, seconds(request.time))
        elif target == "snapshot":
            self._broker.seek_to_snapshot(request.subscription, request.snapshot)
        else:
            raise errors.invalid("A SeekRequest names a time or a snapshot.")
        return SeekResponse()

    def _create_snapshot(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._broker.create_snapshot(request)

    def _get_snapshot(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._broker.snapshot(request.snapshot)

    def _update_snapshot(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._broker.update_snapshot(request.snapshot, request.update_mask)

    def _delete_snapshot(self, request: Any) -> None:
        self._broker.delete_snapshot(request.snapshot)

    def _list_snapshots(self, request: Any, context: grpc.ServicerContext) -> Any:
        found = self._broker.snapshots(request.project)
        names, token = page(found, request.page_size, request.page_token, PAGE_SIZE)
        specs = [found[name] for name in names]
        return ListSnapshotsResponse(snapshots=specs, next_page_token=token)

    def _stream(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        first = next(requests, None)
        if first is None:
            return
        stream = self._broker.open_stream(
            first.subscription,
            first.stream_ack_deadline_seconds,
            first.max_outstanding_messages,
            first.max_outstanding_bytes,
        )
        context.add_callback(lambda: self._broker.close_stream(stream))
        failure: list[ApiError] = []
        threading.Thread(
            target=self._listen, args=(stream, first, requests, failure), daemon=True
        ).start()
        while True:
            received, told = self._broker.next_batch(stream)
            yield from told
            if received:
                yield self._batch(stream, received)
            elif not told:
                break
        if failure:
            raise failure[0]

    def _batch(self, stream: Stream, received: list[Any]) -> Any:
        spec = self._broker.subscription(stream.subscription)
        response = StreamingPullResponse(received_messages=received)
        properties = response.subscription_properties
        properties.message_ordering_enabled = spec.enable_message_ordering
        properties.exactly_once_delivery_enabled = spec.enable_exactly_once_delivery
        return response

    def _listen(
        self,
        stream: Stream,
        first: Any,
        requests: Iterator[Any],
        failure: list[ApiError],
    ) -> None:
        """Apply what the client sends on the stream until it ends the stream or breaks a rule."""
        try:
            self._apply(stream, first)
            for request in requests:
                self._apply(stream, request)
        except ApiError as error:
            failure.append(error)
        except grpc.RpcError:
            pass  # the client went away: its leases run out
        finally:
            self._broker.close_stream(stream)

    def _apply(self, stream: Stream, request: Any) -> None:
        response = StreamingPullResponse()
        if request.ack_ids:
            refused = self._broker.acknowledge(stream.subscription, request.ack_ids)
            _confirm(response.acknowledge_confirmation, request.ack_ids, refused)
        if request.modify_deadline_ack_ids or request.modify_deadline_seconds:
            refused = self._modify_deadlines(stream, request)
            _confirm(
                response.modify_ack_deadline_confirmation, request.modify_deadline_ack_ids, refused
            )
        if request.stream_ack_deadline_seconds:
            self._broker.set_stream_deadline(stream, request.stream_ack_deadline_seconds)
        if response.ByteSize() and self._confirms(stream):
            self._broker.tell(stream, response)

    def _modify_deadlines(self, stream: Stream, request: Any) -> list[str]:
        deadlines, ack_ids = request.modify_deadline_seconds, request.modify_deadline_ack_ids
        if len(deadlines) != len(ack_ids):
            raise errors.invalid("modify_deadline_seconds and _ack_ids differ in length.")
        by_deadline: dict[int, list[str]] = {}
        for deadline, ack_id in zip(deadlines, ack_ids, strict=True):
            by_deadline.setdefault(deadline, []).append(ack_id)
        refused: list[str] = []
        for deadline, together in by_deadline.items():
            refused += self._broker.modify_deadline(stream.subscription, together, deadline)
        return refused

    def _confirms(self, stream: Stream) -> bool:
        return bool(self._broker.subscription(stream.subscription).enable_exactly_once_delivery)

    def _check_minter(self, config: Any) -> None:
        if config.HasField("oidc_token") and not self._has_minter:
            raise errors.not_emulated("PushConfig.oidc_token without a token minter")


def _check_refused(context: grpc.ServicerContext, refused: list[str]) -> None:
    if refused:
        details = errors.ack_failures(refused).SerializeToString()
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
        raise errors.invalid(errors.ACK_FAILURE)


def _confirm(confirmation: Any, ack_ids: Iterable[str], refused: list[str]) -> None:
    confirmation.ack_ids.extend(ack_id for ack_id in ack_ids if ack_id not in refused)
    confirmation.invalid_ack_ids.extend(refused)
