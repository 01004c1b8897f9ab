"""The roof-model training image: HybridRoofModel trained on partially labelled aerial photos."""

import sys

__version__ = "0.1.0"

# Before anything else is imported, which an older Python cannot read.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.stderr.write(
        "this is Python {}.{}, expected 3.11 to 3.13; call .venv/bin/python -m app, which make "
        "setup makes\n".format(*sys.version_info)
    )
    raise SystemExit(2)
