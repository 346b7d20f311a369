"""The demo's beginnings: which ports, which video, which names."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from emulators import demo
from emulators.serving import PortInUseError


@pytest.fixture
def ports_asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The port bases that clouds were started on; 8000 is taken."""
    asked: list[int] = []

    def start(_: Path, port_base: int) -> None:
        asked.append(port_base)
        if port_base == 8000:
            raise PortInUseError(8000, "function host")

    monkeypatch.setattr(demo, "_cloud", start)
    return asked


def test_taken_usual_ports_are_said_and_free_ones_used(ports_asked: list[int], tmp_path: Path):
    """A demo must not fail because something else listens on 8000."""
    out = io.StringIO()
    demo.run(Path(__file__), tmp_path, None, Console(file=out))
    assert ports_asked == [8000, 0]
    assert "port 8000 is taken" in out.getvalue()


def test_ports_that_were_asked_for_are_not_exchanged(ports_asked: list[int], tmp_path: Path):
    """With --port-base a taken port is an error."""
    with pytest.raises(PortInUseError, match="port 8000"):
        demo.run(Path(__file__), tmp_path, 8000, Console(file=io.StringIO()))
    assert ports_asked == [8000]


def test_a_missing_video_is_an_error_before_any_cloud_starts(ports_asked: list[int], tmp_path):
    """Nothing is started for a video that is not there."""
    with pytest.raises(demo.SampleMissingError, match=r"no\.mp4 does not exist"):
        demo.run(tmp_path / "no.mp4", tmp_path, None, Console(file=io.StringIO()))
    assert ports_asked == []
