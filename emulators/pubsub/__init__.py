"""The Pub/Sub of the local cloud; docs/emulators/pubsub.md says what it does and does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from geminivideo.runtime.clock import Clock

from emulators.outbound import Outbound
from emulators.pubsub import wire
from emulators.pubsub.faults import DeliveryFault, DuplicatePushes, LostAcks
from emulators.pubsub.push import Pusher
from emulators.pubsub.state import Broker, PubsubMessage
from emulators.rpc import RpcServer

__all__ = ["DeliveryFault", "DuplicatePushes", "LostAcks", "Server"]


class Server:
    """Publisher and Subscriber over gRPC on one loopback port; state under ``state_dir``.

    ``token_minter(audience, service_account_email)`` gives the bearer of authenticated pushes,
    ``rewrite(url)`` the address an endpoint has on this machine. ``least_push_timeout_s`` is in
    machine seconds: on a fast clock an ack deadline would else leave real handlers no time.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        clock: Clock,
        port: int = 0,
        token_minter: Callable[[str, str], str] | None = None,
        rewrite: Callable[[str], str] | None = None,
        least_push_timeout_s: float = 0.0,
    ) -> None:
        self._broker = Broker(state_dir / "pubsub.sqlite", clock)
        self._outbound = Outbound("pubsub", clock)
        self._pusher = Pusher(
            self._broker,
            self._outbound,
            token_minter=token_minter,
            rewrite=rewrite,
            least_timeout_s=least_push_timeout_s,
        )
        self._rpc = RpcServer("pubsub", port, wire.services(self._broker, bool(token_minter)))

    @property
    def port(self) -> int:
        """The gRPC port."""
        return self._rpc.port

    @property
    def host(self) -> str:
        """What ``PUBSUB_EMULATOR_HOST`` is set to."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Answer calls and resume every delivery that was not acknowledged."""
        self._outbound.start()
        self._pusher.start()
        self._rpc.start()

    def stop(self) -> None:
        """End streams, pushes and calls; what is unacknowledged stays for the next start."""
        self._broker.stop()
        self._rpc.stop()
        self._outbound.stop()
        self._broker.close()

    def publish(self, topic_full_name: str, data: bytes, attributes: Mapping[str, str]) -> str:
        """Publish from inside the process; the message id, once it is durable."""
        body = PubsubMessage(data=data, attributes=attributes)
        return self._broker.publish(topic_full_name, [body], body.ByteSize())[0]

    def set_delivery_fault(self, fault: DeliveryFault | None) -> None:
        """Deliver every push through ``fault`` from now on; None for none."""
        self._pusher.fault = fault

    @property
    def in_flight(self) -> int:
        """Pushes under way: 0 when every outcome is recorded."""
        return self._pusher.in_flight

    def clock_moved(self) -> None:
        """Tell the server that its clock jumped, so that it looks at what is due now."""
        self._pusher.ring_all()
