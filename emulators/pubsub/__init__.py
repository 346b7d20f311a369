"""The Pub/Sub of the local cloud; docs/emulators/pubsub.md says what it does and does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from geminivideo.runtime.clock import Clock

from emulators.faults.engine import Faults
from emulators.outbound import Rewrite, TokenMinter
from emulators.pubsub import wire
from emulators.pubsub.published import Published
from emulators.pubsub.push import Pusher
from emulators.pubsub.state import Broker, PubsubMessage
from emulators.pubsub.store import StateFormatError
from emulators.rpc import CallingService

__all__ = ["Server"]


class Server(CallingService):
    """Publisher and Subscriber over gRPC on one loopback port; state under ``state_dir``.

    ``token_minter``, ``rewrite``: see ``Outbound``. ``least_push_timeout_s`` is in machine
    seconds: on a fast clock an ack deadline would else leave real handlers no time.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        clock: Clock,
        port: int = 0,
        token_minter: TokenMinter | None = None,
        rewrite: Rewrite | None = None,
        least_push_timeout_s: float = 0.0,
        faults: Faults | None = None,
    ) -> None:
        super().__init__("pubsub", clock, port, token_minter, rewrite, least_push_timeout_s, faults)
        try:
            self._broker = Broker(state_dir / "pubsub.sqlite", clock)
        except StateFormatError:
            self._rpc.stop()
            self._outbound.stop()
            raise
        self._pusher = Pusher(self._broker, self._outbound, self._deliveries)
        self._own(self._broker, self._pusher, wire.services(self._broker, bool(token_minter)))

    def stop(self) -> None:
        """End streams, pushes and calls; what is unacknowledged stays for the next start."""
        self._broker.stop()
        super().stop()

    def publish(self, topic_full_name: str, data: bytes, attributes: Mapping[str, str]) -> str:
        """Publish from inside the process; the message id, once it is durable."""
        message = PubsubMessage(data=data, attributes=attributes)
        return self._broker.publish(Published.of(topic_full_name, message))[0]

    @property
    def under_way(self) -> int:
        """0 when every push that was due has been made, and its outcome is recorded."""
        return self._broker.under_way()

    @property
    def in_flight(self) -> int:
        """Pushes under way: 0 when every outcome is recorded."""
        return self._pusher.in_flight
