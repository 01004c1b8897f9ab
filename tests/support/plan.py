"""What plans are made of in tests: a measured machine, and what is counted for a GPU."""

from app.commands.plan.case import Host, PlanCase, Request
from app.commands.plan.estimate import estimate
from app.commands.plan.facts import Facts
from app.commands.plan.instances import INSTANCES
from app.resources.measurements import Loading, Measurements, Point
from app.settings.texts import parse_hyperparameters

GIB = 2**30
# 1 GiB, and 0.5 GiB for each sample of 512 px; 0.8 s for each; reading takes 0.1 s, and so does
# scoring a photo of 512 px.
POINTS = tuple(
    Point(size, side, 1 + 0.5 * share, 0.25, None, 0.8 * share, 0.2)
    for size, side, share in ((1, 256, 0.25), (2, 256, 0.5), (1, 512, 1), (2, 512, 2))
)  # fmt: skip
MEASURED = Measurements(
    POINTS, Loading(512, 0.125, 0.25, {"rid": 0.1}), 0.1, num_cores=2, device="cpu",
    precision="fp32", val_points=(), score_s={"rid": 0.4},
)  # fmt: skip
# Twice as fast as a core of ml.m5.
HOST = Host(num_cores=2, core_speed=1.2)
# Of a GPU: 1 GiB, and 2 GiB for each sample of 512 px, half of them with checkpoints.
TENSORS = tuple((n, side, 1 + 2 * n * (side / 512) ** 2) for side in (256, 512) for n in (1, 2))
FACTS = Facts(
    samples_per_pass=1000,
    num_photos={"rid": 1000},
    shares={"rid": 1.0},
    num_val={"rid": 30},
    val_side_px={"rid": 512},
    tensors_gib=TENSORS,
    checkpointed_gib=tuple((n, side, 1 + n * (side / 512) ** 2) for n, side, _ in TENSORS),
    gmac_per_mpx=100.0,
)
SETTINGS = {"datasets": "rid", "crop_size_px": 512, "batch_size": 4, "epochs": 2}


def request_of(name="ml.m5.xlarge", num_instances=1, **settings):
    """SETTINGS and others, on an instance of that name."""
    instance = INSTANCES[name]
    hyperparameters = parse_hyperparameters({**SETTINGS, **settings})
    return Request(instance, num_instances, hyperparameters, on_gpu=instance.num_gpus > 0)


def case_of(request, measured=MEASURED, facts=FACTS, host=HOST):
    """What is planned for it from what was measured on HOST."""
    return PlanCase(request, measured.precision, host, measured, facts)


def estimate_of(request, measured=MEASURED, facts=FACTS):
    """The answer to that case."""
    return estimate(case_of(request, measured, facts))
