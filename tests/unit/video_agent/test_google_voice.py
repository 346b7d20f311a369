"""Google's voice over its wire, as documented, against a small server that speaks it."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
import wave
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import numpy as np
import pytest
from geminivideo.cloud.speech import GoogleVoice, marked
from geminivideo.policy import VoicePolicy
from geminivideo.video_agent.voice_generator import Line, VoiceRequest, generate
from geminivideo.voices import VoiceUnavailableError


def tone(seconds, rate=24_000):
    at = np.arange(round(seconds * rate)) / rate
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((0.3 * np.sin(2 * np.pi * 300 * at) * 32767).astype("<i2").tobytes())
    return held.getvalue()


class Server(BaseHTTPRequestHandler):
    """A word a quarter of a second; every mark is answered with its time."""

    asked: ClassVar[list[dict]] = []
    refuse = 0

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append({"path": self.path, "headers": dict(self.headers), **body})
        if self.refuse:
            error = {"code": self.refuse, "status": "RESOURCE_EXHAUSTED", "message": "Quota"}
            return self.answer(self.refuse, {"error": error})
        given = body["input"].get("ssml") or body["input"]["text"]
        marks = re.findall(r'<mark name="(\d+)"/>', given)
        count = len(marks) or len(given.split())
        answer = {"audioContent": base64.b64encode(tone(count * 0.25)).decode()}
        if "SSML_MARK" in body.get("enableTimePointing", []):
            answer["timepoints"] = [
                {"markName": mark, "timeSeconds": n * 0.25} for n, mark in enumerate(marks)
            ]
        return self.answer(200, answer)

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server():
    """The wire on a port of its own, and what was asked over it."""

    class Own(Server):
        asked: ClassVar[list[dict]] = []

    http = HTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    Own.url = f"http://127.0.0.1:{http.server_port}"
    yield Own
    http.shutdown()
    http.server_close()
    thread.join()


def test_a_line_is_asked_for_with_a_mark_before_every_word(server, tmp_path):
    """The documented request goes out, and word times come back with the sound."""
    voice = GoogleVoice(
        language="en-GB", voice="en-GB-Neural2-A", url=server.url, usd_per_million=16
    )
    speech = voice.speak("Tea & <toast>", tmp_path / "a.wav")
    (asked,) = server.asked
    assert asked["path"] == "/v1beta1/text:synthesize"
    assert asked["voice"] == {"languageCode": "en-GB", "name": "en-GB-Neural2-A"}
    assert asked["audioConfig"] == {"audioEncoding": "LINEAR16", "sampleRateHertz": 24000}
    assert asked["enableTimePointing"] == ["SSML_MARK"]
    assert asked["input"]["ssml"] == (
        '<speak><mark name="0"/>Tea <mark name="1"/>&amp; <mark name="2"/>&lt;toast&gt;</speak>'
    )
    assert [(w.text, w.start_s, w.end_s) for w in speech.words] == [
        ("Tea", 0.0, 0.25),
        ("&", 0.25, 0.5),
        ("<toast>", 0.5, 0.75),
    ]
    assert speech.cost_microusd == 16 * speech.characters
    with wave.open(str(speech.path)) as file:
        assert (file.getframerate(), file.getnchannels()) == (24_000, 1)
    assert "Authorization" not in asked["headers"]  # plain http gets no credentials


def test_a_whole_track_is_spoken_over_the_wire(server, tmp_path):
    """Lines of a cloud voice are fitted like any other; their times come from the synthesis."""
    voice = GoogleVoice(url=server.url)
    lines = (
        Line(text="one two three four", start_s=0.0, end_s=1.0),
        Line(text="five six", start_s=2.0, end_s=2.45),
    )
    track = generate(VoiceRequest(lines=lines), voice, tmp_path, VoicePolicy())
    assert track.word_source == "synthesis"
    assert [w.text for w in track.words] == ["one", "two", "three", "four", "five", "six"]
    assert track.words[4].start_s == pytest.approx(2.0, abs=0.05)
    assert track.words[5].start_s == pytest.approx(2.0 + 0.25 / track.lines[1].tempo, abs=0.05)
    assert all(check.passed for check in track.checks)
    assert track.cost_microusd is None  # no price is configured: it is not known
    assert track.voice.licence == "Google Cloud Platform Terms of Service"
    assert not track.voice.offline


@pytest.mark.parametrize("name", ["en-US-Chirp3-HD-Kore", "en-US-Studio-O"])
def test_voices_without_marks_are_asked_in_plain_text(name, server, tmp_path):
    """Chirp and Studio voices know no marks: no times come back, and none are invented."""
    speech = GoogleVoice(voice=name, url=server.url).speak("one two", tmp_path / "a.wav")
    assert server.asked[0]["input"] == {"text": "one two"}
    assert "enableTimePointing" not in server.asked[0]
    assert speech.words is None


def test_a_line_too_long_for_marks_goes_as_text(server, tmp_path):
    """SSML is limited to 5000 bytes; a longer line loses its times, not its words."""
    speech = GoogleVoice(url=server.url).speak("word " * 300, tmp_path / "a.wav")
    assert server.asked[0]["input"]["text"].count("word") == 300
    assert speech.words is None


def test_a_refusal_is_named(server, tmp_path):
    """An error of Google's is the message of ours; nothing is written."""
    server.refuse = 429
    with pytest.raises(VoiceUnavailableError, match="429 RESOURCE_EXHAUSTED Quota"):
        GoogleVoice(url=server.url).speak("hello", tmp_path / "a.wav")
    assert not (tmp_path / "a.wav").exists()


def test_nobody_answering_is_named(tmp_path):
    """A closed port is a voice that is not available."""
    with pytest.raises(VoiceUnavailableError, match="does not answer"):
        GoogleVoice(url="http://127.0.0.1:9").speak("hello", tmp_path / "a.wav")


def test_the_environment_chooses_the_voice_for_its_own_language(monkeypatch):
    """A configured voice speaks its language; for another one Google chooses."""
    monkeypatch.setenv("GV_TTS_VOICE", "en-US-Neural2-F")
    monkeypatch.setenv("GV_TTS_PRICE", "16")
    monkeypatch.setenv("GV_TTS_URL", "http://127.0.0.1:1/")
    mine = GoogleVoice.from_env("en-US")
    assert (mine.voice, mine.usd_per_million, mine.url) == (
        "en-US-Neural2-F", 16.0, "http://127.0.0.1:1",
    )  # fmt: skip
    assert GoogleVoice.from_env("de-DE").voice is None
    assert GoogleVoice.from_env("de-DE").info.name == "google-de-DE"


def test_marks_cannot_be_forged():
    """A mark in a caller's text is text."""
    assert marked(["<mark", 'name="9"/>']).count("<mark") == 2
