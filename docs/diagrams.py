"""The drawings of docs/architecture.md, written by `python -m docs.generate`."""

from dataclasses import dataclass, field
from html import escape
from typing import Final

from app.base.tasks import build_tasks
from app.model.network import DECODER_CHANNELS

_INK: Final = "#1d1d1b"
_PAPER: Final = "#fcfcfa"
# By what a box is: input, network, what is computed from it, what a person keeps.
_FILLS: Final = {"input": "#dfeafc", "part": "#f4eddd", "task": "#e2f2e1", "file": "#f6e3ef"}
_LINE_HEIGHT: Final = 17
_STAGE_TITLES: Final = ("stage 1", "stage 2", "stage 3", "stage 4")
# Of ResNet50, from stride 4 to 32.
_STAGE_CHANNELS: Final = (256, 512, 1024, 2048)


@dataclass(frozen=True)
class _Box:
    x: int
    y: int
    width: int
    height: int

    @property
    def left(self) -> tuple[int, int]:
        return self.x, self.y + self.height // 2

    @property
    def right(self) -> tuple[int, int]:
        return self.x + self.width, self.y + self.height // 2

    @property
    def top(self) -> tuple[int, int]:
        return self.x + self.width // 2, self.y

    @property
    def bottom(self) -> tuple[int, int]:
        return self.x + self.width // 2, self.y + self.height


@dataclass
class _Canvas:
    width: int
    height: int
    title: str
    parts: list[str] = field(default_factory=list)

    def box(self, place: tuple[int, int], size: tuple[int, int], kind: str, *lines: str) -> _Box:
        """A box with its lines of text in the middle, the first one bold."""
        box = _Box(*place, *size)
        self.parts.append(
            f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="6" '
            f'fill="{_FILLS[kind]}" stroke="{_INK}"/>'
        )
        x, middle = box.x + box.width // 2, box.y + box.height / 2
        for index, line in enumerate(lines):
            y = middle + (index - (len(lines) - 1) / 2) * _LINE_HEIGHT + 5
            weight = ' font-weight="bold"' if index == 0 else ""
            self.parts.append(
                f'<text x="{x}" y="{y:g}" text-anchor="middle"{weight}>{escape(line)}</text>'
            )
        return box

    def arrow(self, *points: tuple[int, int], dashed: bool = False) -> None:
        """A line through points with a head at its end."""
        path = "M" + "L".join(f"{x},{y}" for x, y in points)
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<path d="{path}" fill="none" stroke="{_INK}" stroke-width="1.6"'
            f'{dashes} marker-end="url(#head)"/>'
        )

    def note(self, x: int, y: int, text: str, anchor: str = "middle") -> None:
        """A text without a box."""
        self.parts.append(
            f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="13">{escape(text)}</text>'
        )

    def render(self) -> str:
        """As a file."""
        body = "\n".join(self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" role="img" '
            f'font-family="DejaVu Sans, Verdana, sans-serif" font-size="14" fill="{_INK}">\n'
            f"<title>{escape(self.title)}</title>\n"
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
            f'markerHeight="8" orient="auto"><path d="M0,0L10,5L0,10z" fill="{_INK}"/></marker>'
            "</defs>\n"
            f'<rect width="{self.width}" height="{self.height}" fill="{_PAPER}"/>\n{body}\n</svg>\n'
        )


def draw_network() -> str:
    """The network as SVG: backbone, pyramid, branches, heads."""
    canvas = _Canvas(1000, 560, "The network: ResNet50, feature pyramid, branches, heads")
    photo = canvas.box((20, 20), (170, 50), "input", "photo", "(N, 3, H, W) uint8")
    stem = canvas.box((20, 110), (170, 50), "part", "stem", "stride 2, 64 channels")
    canvas.arrow(photo.bottom, stem.top)
    canvas.note(112, 95, "standardised, padded", "start")
    stages, levels, branches = [], [], []
    for index, (title, channels) in enumerate(zip(_STAGE_TITLES, _STAGE_CHANNELS, strict=True)):
        y, stride = 200 + 90 * index, 4 * 2**index
        stage = canvas.box((20, y), (170, 50), "part", title, f"stride {stride}, {channels} ch.")
        level = canvas.box((250, y), (140, 50), "part", "pyramid", f"{DECODER_CHANNELS} channels")
        blocks = max(1, index)
        text = "one 3 x 3 block" if blocks == 1 else f"{blocks} blocks, x 2 between"
        branch = canvas.box((450, y), (170, 50), "part", "branch", text)
        canvas.arrow((stages or [stem])[-1].bottom, stage.top)
        canvas.arrow(stage.right, level.left)
        canvas.arrow(level.right, branch.left)
        if levels:
            canvas.arrow(level.top, levels[-1].bottom)
        stages.append(stage)
        levels.append(level)
        branches.append(branch)
    canvas.note(332, 268, "x 2, added", "start")
    fused = canvas.box((680, 310), (120, 60), "part", "sum", "stride 4,", f"{DECODER_CHANNELS} ch.")
    for branch, shift in zip(branches, (-18, -6, 6, 18), strict=True):
        x, y = fused.left
        canvas.arrow(branch.right, (650, branch.right[1]), (650, y + shift), (x, y + shift))
    tasks = build_tasks(superstructures=True)
    for index, task in enumerate(tasks):
        words = "metres" if task.kind == "metres" else f"{task.num_classes} classes"
        head = canvas.box(
            (840, 110 + 110 * index), (145, 60), "task", task.name, words,
            f"stride {task.stride_px}",
        )  # fmt: skip
        x, y = fused.right
        canvas.arrow((x, y), (825, y), (825, head.left[1]), head.left)
        if task.stride_px == 2:
            y = head.top[1] - 14
            canvas.arrow(stem.right, (640, stem.right[1]), (640, y), (head.top[0], y), head.top,
                         dashed=True)  # fmt: skip
    canvas.note(210, 128, "dashed: where exactly a line or an object is", "start")
    canvas.note(985, 535, "logits upsampled to H x W; superstructures only where asked for", "end")
    return canvas.render()


def draw_system() -> str:
    """The way from labels to a take-off as SVG: what reads what, and what is written."""
    canvas = _Canvas(1020, 390, "From photos with labels to a trained model, and to its use")
    names = ("RID", "Roofline", "AIRS", "own roofs")
    texts = ("planes, objects", "lines, heights", "roof or not", "planes in a GIS")
    sources = [
        canvas.box((20, 20 + 62 * index), (150, 48), "input", name, text)
        for index, (name, text) in enumerate(zip(names, texts, strict=True))
    ]
    check = canvas.box(
        (230, 20), (160, 60), "part", "look at labels", "refuses what would", "teach wrongly"
    )
    sample = canvas.box(
        (230, 118), (160, 60), "part", "sample", "image and targets,", "the rest unknown"
    )
    for source in sources:
        x, y = sample.left
        canvas.arrow(source.right, (200, source.right[1]), (200, y), (x, y))
    canvas.arrow(check.bottom, sample.top)
    step = canvas.box(
        (450, 118), (160, 60), "part", "training step", "losses summed over", "all known pixels"
    )
    canvas.arrow(sample.right, step.left)
    validation = canvas.box((450, 20), (160, 60), "part", "validation", "score by dataset")
    canvas.arrow(step.top, validation.bottom)
    checkpoint = canvas.box(
        (450, 216), (160, 60), "file", "checkpoint", "a stopped job", "resumes from it"
    )
    canvas.arrow(step.bottom, checkpoint.top)
    model = canvas.box(
        (665, 68), (150, 60), "file", "model folder", "weights, model card,", "metrics, report"
    )
    canvas.arrow(validation.right, (640, validation.right[1]), (640, model.left[1]), model.left)
    uses = (
        ("predict", "rasters"), ("evaluate", "scores"), ("serve", "HTTP"), ("export", "torch only"),
    )  # fmt: skip
    boxes = [
        canvas.box((860, 20 + 62 * index), (125, 48), "task", name, text)
        for index, (name, text) in enumerate(uses)
    ]
    for box in boxes:
        x, y = model.right
        canvas.arrow((x, y), (835, y), (835, box.left[1]), box.left)
    roofs = canvas.box((670, 310), (140, 60), "part", "roofs", "planes, lines,", "buildings")
    takeoff = canvas.box((860, 310), (125, 60), "file", "take-off", "GeoPackage,", "page, sums")
    canvas.arrow(roofs.right, takeoff.left)
    x, y = boxes[0].right
    canvas.arrow((x, y), (x + 18, y), (x + 18, 285), (740, 285), roofs.top)
    canvas.box(
        (20, 310), (590, 60), "part", "process 1 of the job",
        "starts and watches training: inputs, signals, failures, hosts, locks",
    )  # fmt: skip
    return canvas.render()
