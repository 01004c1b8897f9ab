"""Where the project and, where there is any, real data are."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
REAL_RID = ROOT / "../shared/data/rid"
