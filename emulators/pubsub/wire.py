"""The gRPC face: google.pubsub.v1 Publisher and Subscriber over raw protobuf classes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

from emulators.pubsub import errors
from emulators.pubsub.state import Broker, Stream, SubscriptionSpec, Topic
from emulators.rpc import ApiError, Method, page, raw

PULL_WAIT_S = 5.0  # machine seconds that a pull waits for a first message
PAGE_SIZE = 1_000
_MARGIN_S = 0.2  # a pull answers this long before its caller stops listening

PublishResponse = raw(types.PublishResponse)
PullResponse = raw(types.PullResponse)
StreamingPullResponse = raw(types.StreamingPullResponse)
ListTopicsResponse = raw(types.ListTopicsResponse)
ListSubscriptionsResponse = raw(types.ListSubscriptionsResponse)
ListTopicSubscriptionsResponse = raw(types.ListTopicSubscriptionsResponse)


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
            "Publish": Method(raw(types.PublishRequest), PublishResponse, self._publish),
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
        ids = self._broker.publish(request.topic, request.messages, request.ByteSize())
        return PublishResponse(message_ids=ids)


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
            "Acknowledge": self._empty(types.AcknowledgeRequest, self._acknowledge),
            "ModifyAckDeadline": self._empty(types.ModifyAckDeadlineRequest, self._modify_deadline),
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

    def _acknowledge(self, request: Any) -> None:
        self._broker.acknowledge(request.subscription, request.ack_ids)

    def _modify_deadline(self, request: Any) -> None:
        self._broker.modify_deadline(
            request.subscription, request.ack_ids, request.ack_deadline_seconds
        )

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
        while batch := self._broker.next_batch(stream):
            yield self._batch(stream, batch)
        if failure:
            raise failure[0]

    def _batch(self, stream: Stream, received: list[Any]) -> Any:
        spec = self._broker.subscription(stream.subscription)
        response = StreamingPullResponse(received_messages=received)
        response.subscription_properties.message_ordering_enabled = spec.enable_message_ordering
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
        if request.ack_ids:
            self._broker.acknowledge(stream.subscription, request.ack_ids)
        if len(request.modify_deadline_seconds) != len(request.modify_deadline_ack_ids):
            raise errors.invalid("modify_deadline_seconds and _ack_ids differ in length.")
        by_deadline: dict[int, list[str]] = {}
        for deadline, ack_id in zip(
            request.modify_deadline_seconds, request.modify_deadline_ack_ids, strict=True
        ):
            by_deadline.setdefault(deadline, []).append(ack_id)
        for deadline, ack_ids in by_deadline.items():
            self._broker.modify_deadline(stream.subscription, ack_ids, deadline)
        if request.stream_ack_deadline_seconds:
            self._broker.set_stream_deadline(stream, request.stream_ack_deadline_seconds)

    def _check_minter(self, config: Any) -> None:
        if config.HasField("oidc_token") and not self._has_minter:
            raise errors.not_emulated("PushConfig.oidc_token without a token minter")
