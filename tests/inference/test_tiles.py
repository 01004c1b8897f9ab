"""Photos larger than a window: what is predicted of them, and how much is kept meanwhile."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from app.base.errors import ConfigError
from app.base.tasks import ALL_TASKS, TASK_NAMES
from app.base.window import Window
from app.inference.blending import Blender, fit_window, spread_windows
from app.inference.predictor import Predictor
from app.inference.tiles import predict_blocks
from app.model.devices import Compute
from app.model.network import HybridRoofModel
from tests.support.steps import OUT_OF_MEMORY

COMPUTE = Compute(torch.device("cpu"))
NUM_CLASSES = {task.name: task.num_classes for task in ALL_TASKS}


class InMemory:
    """A source of windows; knows which were asked for."""

    def __init__(self, image):
        self.image = image
        self.height_px, self.width_px = image.shape[-2:]
        self.asked = []

    def read_image(self, window):
        self.asked.append(window)
        part = self.image[:, window.rows, window.columns]
        assert part.shape[-2:] == (window.height, window.width)
        return part


class Local(nn.Module):
    """Logits of a pixel and its neighbours; beyond a window's edge it sees zeros."""

    def __init__(self, reach_px):
        super().__init__()
        torch.manual_seed(0)
        self.convolutions = nn.ModuleDict(
            {
                name: nn.Conv2d(3, num, 2 * reach_px + 1, padding=reach_px)
                for name, num in NUM_CLASSES.items()
            }
        )

    def forward(self, image, tasks):
        x = image.float() / 64
        return {name: self.convolutions[name](x) for name in tasks}


def photo_of(height, width):
    generator = torch.Generator().manual_seed(0)
    return InMemory(torch.randint(256, (3, height, width), generator=generator).byte())


def predictor_of(model, window_px=64, **settings):
    return Predictor(model, TASK_NAMES, COMPUTE, window_px, **settings)


def assemble(predictor, photo):
    """The blocks put together; each pixel has to come once."""
    whole = {
        name: torch.full((num, photo.height_px, photo.width_px), torch.nan)
        for name, num in NUM_CLASSES.items()
    }
    places = []
    for window, logits in predict_blocks(predictor, photo):
        places.append((window.top, window.left))
        for name, values in logits.items():
            target = whole[name][:, window.rows, window.columns]
            assert target.isnan().all()
            target.copy_(values)
    assert places == sorted(places)
    return whole


def averages(name, logits):
    if name == "depth":
        return logits
    return logits.sigmoid() if name == "lines" else logits.softmax(0)


@pytest.mark.parametrize(
    ("length", "window"), [(65, 64), (100, 64), (3000, 512), (513, 512), (7, 3)]
)
def test_weights_of_windows_add_up_to_one_and_each_pixel_is_finished_once(length, window):
    spans = spread_windows(length, window)
    total, finished = torch.zeros(length), torch.zeros(length)
    for span in spans:
        assert 0 <= span.start <= span.used_start < span.used_end <= span.start + window
        total[span.used_start : span.used_end] += span.weights
        finished[span.used_start : span.finished_end] += 1
    assert torch.allclose(total, torch.ones(length))
    assert (finished == 1).all()
    # What is left for the next window is one ramp, a third of what is shared, whatever the photo's
    # size; and it lies in the middle of that.
    assert {span.used_end - span.finished_end for span in spans[:-1]} == {max(1, window // 12)}
    for span, following in itertools.pairwise(spans):
        ends = span.finished_end - following.start, span.start + window - span.used_end
        assert abs(ends[0] - ends[1]) <= 1


@pytest.mark.parametrize(
    ("length", "expected", "number"),
    # 3072 px: three windows of 1152 share 384 px in all, four of 896 would share 512.
    # 50,000 px: 51 windows of 1152 would be more in all.
    [(1152, 1152, 1), (3072, 1152, 3), (10_000, 1152, 10), (1153, 672, 2), (50_000, 1120, 52)],
)
def test_windows_are_as_large_as_shares_least(length, expected, number):
    side = fit_window(length, 1152, 160)
    spans = spread_windows(length, side, 160)
    assert (side, len(spans)) == (expected, number)
    assert all(span.start + side - following.start >= 160
               for span, following in itertools.pairwise(spans))  # fmt: skip
    # As the network sees every pixel alike where windows begin at multiples of 32.
    assert all(span.start % 32 == 0 for span in spans)
    assert 0 <= spans[-1].start + side - length < 32


@pytest.mark.parametrize("size", [(64, 64), (40, 64), (33, 9)])
def test_a_photo_of_one_window_gets_what_the_network_says(size):
    torch.manual_seed(0)
    model = HybridRoofModel(ALL_TASKS, decoder_channels=32).eval()
    photo = photo_of(*size)
    [block] = predict_blocks(predictor_of(model), photo)
    assert block.window == Window(0, 0, *size)
    with torch.inference_mode():
        expected = model(photo.image[None])
    for name, values in expected.items():
        assert torch.equal(block.logits[name], values[0])


@pytest.mark.parametrize("size", [(200, 150), (64, 300), (65, 66), (40, 129)])
@pytest.mark.parametrize("windows_per_pass", [1, 3])
def test_windows_of_a_network_that_sees_a_pixel_alone_make_the_whole(size, windows_per_pass):
    model, photo = Local(0), photo_of(*size)
    with torch.inference_mode():
        expected = model(photo.image[None], TASK_NAMES)
    got = assemble(predictor_of(model, windows_per_pass=windows_per_pass), photo)
    for name, values in got.items():
        whole = averages(name, expected[name][0])
        assert torch.allclose(averages(name, values), whole, atol=1e-5), name
        # Logits too, where they are not beyond what a probability holds.
        moderate = expected[name][0].abs() < 6
        if name == "lines":
            assert torch.allclose(values[moderate], expected[name][0][moderate], atol=1e-3)


def test_a_wider_view_makes_the_whole_where_windows_overlap_by_more_than_it():
    # 96 px by two windows of 64: they share 32, of which the ramp takes the middle 5.
    model, photo = Local(3), photo_of(96, 96)
    with torch.inference_mode():
        expected = model(photo.image[None], TASK_NAMES)
    got = assemble(predictor_of(model), photo)
    for name, values in got.items():
        whole = averages(name, expected[name][0])
        assert torch.allclose(averages(name, values), whole, atol=1e-5), name


class Strided(nn.Module):
    """Sees squares of 32 px, as a network that shrinks the photo, and the ones beside them."""

    def forward(self, image, tasks):
        squares = nn.functional.avg_pool2d(image.float().mean(1, keepdim=True) / 8, 32)
        around = nn.functional.avg_pool2d(squares, 3, 1, 1, count_include_pad=False)
        large = nn.functional.interpolate(around, size=image.shape[-2:])
        return {name: torch.cat([large * k for k in range(NUM_CLASSES[name])], 1) for name in tasks}


def test_windows_lie_where_a_network_with_strides_says_the_same():
    photo = photo_of(32 * 19, 32 * 23)
    with torch.inference_mode():
        expected = Strided()(photo.image[None], TASK_NAMES)
    got = assemble(predictor_of(Strided(), window_px=256), photo)
    for name, values in got.items():
        whole = averages(name, expected[name][0])
        assert torch.allclose(averages(name, values), whole, atol=1e-5), name


@pytest.mark.parametrize("size", [(130, 200), (201, 65), (77, 300)])
def test_beyond_the_photo_the_last_windows_see_its_reflection(size):
    """As a whole photo that a network brings to a multiple of 32."""
    height, width = size
    photo = photo_of(*size)
    whole = np.pad(photo.image, ((0, 0), (0, -height % 32), (0, -width % 32)), mode="reflect")
    with torch.inference_mode():
        expected = Strided()(torch.from_numpy(whole)[None], TASK_NAMES)["segments"]
    got = assemble(predictor_of(Strided(), window_px=128, windows_per_pass=2), photo)["segments"]
    wanted = averages("segments", expected[0, :, :height, :width])
    edges = averages("segments", got)[:, -1], averages("segments", got)[:, :, -1]
    for edge, expected_edge in zip(edges, (wanted[:, -1], wanted[:, :, -1]), strict=True):
        assert torch.allclose(edge, expected_edge, atol=1e-5)


def test_a_constant_network_leaves_no_seam():
    class Constant(nn.Module):
        def forward(self, image, tasks):
            size = (len(image), 1, *image.shape[-2:])
            return {
                name: torch.linspace(-9, 9, NUM_CLASSES[name])
                .view(1, -1, 1, 1)
                .expand(*size[:1], -1, *size[2:])
                for name in tasks
            }

    for name, values in assemble(predictor_of(Constant()), photo_of(170, 150)).items():
        flat = values.flatten(1)
        assert torch.allclose(flat, flat[:, :1].expand_as(flat), atol=1e-3), name


def test_what_is_kept_does_not_grow_with_the_photo():
    kept = []
    for height in (200, 1000):
        blender = Blender(150)
        most = 0
        for row in spread_windows(height, 64):
            for column in spread_windows(150, 64):
                _, logits = blender.add({"segments": torch.zeros(18, 64, 64)}, row, column)
                sums = [*blender._below.values(), *blender._beside.values(), *logits.values()]
                storages = {x.untyped_storage().data_ptr(): x.untyped_storage() for x in sums}
                most = max(most, sum(storage.nbytes() for storage in storages.values()))
        kept.append(most)
    # The ramps below a row, the one beside a window, and the window's finished part.
    assert max(kept) <= 4 * 18 * (5 * 150 + 64 * 5 + 64 * 64)
    photo = photo_of(1000, 150)
    list(predict_blocks(predictor_of(Local(0)), photo))
    assert max(max(window.height, window.width) for window in photo.asked) == 64


class ShortOfMemory(Local):
    """Raises what PyTorch does as long as a pass has more windows than fit."""

    def __init__(self, num_fitting, error):
        super().__init__(0)
        self.num_fitting, self.error = num_fitting, error
        self.passes = []

    def forward(self, image, tasks):
        self.passes.append(len(image))
        if len(image) > self.num_fitting:
            raise self.error
        return super().forward(image, tasks)


@pytest.mark.parametrize("error", [*OUT_OF_MEMORY, MemoryError("std::bad_alloc")])
def test_where_memory_runs_out_passes_have_half_as_many_windows(error, caplog):
    photo = photo_of(200, 150)
    model = ShortOfMemory(1, error)
    predictor = predictor_of(model, windows_per_pass=4)
    got = assemble(predictor, photo)
    assert model.passes[:3] == [4, 2, 1]
    assert set(model.passes[3:]) == {1}
    assert [record.getMessage()[:45] for record in caplog.records] == [
        "out of memory with 4 windows a pass of predic",
        "out of memory with 2 windows a pass of predic",
    ]
    expected = assemble(predictor_of(Local(0)), photo)
    assert all(torch.equal(got[name], expected[name]) for name in got)


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_where_one_window_does_not_fit_a_line_says_what_to_do(error):
    predictor = predictor_of(ShortOfMemory(0, error), window_px=1024, windows_per_pass=4)
    with pytest.raises(
        ConfigError,
        match=r"^out of memory with a single window of prediction, 150 x 200 px; lower "
        r"crop_size_px, which is the side of a window, or take an instance with more memory$",
    ):
        list(predict_blocks(predictor, photo_of(200, 150)))


def test_another_error_is_not_taken_for_it():
    predictor = predictor_of(ShortOfMemory(0, RuntimeError("mat1 and mat2 shapes")))
    with pytest.raises(RuntimeError, match="mat1"):
        list(predict_blocks(predictor, photo_of(64, 64)))
