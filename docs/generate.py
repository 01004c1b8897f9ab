"""Write the generated parts of the documents: `python -m docs.generate` in the root."""

from pathlib import Path

from app.metrics.table import render_metrics_table
from docs.diagrams import draw_network, draw_system
from docs.hyperparameters_page import render_hyperparameters

_DOCS_DIR = Path(__file__).parent
# What is drawn, by its file below docs/.
DRAWINGS = {"images/network.svg": draw_network, "images/system.svg": draw_system}
TABLE_START = (
    "<!-- Written by docs/generate.py from app/metrics/definitions.py: change it there. -->"
)
TABLE_END = "<!-- End of what docs/generate.py writes. -->"


def render_metrics_page() -> str:
    """docs/metrics.md with its table as the code has it; the text around the table is kept."""
    page = (_DOCS_DIR / "metrics.md").read_text()
    before, _, rest = page.partition(TABLE_START)
    _, _, after = rest.partition(TABLE_END)
    return f"{before}{TABLE_START}\n\n{render_metrics_table()}\n{TABLE_END}{after}"


def main() -> None:
    """Write docs/metrics.md, docs/hyperparameters.md and the drawings of docs/architecture.md."""
    (_DOCS_DIR / "metrics.md").write_text(render_metrics_page())
    (_DOCS_DIR / "hyperparameters.md").write_text(render_hyperparameters())
    for name, draw in DRAWINGS.items():
        (_DOCS_DIR / name).write_text(draw())


if __name__ == "__main__":
    main()
