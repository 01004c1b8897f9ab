"""What every sample has to be, whichever reader or transform made it."""

from app.base.dataset_names import DATASET_NAMES
from app.base.tasks import BACKGROUND_CLASS, IGNORE_INDEX, SOME_ROOF
from app.data.sample import PLANES, Sample

# The highest label of each plane of labels, but for "unknown".
_HIGHEST = {"segments": SOME_ROOF, "lines": 1, "superstructures": 8}


def check_sample(sample: Sample) -> None:
    """Raise AssertionError where a sample breaks the contract of Sample."""
    height, width = sample["image"].shape[-2:]
    for name, plane in PLANES.items():
        channels = () if plane.num_channels is None else (plane.num_channels,)
        assert sample[name].shape == (*channels, height, width)
        assert sample[name].dtype == plane.dtype
    for name, highest in _HIGHEST.items():
        labels = sample[name]
        assert bool(((labels <= highest) | (labels == IGNORE_INDEX)).all())
    assert BACKGROUND_CLASS < SOME_ROOF < IGNORE_INDEX
    assert sample["dataset"] in DATASET_NAMES
    assert sample["gsd_m"] > 0
