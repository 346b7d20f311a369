"""What ``pulumi up`` runs, and the local cloud's recorder: declare everything, export the doors."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "shared")]

from infra.stack import declare  # noqa: E402

declare(ROOT)
