"""Where training samples are made: by data workers, or by the device of what workers cut."""

from app.settings.hyperparameters import Hyperparameters


def device_makes_samples(hyperparameters: Hyperparameters, device: str) -> bool:
    """Whether a kind of device, "cpu" or "cuda", makes the samples that it trains on.

    A GPU does: workers then only read, cut, and draw shapes. On a CPU workers make them, since
    OpenCV takes a fraction of the time there that torch takes; and so they do where roofs are laid
    onto other ground, which needs windows that are made.
    """
    return device == "cuda" and hyperparameters.new_ground_fraction == 0
