"""Where the project and, where there is any, real data are."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED_DATA = ROOT / "../shared/data"
REAL_RID = SHARED_DATA / "rid"
