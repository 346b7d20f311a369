"""A Meta double and Meta's own client pointed at it."""

import base64
import dataclasses
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from facebook_business.adobjects.adaccount import AdAccount
from facebook_business.api import FacebookAdsApi
from facebook_business.session import FacebookSession
from geminivideo.runtime.clock import Clock

from emulators.meta import Pace, Server

TOKEN = "EAAB-test-token"
ACCOUNT = "act_1001"


@dataclasses.dataclass
class StillClock:
    """Product time that moves only when a test moves it; real waits stay real."""

    at: float = 1_790_000_000.0

    def now(self) -> float:
        return self.at

    def real_seconds(self, seconds: float) -> float:
        return 0.0

    def advance(self, seconds: float) -> None:
        self.at += seconds


def picture_of(shade: int) -> bytes:
    """A real 1x1 PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes([0, shade]))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def client_of(url: str, token: str = TOKEN) -> FacebookAdsApi:
    """Meta's client, unmodified, on another host."""
    session = FacebookSession(access_token=token, timeout=10)
    session.GRAPH = url
    return FacebookAdsApi(session)


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def start(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Server]]:
    """Start doubles on one state directory; all are stopped after the test."""
    servers: list[Server] = []

    def begin(**rest: Any) -> Server:
        server = Server(
            state_dir=tmp_path / "meta",
            clock=clock,
            tokens={TOKEN},
            **{"pace": Pace(video_processing_s=4.0), **rest},
        )
        server.start()
        servers.append(server)
        return server

    yield begin
    for server in servers:
        server.stop()


@pytest.fixture
def server(start: Callable[..., Server]) -> Server:
    return start()


@pytest.fixture
def account(server: Server) -> AdAccount:
    return AdAccount(ACCOUNT, api=client_of(server.url))


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    """A file with the signature of an MP4 (the double looks at the signature only)."""
    path = tmp_path / "movie.mp4"
    path.write_bytes(b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 5000)
    return path


@pytest.fixture
def client() -> Callable[..., FacebookAdsApi]:
    return client_of


@pytest.fixture
def stranger(server: Server) -> AdAccount:
    """The same account, asked for with a token that the double does not know."""
    return AdAccount(ACCOUNT, api=client_of(server.url, "other"))


@pytest.fixture
def png() -> Callable[[int], bytes]:
    return picture_of


@pytest.fixture
def image(account: AdAccount) -> Callable[[], str]:
    """Upload an image; gives its hash."""
    encoded = base64.b64encode(picture_of(0)).decode()
    return lambda: account.create_ad_image(params={"bytes": encoded})["hash"]
