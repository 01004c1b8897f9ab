from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch

from app.base.errors import SampleError
from app.data.lines import draw_lines
from app.data.roofline.dataset import centre_lines
from app.data.sample import PLANES
from tests.support.fakes_roofline import (
    BLOCK_PX,
    SIZE_PX,
    draw_fields,
    open_roofline,
    write_v5,
    write_v73,
)
from tests.support.samples import check_sample

WRITERS = {"v73": write_v73, "v5": write_v5}


def samples_of(path: Path):
    dataset = open_roofline(path)
    return [dataset[index] for index in range(len(dataset))]


def assert_equal(samples, expected):
    assert [sample["sample_id"] for sample in samples] == [s["sample_id"] for s in expected]
    for sample, other in zip(samples, expected, strict=True):
        for key in PLANES:
            torch.testing.assert_close(sample[key], other[key], rtol=0, atol=0, equal_nan=True)


def test_a_sample_is_upright_and_holds_what_matlab_shows(tmp_path: Path):
    fields = draw_fields(5)
    for write in WRITERS.values():
        dataset = open_roofline(write(tmp_path / "imdb.mat", fields).parent, "all", gsd_m=0.07)
        assert len(dataset) == 5
        for index in (0, 4):
            sample = dataset[index]
            check_sample(sample)
            # images(row, column, channel, sample) of MATLAB
            np.testing.assert_array_equal(
                sample["image"].permute(1, 2, 0), fields["images"][..., index]
            )
            np.testing.assert_array_equal(sample["depth"], fields["depths"][..., index])
            assert sample["sample_id"] == f"roofline:{index + 1}"
            assert sample["dataset"] == "roofline"
            assert sample["gsd_m"] == 0.07
            assert bool((sample["segments"] == 255).all())
            assert bool((sample["superstructures"] == 255).all())


def test_protocol(tmp_path: Path):
    dataset = open_roofline(write_v73(tmp_path / "imdb.mat", draw_fields(40)).parent, "train")
    assert (dataset.name, dataset.title) == ("roofline", "Roofline")
    assert dataset.labels == {
        "lines": ("eave", "ridge", "hip"),
        "depth": ("height above ground",),
    }
    assert dataset.span_m == pytest.approx(0.05 * SIZE_PX)
    assert dataset.num_files == len(dataset) == len(dataset.sample_ids) == 32
    assert dataset.missing == []
    rng = np.random.default_rng(0)
    order = dataset.pass_order(rng)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(32))
    assert order.tolist() != dataset.pass_order(rng).tolist()
    assert_equal([dataset.draw(3, 99.0, rng)], [dataset[3]])


def test_lines_are_the_centre_of_their_blocks_and_unknown_in_the_rest(tmp_path: Path):
    sample = samples_of(write_v73(tmp_path / "imdb.mat", draw_fields(1)))[0]
    eave, ridge, hip, valley = sample["lines"]
    in_block = slice(2 * BLOCK_PX, 3 * BLOCK_PX)
    assert bool((eave[8:-8, 2 * BLOCK_PX + 4] == 1).all())
    assert set(eave[8:-8, in_block].unique().tolist()) == {1, 255}
    assert int((eave == 1).sum(1).max()) == 1  # one pixel thick
    assert not eave[:, : 2 * BLOCK_PX].any()
    assert not eave[:, 3 * BLOCK_PX :].any()
    assert bool((ridge[BLOCK_PX + 4, 8:-8] == 1).all())
    assert not hip.any()
    assert bool((valley == 255).all())


@pytest.mark.parametrize("angle_deg", [0, 20, 45, 70, 90])
@pytest.mark.parametrize("phase_px", [0, 4])
def test_the_centre_of_blocks_lies_within_their_half_of_the_line_drawn(angle_deg, phase_px):
    size_px, coarse_px = 225, 25
    centre = np.array([coarse_px / 2, coarse_px / 2]) - 0.5
    step = 40 * np.array([np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))])
    start, end = (np.rint(centre + sign * step).astype(int).tolist() for sign in (-1, 1))
    coarse = cv2.line(np.zeros((coarse_px, coarse_px), np.uint8), start, end, 1)
    blocks = coarse.repeat(BLOCK_PX, 0).repeat(BLOCK_PX, 1)
    blocks = np.roll(blocks, (phase_px, phase_px), (0, 1)).astype(bool)
    lines = centre_lines(np.stack([blocks] * 3))[0]

    true_px = [(np.array(point) + 0.5) * BLOCK_PX - 0.5 + phase_px for point in (start, end)]
    direction = (true_px[1] - true_px[0]) / np.linalg.norm(true_px[1] - true_px[0])
    row, column = np.nonzero(lines == 1)
    inside = (np.minimum(row, column) > 20) & (np.maximum(row, column) < size_px - 20)
    offset = np.stack([column, row], 1)[inside] - true_px[0]
    distance_px = np.abs(offset[:, 0] * direction[1] - offset[:, 1] * direction[0])
    assert len(distance_px) > 100
    assert distance_px.mean() < 2.5
    assert distance_px.max() <= 7  # half a block's diagonal, and rounding
    np.testing.assert_array_equal(lines != 0, blocks)
    drawn = draw_lines(lines[None].repeat(4, 0), 0.05)[0]
    assert not (drawn[blocks] == 0).any()


LAYOUTS = {
    "0..1": lambda f: {**f, "images": f["images"] / np.float32(255)},
    "uint8": lambda f: {
        name: values if name == "depths" else values.astype(np.uint8) for name, values in f.items()
    },
    "double": lambda f: {name: values.astype(np.float64) for name, values in f.items()},
    "big-endian": lambda f: {name: values.astype(">f4") for name, values in f.items()},
    "logical": lambda f: {**f, "elements": f["elements"].astype(bool)},
    "elements 0..255": lambda f: {**f, "elements": f["elements"] * 255},
    "soft elements": lambda f: {**f, "elements": f["elements"] * np.float32(0.6) + 0.3},
    "depth with a channel": lambda f: {**f, "depths": f["depths"][:, :, None]},
    "samples first": lambda f: {name: np.moveaxis(values, -1, 0) for name, values in f.items()},
    "channels last": lambda f: {
        name: np.moveaxis(values, 2, 3) if values.ndim == 4 else values
        for name, values in f.items()
    },
    "channels first": lambda f: {
        name: np.moveaxis(values, 2, 0) if values.ndim == 4 else values
        for name, values in f.items()
    },
}


# Version 5 with a struct is read below.
@pytest.mark.parametrize(("version", "struct_name"), [("v73", "imdb"), ("v73", None), ("v5", None)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_loads_equal(tmp_path: Path, version: str, layout: str, struct_name):
    fields = draw_fields(4)
    expected = samples_of(write_v73(tmp_path / "a/imdb.mat", fields))
    path = WRITERS[version](tmp_path / "b/imdb.mat", LAYOUTS[layout](fields), struct_name)
    assert_equal(samples_of(path), expected)


@pytest.mark.parametrize("num_samples", [1, 2, 3, SIZE_PX, SIZE_PX + 1])
@pytest.mark.parametrize("version", WRITERS)
def test_as_many_samples_as_channels_or_rows_do_not_mix_up_the_axes(
    tmp_path: Path, version: str, num_samples: int
):
    fields = draw_fields(num_samples)
    path = WRITERS[version](tmp_path / "imdb.mat", fields)
    samples = samples_of(path)
    assert len(samples) == num_samples
    last = num_samples - 1
    np.testing.assert_array_equal(
        samples[last]["image"].permute(1, 2, 0), fields["images"][..., last]
    )
    np.testing.assert_array_equal(samples[last]["depth"], fields["depths"][..., last])


def test_a_single_sample_may_lack_its_axis(tmp_path: Path):
    fields = draw_fields(1)
    expected = samples_of(write_v73(tmp_path / "a/imdb.mat", fields))
    squeezed = {name: values[..., 0] for name, values in fields.items()}
    for write in WRITERS.values():
        assert_equal(samples_of(write(tmp_path / "b/imdb.mat", squeezed)), expected)


def test_a_dark_sample_is_not_stretched(tmp_path: Path):
    fields = draw_fields(6)
    fields["images"][..., 2] = fields["images"][..., 2] > 200
    sample = samples_of(write_v73(tmp_path / "imdb.mat", fields))[2]
    assert int(sample["image"].max()) == 1


def test_a_bright_outlier_does_not_hide_that_values_end_at_one(tmp_path: Path):
    fields = draw_fields(6)
    fields["images"] /= 255
    fields["images"][0, 0, 0, 1] = 200
    dataset = open_roofline(write_v73(tmp_path / "imdb.mat", fields))
    assert int(dataset[0]["image"].max()) == 255
    with pytest.raises(SampleError, match=r"got values from 0 to 200, expected 0\.\.1"):
        dataset[1]


def test_several_kinds_of_line_may_share_a_pixel(tmp_path: Path):
    fields = draw_fields(1)
    lines = samples_of(write_v73(tmp_path / "imdb.mat", fields))[0]["lines"]
    crossing = (slice(BLOCK_PX, 2 * BLOCK_PX), slice(2 * BLOCK_PX, 3 * BLOCK_PX))
    assert bool((lines[0][crossing] != 0).all())
    assert bool((lines[1][crossing] != 0).all())


def test_impossible_heights_are_unknown_and_small_negative_ones_kept(tmp_path: Path):
    fields = draw_fields(2)
    depths = fields["depths"]
    bad = [np.nan, np.inf, -np.inf, -0.6, 60.1, 1e30]
    depths[0, : len(bad), 0] = bad
    depths[1, :3, 0] = [-0.4, 59.9, 0.0]
    for write in WRITERS.values():
        depth = samples_of(write(tmp_path / "imdb.mat", fields))[0]["depth"]
        assert bool(depth[0, : len(bad)].isnan().all())
        assert depth[1, :3].tolist() == pytest.approx([-0.4, 59.9, 0.0])
        assert int(depth.isnan().sum()) == len(bad)


@pytest.mark.parametrize("value", [0.0, 3.5, np.nan, -9999.0])
def test_a_constant_tile_of_heights_is_unknown(tmp_path: Path, value: float):
    fields = draw_fields(2)
    fields["depths"][..., 1] = value
    fields["depths"][0, 0, 1] = np.nan
    first, second = samples_of(write_v73(tmp_path / "imdb.mat", fields))
    assert bool(second["depth"].isnan().all())
    assert not first["depth"].isnan().any()


@pytest.mark.parametrize("version", WRITERS)
def test_heights_or_lines_alone_still_teach(tmp_path: Path, version: str):
    fields = draw_fields(2)
    no_depths = {name: fields[name] for name in ("images", "elements")}
    dataset = open_roofline(WRITERS[version](tmp_path / "b.mat", no_depths))
    assert set(dataset.labels) == {"lines"}
    assert bool(dataset[0]["depth"].isnan().all())
    no_elements = {name: fields[name] for name in ("images", "depths")}
    dataset = open_roofline(WRITERS[version](tmp_path / "c.mat", no_elements))
    assert set(dataset.labels) == {"depth"}
    assert bool((dataset[0]["lines"] == 255).all())
    check_sample(dataset[0])


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("images", np.nan, "got NaN or infinity in 1 values"),
        ("images", np.inf, "got NaN or infinity in 1 values"),
        ("images", 300, r"got values from 0 to 300, expected 0\.\.255"),
        ("images", -40, "got values from -40 to 255"),
        ("elements", np.nan, "got NaN or infinity in 1 values"),
        ("elements", 7, r"got values from 0 to 7, expected 0\.\.1"),
    ],
)
def test_a_sample_with_impossible_values_is_refused_alone(tmp_path: Path, name, value, found):
    fields = draw_fields(4)
    fields[name][3, 5, 1, 2] = value
    path = write_v73(tmp_path / "imdb.mat", fields)
    dataset = open_roofline(path)
    with pytest.raises(SampleError, match=found) as caught:
        dataset[2]
    assert (caught.value.sample_id, caught.value.path) == ("roofline:3", path)
    assert str(caught.value).startswith(f"Roofline: {name} of roofline:3 in {path}: got")
    check_sample(dataset[1])
    check_sample(dataset[3])


def test_a_little_overshoot_is_cut_off(tmp_path: Path):
    fields = draw_fields(2)
    fields["images"][0, :2, 0, 0] = [-4.5, 261.2]
    image = samples_of(write_v73(tmp_path / "imdb.mat", fields))[0]["image"]
    assert image[0, 0, :2].tolist() == [0, 255]


def test_a_damaged_chunk_spoils_its_sample_alone(tmp_path: Path):
    path = write_v73(tmp_path / "imdb.mat", {}, None)
    fields = draw_fields(40)
    with h5py.File(path, "r+") as file:
        for name, values in fields.items():
            file.create_dataset(
                name,
                data=values.T,
                chunks=(1, *values.T.shape[1:]),
                compression="gzip",
                fletcher32=True,
            )
        chunk = file["images"].id.get_chunk_info_by_coord((7, 0, 0, 0))
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + 40] ^= 0xFF
    path.write_bytes(content)
    dataset = open_roofline(path)
    with pytest.raises(
        SampleError, match=r"Roofline: .*imdb\.mat: got an unreadable file"
    ) as caught:
        dataset[7]
    assert caught.value.sample_id == "roofline:8"
    check_sample(dataset[6])
