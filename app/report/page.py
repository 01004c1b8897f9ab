"""The page report.html: templates and their style, put together as one file."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES_DIR: Final = Path(__file__).parent / "templates"


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES_DIR),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def read_style() -> str:
    """The style sheet of the page."""
    return (_TEMPLATES_DIR / "report.css").read_text(encoding="utf-8")


def render_page(values: Mapping[str, object]) -> str:
    """The whole document.

    Args:
        values: The variables of report.html.j2 and its parts, except the style; all are escaped,
            except Markup.
    """
    page = _environment().get_template("report.html.j2")
    return page.render(values, style=Markup(read_style()))
