"""What an audit of a dataset says: findings, counts, and sums over its samples."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor

from app.base.dataset_names import DatasetName
from app.base.errors import SampleError, printable
from app.base.tasks import IGNORE_INDEX, SOME_ROOF, find_task
from app.data.files.header import RasterHeader
from app.data.findings.tools import natural_order
from app.data.height_scale import HeightCount
from app.data.sample import BadFile, Sample

_MAX_SIZES_SHOWN: Final = 5
# Scales further off than by this factor are not the release's.
_USUAL_SCALES: Final = 1.2

Severity = Literal["error", "warning", "info"]
# The worst first: the order of all tables.
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "info")

# Every kind of finding, in the order in which reports list them.
Kind = Literal[
    "cannot be used",
    "damaged file",
    "damaged feature",
    "doubtful",
    "outside of all photos",
    "overlapping features",
    "listed but absent",
    "masks look binary",
    "same tile in two splits",
    "image without mask",
    "mask without image",
    "in no list",
    "same id",
    "identical images",
    "identical images in two splits",
    "splits overlap",
    "mixed sizes",
    "no georeference",
    "mixed georeference",
    "assumed scale",
    "unusual scale",
    "class absent",
    "class numbers",
    "mixed classes",
    "labels are inverted",
    "labels are shifted",
    "labels do not fit photos",
    "directions are turned",
    "constant image",
    "nothing labelled",
    "unusual lines",
    "unusual heights",
    "left out",
    "label values",
]


@dataclass(frozen=True)
class Finding:
    """One thing a person may have to act on.

    Attributes:
        severity: "error": training cannot use it. "warning": training uses it, and it is probably
            not what you want. "info": a known trait that the readers take care of.
        dataset: Whose.
        kind: What sort of thing, for grouping.
        path: The file or folder to look at.
        what: What was found, in one line.
        remedy: What to do about it, in one line; empty where nothing needs doing.
    """

    severity: Severity
    dataset: DatasetName
    kind: Kind
    path: Path
    what: str
    remedy: str

    def to_json(self) -> dict[str, str]:
        """Plain texts."""
        return {
            "severity": self.severity,
            "kind": self.kind,
            "path": printable(str(self.path)),
            "what": printable(self.what),
            "remedy": printable(self.remedy),
        }


@dataclass
class Tally:
    """Sums over samples, or over parts of one.

    Attributes:
        sizes_px: Samples by "width x height".
        gsds_m: Metres per pixel of every sample.
        segments: (256,) pixels by label of a Sample.
        superstructures: (256,) pixels by label of a Sample.
        lines: (4, 256) pixels by label of a Sample, for each kind of line.
        num_px: Pixels of the samples.
        num_heights: Those of them with a known height.
        height_sum_m: Sum of the known heights.
        height_range_m: The lowest and the highest; (inf, -inf) where none is known.
    """

    sizes_px: Counter[str] = field(default_factory=Counter)
    gsds_m: list[float] = field(default_factory=list)
    segments: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    superstructures: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    lines: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((4, 256), np.int64))
    num_px: int = 0
    num_heights: int = 0
    height_sum_m: float = 0.0
    height_range_m: tuple[float, float] = (np.inf, -np.inf)

    def add(self, other: "Tally") -> None:
        """Take in the sums of other samples."""
        self.sizes_px += other.sizes_px
        self.gsds_m += other.gsds_m
        self.segments += other.segments
        self.superstructures += other.superstructures
        self.lines += other.lines
        self.num_px += other.num_px
        self.num_heights += other.num_heights
        self.height_sum_m += other.height_sum_m
        lowest, highest = zip(self.height_range_m, other.height_range_m, strict=True)
        self.height_range_m = (min(lowest), max(highest))

    def class_shares(self) -> dict[str, dict[str, float]]:
        """Share of the known pixels by class, for each task of which anything is known.

        Kinds of lines do not exclude each other.
        """
        segments = find_task("segments").class_names
        if self.segments[SOME_ROOF]:
            segments = (*segments, "some roof")
        shares = {
            "segments": _shares(segments, self.segments),
            "lines": {},
            "superstructures": _shares(
                find_task("superstructures").class_names, self.superstructures
            ),
        }
        for kind, counts in zip(find_task("lines").class_names, self.lines, strict=True):
            if known := num_known(counts):
                shares["lines"][kind] = int(counts[1]) / known
        return {task: of_task for task, of_task in shares.items() if of_task}

    def known_shares(self) -> dict[str, float]:
        """Share of all pixels that are labelled, by task; of lines by kind."""
        kinds = find_task("lines").class_names
        known = {
            "segments": num_known(self.segments),
            **{f"lines/{kind}": num_known(self.lines[i]) for i, kind in enumerate(kinds)},
            "depth": self.num_heights,
            "superstructures": num_known(self.superstructures),
        }
        return {task: count / max(1, self.num_px) for task, count in known.items()}


def tally_sample(sample: Sample) -> Tally:
    """The sums of one sample."""
    height_px, width_px = sample["segments"].shape
    depth = sample["depth"].numpy()
    known = depth[np.isfinite(depth)]
    return Tally(
        sizes_px=Counter({f"{width_px} x {height_px}": 1}),
        gsds_m=[sample["gsd_m"]],
        segments=count_values(sample["segments"].numpy()),
        superstructures=count_values(sample["superstructures"].numpy()),
        lines=np.stack([count_values(kind) for kind in sample["lines"].numpy()]),
        num_px=height_px * width_px,
        num_heights=known.size,
        height_sum_m=float(known.sum(dtype=np.float64)),
        height_range_m=(float(known.min()), float(known.max())) if known.size else (inf, -inf),
    )


def count_values(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """(256,) how often each value occurs."""
    return np.bincount(labels.ravel(), minlength=256).astype(np.int64, copy=False)


@dataclass
class AuditReport:
    """What an audit found.

    Attributes:
        dataset: Whose.
        root: The folder given.
        counts: How many of what, in the order to show.
        layout: How the files hold it, where that differs from copy to copy.
        tally: Sums over the samples that could be read.
        heights: How many heights they have, and how many of those are of no use.
        crs: Images by coordinate reference system; "none" without georeference.
        findings: The worst first.
        unusable: Why training cannot use the dataset at all; None if it can.
        bad_files: Samples, or tiles, that training cannot use, by name.
        used_ids: Samples that training or its validation would use.
    """

    dataset: DatasetName
    root: Path
    counts: dict[str, int] = field(default_factory=dict)
    layout: str = ""
    tally: Tally = field(default_factory=Tally)
    heights: HeightCount = field(default_factory=HeightCount)
    crs: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    unusable: str | None = None
    bad_files: dict[str, BadFile] = field(default_factory=dict)
    used_ids: set[str] = field(default_factory=set)

    def add(self, severity: Severity, kind: Kind, path: Path, what: str, remedy: str = "") -> None:
        """One more finding."""
        self.findings.append(Finding(severity, self.dataset, kind, path, what, remedy))

    def add_error(self, error: SampleError) -> None:
        """A sample that the reader cannot use."""
        self.add_bad(BadFile.of(error), "damaged file")

    def add_bad(self, bad_file: BadFile, kind: Kind) -> None:
        """A sample that the reader cannot use, or a file that it misses."""
        self.bad_files.setdefault(bad_file.sample_id, bad_file)
        self.findings.append(finding_of(self.dataset, bad_file, kind))

    def check_scale(self, usual_gsd_m: float, folder: Path) -> None:
        """Findings on sizes and scales that differ from each other or from the release's."""
        sizes_px = self.tally.sizes_px.most_common()
        if len(sizes_px) > 1:
            found = ", ".join(f"{count} of {size}" for size, count in sizes_px[:_MAX_SIZES_SHOWN])
            what = f"images of {len(sizes_px)} sizes: {found}"
            self.add("warning", "mixed sizes", folder, what, "see that none was cut or resized")
        for gsd_m, count in sorted(Counter(f"{gsd_m:.3g}" for gsd_m in self.tally.gsds_m).items()):
            if abs(math.log(float(gsd_m) / usual_gsd_m)) > math.log(_USUAL_SCALES):
                what = f"{count} images of {gsd_m} m per pixel, where the release has {usual_gsd_m}"
                remedy = "correct the georeference, or use the release's own files"
                self.add("warning", "unusual scale", folder, what, remedy)

    def check_georeference(
        self, headers: Mapping[str, RasterHeader], paths: Mapping[str, Path], assumed_gsd_m: float
    ) -> None:
        """Findings on where images lie, and on scales that nothing in a file says.

        Args:
            headers: Headers of images, by sample.
            paths: Paths of the same images, by sample.
            assumed_gsd_m: Metres per pixel that are taken where nothing says so.
        """
        self.crs.update(header.crs or "none" for header in headers.values())
        assumed: dict[str, list[str]] = {}
        for sample_id, header in headers.items():
            if what := header.assumed_scale(assumed_gsd_m):
                assumed.setdefault(what, []).append(sample_id)
        for what, sample_ids in assumed.items():
            path = paths[sample_ids[0]]
            kind: Kind = "assumed scale"
            if headers[sample_ids[0]].georeference is None:
                kind = "no georeference"
            count = f"{len(sample_ids)} of {len(headers)} images have"
            remedy = "see that it is right, or give them a georeference"
            self.add("warning", kind, path, f"{count} {what}", remedy)
        usual = self.crs.most_common(1)[0][0] if self.crs else "none"
        for sample_id, header in headers.items():
            if header.crs not in (None, usual):
                what = f"coordinate reference system {header.crs}, most others have {usual}"
                remedy = "give all images the same one"
                self.add("warning", "mixed georeference", paths[sample_id], what, remedy)

    def sort(self) -> None:
        """Bring the findings into the order of all reports, which no timing changes."""
        kinds = get_args(Kind)
        self.findings.sort(
            key=lambda finding: (
                SEVERITIES.index(finding.severity),
                kinds.index(finding.kind),
                natural_order(str(finding.path)),
                finding.what,
            )
        )

    def to_json(self) -> dict[str, object]:
        """Everything, in plain types."""
        gsds_m = sorted(self.tally.gsds_m)
        lowest_m, highest_m = self.tally.height_range_m
        num_heights = self.tally.num_heights
        return {
            "root": printable(str(self.root)),
            "unusable": self.unusable,
            "counts": self.counts,
            "layout": self.layout,
            "sizes_px": dict(sorted(self.tally.sizes_px.items())),
            "gsd_m": {
                "lowest": gsds_m[0],
                "median": gsds_m[len(gsds_m) // 2],
                "highest": gsds_m[-1],
            }
            if gsds_m
            else None,
            "crs": dict(sorted(self.crs.items())),
            "class_shares": self.tally.class_shares(),
            "known_shares": self.tally.known_shares(),
            "heights_m": {
                "lowest": lowest_m,
                "mean": self.tally.height_sum_m / num_heights,
                "highest": highest_m,
            }
            if num_heights
            else None,
            "height_values": asdict(self.heights) if self.heights.num_values else None,
            "findings": [finding.to_json() for finding in self.findings],
        }


def finding_of(dataset: DatasetName, bad_file: BadFile, kind: Kind) -> Finding:
    """A sample that a reader refused. The reader's message ends with the remedy."""
    what, _, remedy = bad_file.reason.rpartition("; ")
    return Finding("error", dataset, kind, bad_file.path, what, remedy)


def is_constant(image: Tensor) -> bool:
    """Whether all pixels of (3, H, W) are equal."""
    return bool((image == image[:, :1, :1]).all())


def _shares(names: Sequence[str], counts: npt.NDArray[np.int64]) -> dict[str, float]:
    known = num_known(counts)
    return {name: int(counts[i]) / known for i, name in enumerate(names)} if known else {}


def num_known(counts: npt.NDArray[np.int64]) -> int:
    """How many of the counted pixels are labelled."""
    return int(counts.sum() - counts[IGNORE_INDEX])
