"""Every Pro tool by its name: what the service answers and the render job can do."""

from __future__ import annotations

from geminivideo.services import pro_ads, pro_edit, pro_tools, pro_voice
from geminivideo.services.pro_task import Tool

BY_NAME: dict[str, Tool] = {
    tool.name: tool
    for tool in (*pro_tools.TOOLS, *pro_edit.TOOLS, *pro_ads.TOOLS, *pro_voice.TOOLS)
}
