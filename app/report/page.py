"""Pages for people: a template and its style, put together as one file."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES_DIR: Final = Path(__file__).parent / "templates"
_REPORT: Final = _TEMPLATES_DIR / "report.html.j2"


@functools.cache
def _environment(folder: Path) -> Environment:
    return Environment(
        loader=FileSystemLoader([folder, _TEMPLATES_DIR]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def read_style(page: Path = _REPORT) -> str:
    """The style sheet of a page: what all have in common, then its own.

    Args:
        page: Its template, NAME.html.j2; NAME.css is beside it.
    """
    own = page.with_name(page.name.removesuffix(".html.j2") + ".css")
    return "\n".join(
        path.read_text(encoding="utf-8") for path in (_TEMPLATES_DIR / "base.css", own)
    )


def render_page(values: Mapping[str, object], page: Path = _REPORT) -> str:
    """The whole document.

    Args:
        values: The variables of the template and its parts, except the style; all are escaped,
            except Markup.
        page: The template; it finds those beside it, and the parts of report.html.
    """
    template = _environment(page.parent).get_template(page.name)
    return template.render(values, style=Markup(read_style(page)))
