"""The fixtures of the services that call endpoints; each adds its ``cloud_type``."""

import pytest
from geminivideo.runtime.clock import Clock

from .calling import CallingCloud, Endpoint
from .clocks import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cloud(tmp_path, clock, cloud_type):
    cloud = cloud_type(tmp_path, clock)
    yield cloud
    cloud.stop()


@pytest.fixture
def cloud_on(tmp_path, cloud_type):
    """Build a cloud with another clock or other options."""
    built = []

    def build(clock: Clock, **options) -> CallingCloud:
        built.append(cloud_type(tmp_path / f"cloud{len(built)}", clock, **options))
        return built[-1]

    yield build
    for cloud in built:
        cloud.stop()


@pytest.fixture
def endpoint(clock):
    endpoint = Endpoint(now=clock.now)
    endpoint.service.start()
    yield endpoint
    endpoint.stop()
