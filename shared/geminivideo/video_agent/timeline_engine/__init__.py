"""Timelines as values: edited by pure functions, exchanged as OpenTimelineIO, rendered by ffmpeg.

``model`` has the types and their rules, ``edits`` the operations, ``otio`` the exchange,
``variation`` the way from and to the renderer's request, ``compose`` the rendering.
"""

from __future__ import annotations

from geminivideo.video_agent.timeline_engine.compose import compose as compose
from geminivideo.video_agent.timeline_engine.edits import OVERLAP_RULES as OVERLAP_RULES
from geminivideo.video_agent.timeline_engine.edits import History as History
from geminivideo.video_agent.timeline_engine.edits import OverlapError as OverlapError
from geminivideo.video_agent.timeline_engine.edits import add_clip as add_clip
from geminivideo.video_agent.timeline_engine.edits import add_media as add_media
from geminivideo.video_agent.timeline_engine.edits import add_track as add_track
from geminivideo.video_agent.timeline_engine.edits import animate_clip as animate_clip
from geminivideo.video_agent.timeline_engine.edits import create as create
from geminivideo.video_agent.timeline_engine.edits import move as move
from geminivideo.video_agent.timeline_engine.edits import remove as remove
from geminivideo.video_agent.timeline_engine.edits import ripple_delete as ripple_delete
from geminivideo.video_agent.timeline_engine.edits import ripple_insert as ripple_insert
from geminivideo.video_agent.timeline_engine.edits import ripple_trim as ripple_trim
from geminivideo.video_agent.timeline_engine.edits import roll as roll
from geminivideo.video_agent.timeline_engine.edits import set_transition as set_transition
from geminivideo.video_agent.timeline_engine.edits import slide as slide
from geminivideo.video_agent.timeline_engine.edits import slip as slip
from geminivideo.video_agent.timeline_engine.edits import split as split
from geminivideo.video_agent.timeline_engine.edits import trim as trim
from geminivideo.video_agent.timeline_engine.model import Clip as Clip
from geminivideo.video_agent.timeline_engine.model import (
    InvalidTimelineError as InvalidTimelineError,
)
from geminivideo.video_agent.timeline_engine.model import Media as Media
from geminivideo.video_agent.timeline_engine.model import Timeline as Timeline
from geminivideo.video_agent.timeline_engine.model import Track as Track
from geminivideo.video_agent.timeline_engine.model import TrackKind as TrackKind
from geminivideo.video_agent.timeline_engine.model import Transition as Transition
from geminivideo.video_agent.timeline_engine.model import UnknownClipError as UnknownClipError
from geminivideo.video_agent.timeline_engine.otio import (
    UnreadableTimelineError as UnreadableTimelineError,
)
from geminivideo.video_agent.timeline_engine.otio import from_otio as from_otio
from geminivideo.video_agent.timeline_engine.otio import to_otio as to_otio
from geminivideo.video_agent.timeline_engine.variation import NotOneRowError as NotOneRowError
from geminivideo.video_agent.timeline_engine.variation import empty_like as empty_like
from geminivideo.video_agent.timeline_engine.variation import in_row as in_row
from geminivideo.video_agent.timeline_engine.variation import request_of as request_of
from geminivideo.video_agent.timeline_engine.variation import timeline_of as timeline_of
