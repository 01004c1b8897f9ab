import pytest
import torch
from torch import nn

from app.base.tasks import build_tasks
from app.model.network import HybridRoofModel, _resize


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return HybridRoofModel().eval()


@pytest.mark.parametrize("size", [(64, 64), (33, 70), (16, 100), (1, 1)])
def test_any_size_gives_logits_of_that_size(model, size):
    with torch.inference_mode():
        logits = model(torch.zeros(1, 3, *size, dtype=torch.uint8))
    assert {name: tuple(values.shape) for name, values in logits.items()} == {
        "segments": (1, 18, *size),
        "lines": (1, 4, *size),
        "depth": (1, 1, *size),
    }


def test_padding_does_not_move_the_picture(model):
    image = torch.randint(256, (1, 3, 64, 96), dtype=torch.uint8)
    with torch.inference_mode():
        whole = model(image)["segments"]
        cut = model(image[:, :, :, :90])["segments"]
    # Far from the cut, what was padded must not matter beyond the network's long, weak reach.
    torch.testing.assert_close(cut[..., :16], whole[..., :16], atol=0.05, rtol=0.05)


class Ramp(nn.Module):
    """A head whose logits say where the middle of each of its cells lies in the image, in pixels.

    Channel 0 counts columns, channel 1 rows; the middle of the first pixel is at 0.
    """

    def __init__(self, stride_px):
        super().__init__()
        self.stride_px = stride_px

    def forward(self, fused, stem=None):
        height, width = (fused if stem is None else stem).shape[-2:]
        columns, rows = ((torch.arange(n) + 0.5) * self.stride_px - 0.5 for n in (width, height))
        return torch.stack(torch.meshgrid(columns, rows, indexing="xy"))[None]


@pytest.mark.parametrize(("task", "stride_px"), [("segments", 4), ("lines", 2)])
def test_logits_lie_where_their_cells_lie(task, stride_px):
    model = HybridRoofModel().eval()
    model.heads[task] = Ramp(stride_px)
    height, width = 50, 90  # padded to 64 x 96
    with torch.inference_mode():
        logits = model(torch.zeros(1, 3, height, width, dtype=torch.uint8), [task])[task]
    # Before the middle of the first cell there is nothing to interpolate with.
    first_px = (stride_px - 1) / 2
    columns, rows = (torch.arange(float(n)).clamp(min=first_px) for n in (width, height))
    torch.testing.assert_close(logits[0, 0], columns.expand(height, width))
    torch.testing.assert_close(logits[0, 1], rows[:, None].expand(height, width))


def test_maps_are_enlarged_around_the_middles_of_their_cells():
    coarse = torch.tensor([0.5, 2.5, 4.5, 6.5]).expand(1, 1, 4, 4)  # middles of cells of 2 px
    fine = _resize(coarse, torch.zeros(1, 1, 8, 8), "bilinear")
    torch.testing.assert_close(fine[0, 0, 0], torch.arange(8.0).clamp(0.5, 6.5))


@pytest.mark.parametrize(
    ("size_px", "columns"),
    [
        # 29 | 28 27 26: what lies beyond the border is mirrored in the last pixel.
        (30, [*range(30), 28, 27]),
        (20, [*range(20), *range(18, 6, -1)]),
        # Too small to be mirrored: the last pixel again.
        (3, [0, 1, 2, *[2] * 29]),
    ],
)
def test_what_is_padded_looks_like_more_of_the_same_ground(model, size_px, columns):
    image = torch.randint(256, (1, 3, size_px, size_px), dtype=torch.uint8)
    seen = []
    hook = model.backbone.conv1.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
    with torch.inference_mode():
        model(image, ["depth"])
    hook.remove()
    pixels = seen[0] * model.image_std + model.image_mean
    expected = image[..., columns, :][..., columns].float()
    torch.testing.assert_close(pixels, expected, atol=0.01, rtol=0)


def test_first_prediction_is_the_prior():
    # In training: running statistics say nothing yet about what they are to normalise.
    torch.manual_seed(0)
    image = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        logits = HybridRoofModel().train()(image)
    background = logits["segments"].softmax(1)[:, 17].mean()
    assert 0.6 < background < 0.85
    assert logits["lines"].sigmoid().mean() < 0.1
    assert (logits["depth"] >= 0).all()


def test_only_the_heads_asked_for_run(model):
    with torch.inference_mode():
        logits = model(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), ["lines"])
    assert list(logits) == ["lines"]


def test_every_weight_gets_a_gradient():
    torch.manual_seed(0)
    model = HybridRoofModel().train()
    logits = model(torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8))
    sum(values.square().mean() for values in logits.values()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []


@pytest.mark.parametrize("azimuth_bins", [8, 4, 1])
def test_heads_and_their_first_prediction_follow_the_tasks(azimuth_bins):
    torch.manual_seed(0)
    tasks = build_tasks(azimuth_bins, superstructures=True)
    model = HybridRoofModel(tasks).train()
    assert model.tasks == tasks
    with torch.inference_mode():
        logits = model(torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8))
    assert list(logits) == [task.name for task in tasks]
    for task in tasks:
        assert logits[task.name].shape[1] == task.num_classes
    for name, low, high in (("segments", 0.6, 0.85), ("superstructures", 0.9, 0.98)):
        background = logits[name].softmax(1)[:, -1].mean()
        assert low < background < high


def test_a_head_more_leaves_the_first_weights_of_the_others_alone():
    states = []
    for superstructures in (False, True):
        torch.manual_seed(0)
        states.append(HybridRoofModel(build_tasks(superstructures=superstructures)).state_dict())
    plain, more = states
    assert set(more) - set(plain) == {k for k in more if k.startswith("heads.superstructures.")}
    for name, values in plain.items():
        assert torch.equal(values, more[name]), name


def copy_with_checkpoints(network):
    copied = HybridRoofModel(network.tasks, checkpoint_activations=True)
    copied.load_state_dict(network.state_dict())
    return copied


def train_on(network, images, dtype=None):
    """Two passes before one update, as accumulation does it."""
    network.train()
    for image in images:
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            logits = network(image)
        sum(values.square().mean() for values in logits.values()).backward()


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_checkpointing_changes_no_bit_of_gradients_and_buffers(dtype):
    torch.manual_seed(0)
    plain = HybridRoofModel()
    checkpointed = copy_with_checkpoints(plain)
    images = torch.randint(256, (2, 2, 3, 64, 96), dtype=torch.uint8)
    for network in (plain, checkpointed):
        train_on(network, images, dtype)
    pairs = zip(plain.named_parameters(), checkpointed.named_parameters(), strict=True)
    assert [name for (name, a), (_, b) in pairs if not torch.equal(a.grad, b.grad)] == []
    pairs = zip(plain.named_buffers(), checkpointed.named_buffers(), strict=True)
    assert [name for (name, a), (_, b) in pairs if not torch.equal(a, b)] == []
    assert checkpointed.backbone.layer1[0].bn1.num_batches_tracked == 2
    # The very same tensors, of which the average and the ranks know.
    assert set(checkpointed.state_dict()) == set(plain.state_dict())


def test_checkpointing_keeps_fewer_activations():
    def count_kept_bytes(network):
        sizes = {}

        def pack(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            logits = network(torch.zeros(1, 3, 128, 128, dtype=torch.uint8))
        assert logits["depth"].requires_grad
        return sum(sizes.values()) - sum(p.untyped_storage().nbytes() for p in network.parameters())

    plain = HybridRoofModel().train()
    assert count_kept_bytes(copy_with_checkpoints(plain).train()) < 0.7 * count_kept_bytes(plain)


def test_checkpointing_is_for_training_alone():
    network = HybridRoofModel(checkpoint_activations=True).eval()
    image = torch.randint(256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        expected = network(image)
    network.checkpoint_activations = False
    with torch.inference_mode():
        assert torch.equal(network(image)["segments"], expected["segments"])
