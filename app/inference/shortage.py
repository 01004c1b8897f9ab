"""What is said where memory runs out while photos are predicted, scored or drawn."""

import contextlib
from collections.abc import Iterator

from app.base.errors import ConfigError, first_line
from app.model.devices import is_out_of_memory


@contextlib.contextmanager
def explained_shortage(what: str) -> Iterator[None]:
    """Turns every error that says that memory has run out into one line.

    Args:
        what: What is done inside, such as "scoring 1207 (3000 x 3000 px)".

    Raises:
        ConfigError: In place of such an error.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise ConfigError(
            f"out of memory while {what}: {first_line(error)}; lower num_workers or crop_size_px, "
            "give the container more memory (docker run --memory), or take an instance with more"
        ) from error
