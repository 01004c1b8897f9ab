"""What files of roofs say about where they come from."""

from dataclasses import dataclass
from datetime import datetime

from app.base.errors import printable


@dataclass(frozen=True)
class Origin:
    """Where the roofs of a photo come from.

    Attributes:
        model: The model by which a person finds it: its name, its digest.
        software: Name and version of what found the roofs.
        stamp: What a format that has to name a time says, in UTC. Files are byte for byte equal
            only where it is: it is of the model or of the photo, not of the clock.
        no_heights: Why planes have no pitch, as "the model was not trained on heights"; empty
            where heights were predicted.
    """

    model: str
    software: str
    stamp: datetime
    no_heights: str = ""

    def as_texts(self) -> dict[str, str]:
        """For people, by name; nothing that is empty."""
        texts = {"model": self.model, "software": self.software, "no_heights": self.no_heights}
        return {name: printable(text) for name, text in texts.items() if text}
