"""A network without its normalisations says the same."""

import torch
from torch import nn

from app.base.tasks import build_tasks
from app.inference.fused import fuse_norms
from app.model.network import HybridRoofModel


def test_a_fused_network_says_the_same():
    torch.manual_seed(0)
    model = HybridRoofModel(build_tasks(superstructures=True), decoder_channels=32).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.8, 1.2)
            module.bias.data.normal_(0, 0.1)
    image = torch.randint(256, (1, 3, 64, 96)).byte()
    with torch.inference_mode():
        expected = model(image)
        fuse_norms(model)
        got = model(image)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    for name, values in expected.items():
        assert torch.allclose(got[name], values, atol=1e-3 * float(values.abs().max())), name
