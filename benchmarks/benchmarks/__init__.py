"""The suites that asv runs; names that start with time_, track_ or peakmem_ are measured."""

from __future__ import annotations

import sys
from pathlib import Path

# asv finds the suites by an importer of its own; a worker that starts afresh knows only the path.
ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.append(ROOT)
