"""Google Cloud Text-to-Speech: a line spoken, with the time of every word where the voice tells it.

REST ``v1beta1/text:synthesize``: only the beta returns the times of SSML marks, and one is set
before every word. Chirp and Studio voices know no marks: their lines come without times. The
caller's own credentials are used; ``GV_TTS_URL`` points elsewhere, and over plain http no
credentials are sent. Written to the documented wire; Google has never been asked from here.
https://cloud.google.com/text-to-speech/docs/reference/rest/v1beta1/text/synthesize
"""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from geminivideo.records import Word
from geminivideo.voices import Speech, VoiceInfo, VoiceUnavailableError

if TYPE_CHECKING:
    from google.auth.transport.requests import AuthorizedSession

ENV = "GV_TTS_URL"
VOICE_ENV, PRICE_ENV = "GV_TTS_VOICE", "GV_TTS_PRICE"
_GOOGLE = "https://texttospeech.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_RATE = 24_000
_MAX_INPUT_BYTES = 5000
_UNMARKED = re.compile(r"-(Chirp|Studio|Journey)")
_TIMEOUT_S = 60
_HEADER_BYTES = 44


@dataclass(frozen=True, kw_only=True)
class GoogleVoice:
    """One of Google's voices; without a ``voice`` Google picks one for the language.

    ``usd_per_million`` is the price of a million characters, None when it is not configured.
    """

    language: str = "en-US"
    voice: str | None = None
    url: str = _GOOGLE
    usd_per_million: float | None = None

    @classmethod
    def from_env(cls, language: str = "en-US") -> GoogleVoice:
        """``GV_TTS_VOICE`` names the voice for its own language, ``GV_TTS_PRICE`` the price."""
        named = os.environ.get(VOICE_ENV) or None
        mine = named is not None and named.lower().startswith(f"{language.lower()}-")
        price = os.environ.get(PRICE_ENV)
        return cls(
            language=language,
            voice=named if mine else None,
            url=os.environ.get(ENV, _GOOGLE).rstrip("/"),
            usd_per_million=float(price) if price else None,
        )

    @property
    def info(self) -> VoiceInfo:
        """Who speaks."""
        return VoiceInfo(
            name=self.voice or f"google-{self.language}",
            language=self.language,
            licence="Google Cloud Platform Terms of Service",
            maker="Google Cloud Text-to-Speech",
            offline=False,
        )

    def speak(self, text: str, to: Path) -> Speech:
        """Speak a line into a WAV file; raises VoiceUnavailableError for any other answer."""
        words = text.split()
        ssml = marked(words)
        timed = len(ssml.encode()) <= _MAX_INPUT_BYTES and not _UNMARKED.search(self.voice or "")
        body = self._body({"ssml": ssml} if timed else {"text": " ".join(words)}, timed)
        answer = self._asked(body)
        sound = base64.b64decode(answer.get("audioContent", ""))
        if len(sound) <= _HEADER_BYTES:
            raise VoiceUnavailableError(f"{self.info.name} answered without sound")
        to.write_bytes(sound)
        count = len(f"<speak>{' '.join(words)}</speak>") if timed else len(" ".join(words))
        price = self.usd_per_million
        length = (len(sound) - _HEADER_BYTES) / 2 / _RATE
        return Speech(
            path=to,
            words=_words(words, answer.get("timepoints", ()), length) if timed else None,
            characters=count,
            cost_microusd=None if price is None else round(count * price),
        )

    def _body(self, given: dict[str, str], timed: bool) -> dict[str, Any]:
        voice = {"languageCode": self.language, **({"name": self.voice} if self.voice else {})}
        return {
            "input": given,
            "voice": voice,
            "audioConfig": {"audioEncoding": "LINEAR16", "sampleRateHertz": _RATE},
            **({"enableTimePointing": ["SSML_MARK"]} if timed else {}),
        }

    def _asked(self, body: dict[str, Any]) -> dict[str, Any]:
        from google.auth.exceptions import GoogleAuthError
        from requests import RequestException

        try:
            url = f"{self.url}/v1beta1/text:synthesize"
            response = self._session.post(url, json=body, timeout=_TIMEOUT_S)
            if response.status_code != 200:
                raise VoiceUnavailableError(f"{self.info.name}: {_refusal(response)}")
            found = response.json()
        except (GoogleAuthError, RequestException, ValueError) as error:
            said = f"{self.info.name} does not answer ({type(error).__name__})"
            raise VoiceUnavailableError(said) from error
        return found if isinstance(found, dict) else {}

    @cached_property
    def _session(self) -> AuthorizedSession:
        import google.auth
        from google.auth.credentials import AnonymousCredentials
        from google.auth.transport.requests import AuthorizedSession

        if self.url.startswith("http://"):
            return AuthorizedSession(AnonymousCredentials())
        credentials, _ = google.auth.default(scopes=[_SCOPE])
        return AuthorizedSession(credentials)


def marked(words: list[str]) -> str:
    """The words as SSML with a mark before each; nothing in them is read as markup."""
    parts = (f'<mark name="{number}"/>{escape(word)}' for number, word in enumerate(words))
    return f"<speak>{' '.join(parts)}</speak>"


def _words(words: list[str], points: Any, length_s: float) -> tuple[Word, ...] | None:
    """The words from mark to mark; None unless every word has its own."""
    times = {str(p.get("markName")): float(p.get("timeSeconds", 0.0)) for p in points}
    if any(str(number) not in times for number in range(len(words))):
        return None
    edges = [*(times[str(number)] for number in range(len(words))), length_s]
    return tuple(
        Word(text=word, start_s=start, end_s=max(start, end), confidence=1.0)
        for word, (start, end) in zip(words, pairwise(edges), strict=True)
    )


def _refusal(response: Any) -> str:
    try:
        error = response.json().get("error", {})
        return f"{response.status_code} {error.get('status', '')} {error.get('message', '')}"
    except (ValueError, AttributeError):
        return str(response.status_code)
