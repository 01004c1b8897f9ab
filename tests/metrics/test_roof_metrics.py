"""All tasks together: names, definitions, adding up states, the page that explains them."""

import json
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from app.base.tasks import (
    ALL_TASKS,
    BACKGROUND_CLASS,
    IGNORE_INDEX,
    SOME_ROOF,
    AzimuthBins,
    TaskName,
    build_tasks,
)
from app.metrics.definitions import define_metrics
from app.metrics.roof_metrics import RoofMetrics
from app.metrics.table import render_metrics_table
from docs.generate import render_metrics_page
from tests.support.paths import ROOT

NUM_IMAGES = 5


def make_images() -> tuple[dict[TaskName, Tensor], dict[str, Tensor]]:
    """Logits and targets of images with unknown pixels of every kind."""
    generator = torch.Generator().manual_seed(0)
    shape = (NUM_IMAGES, 20, 24)
    logits: dict[TaskName, Tensor] = {
        "segments": torch.randn(NUM_IMAGES, 18, *shape[1:], generator=generator),
        "lines": torch.randn(NUM_IMAGES, 4, *shape[1:], generator=generator),
        "depth": 10 * torch.rand(NUM_IMAGES, 1, *shape[1:], generator=generator),
        "superstructures": torch.randn(NUM_IMAGES, 9, *shape[1:], generator=generator),
    }
    segments = torch.randint(0, SOME_ROOF + 2, shape, generator=generator)
    segments[segments > SOME_ROOF] = IGNORE_INDEX
    # Planes of 400, 320 and 320 pixels, the last two in one image; an image without any roof, and
    # one of which nothing is known.
    segments[0, :, 4:] = 3
    segments[1, :, :16] = 7
    segments[2, :, :16], segments[2, :, 16:] = 0, 15
    segments[3] = BACKGROUND_CLASS
    segments[4] = IGNORE_INDEX
    lines = (torch.rand(NUM_IMAGES, 4, *shape[1:], generator=generator) < 0.2).to(torch.uint8)
    lines[0, 2] = IGNORE_INDEX
    lines[1, :, 5:9] = IGNORE_INDEX
    lines[4] = IGNORE_INDEX
    depth = 10 * torch.rand(shape, generator=generator)
    depth[depth < 1] = torch.nan
    superstructures = torch.randint(0, 10, shape, generator=generator)
    superstructures[superstructures > 8] = IGNORE_INDEX
    superstructures[3], superstructures[4] = 8, IGNORE_INDEX
    return logits, {
        "segments": segments.to(torch.uint8),
        "lines": lines,
        "depth": depth,
        "superstructures": superstructures.to(torch.uint8),
    }


LOGITS, TARGETS = make_images()


def count(*batches: Sequence[int]) -> RoofMetrics:
    metrics = RoofMetrics(ALL_TASKS)
    for indices in batches:
        chosen = list(indices)
        metrics.update(
            {task: values[chosen] for task, values in LOGITS.items()},
            {task: values[chosen] for task, values in TARGETS.items()},
        )
    return metrics


ALL_AT_ONCE = count(range(NUM_IMAGES))


@settings(max_examples=12, deadline=None)
@given(
    order=st.permutations(range(NUM_IMAGES)),
    cut=st.integers(0, NUM_IMAGES),
    batch_size=st.integers(1, NUM_IMAGES),
)
def test_states_of_ranks_add_up(order: list[int], cut: int, batch_size: int) -> None:
    ranks = []
    for shard in (order[:cut], order[cut:]):
        batches = [shard[i : i + batch_size] for i in range(0, len(shard), batch_size)]
        ranks.append(count(*batches))
    total = RoofMetrics(ALL_TASKS)
    total.load_state(ranks[0].state() + ranks[1].state())
    # Bit for bit, although some of the sums are of fractions, and planes of fractions of degrees.
    assert torch.equal(total.state(), ALL_AT_ONCE.state())
    assert total.compute("val", "rid") == ALL_AT_ONCE.compute("val", "rid")
    assert total.confusion_matrices("val") == ALL_AT_ONCE.confusion_matrices("val")


def test_a_loaded_state_goes_on_counting_and_is_not_written_to() -> None:
    state = count([0, 1]).state()
    before = state.clone()
    metrics = RoofMetrics(ALL_TASKS)
    metrics.load_state(state)
    metrics.update(
        {task: values[2:] for task, values in LOGITS.items()},
        {task: values[2:] for task, values in TARGETS.items()},
    )
    assert torch.equal(metrics.state(), ALL_AT_ONCE.state())
    assert torch.equal(state, before)


def test_counting_works_in_inference_mode_and_out_of_it() -> None:
    metrics = RoofMetrics(ALL_TASKS)
    with torch.inference_mode():
        metrics.update(LOGITS, TARGETS)
    metrics.update(LOGITS, TARGETS)
    assert torch.equal(metrics.state(), 2 * ALL_AT_ONCE.state())


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_dtype_and_memory_format_do_not_matter(memory_format: torch.memory_format) -> None:
    halves: dict[TaskName, Tensor] = {task: x.bfloat16() for task, x in LOGITS.items()}
    metrics, reference = RoofMetrics(ALL_TASKS), RoofMetrics(ALL_TASKS)
    metrics.update(
        {task: x.contiguous(memory_format=memory_format) for task, x in halves.items()}, TARGETS
    )
    reference.update({task: x.float() for task, x in halves.items()}, TARGETS)
    assert torch.equal(metrics.state(), reference.state())


def test_a_task_without_logits_is_untrained() -> None:
    metrics = RoofMetrics(ALL_TASKS)
    metrics.update({"segments": LOGITS["segments"]}, TARGETS)
    computed = metrics.compute("val", "rid")
    untrained = [m for name, m in computed.items() if not name.startswith("val/segments/")]
    assert len(untrained) == 76 + 11 + 23  # those of heights on roofs are left out
    assert all(metric.value is None and metric.support == 0 for metric in untrained)
    assert computed["val/segments/miou"].value is not None


def test_nothing_counted() -> None:
    computed = RoofMetrics(ALL_TASKS).compute("test", "rid")
    assert all(metric.value is None and metric.support == 0 for metric in computed.values())


def fill_logits(value: float) -> dict[TaskName, Tensor]:
    return {task: torch.full_like(values, value) for task, values in LOGITS.items()}


def test_a_batch_of_which_nothing_is_known_changes_nothing() -> None:
    metrics = count(range(NUM_IMAGES))
    unknown = {name: torch.full_like(x, IGNORE_INDEX) for name, x in TARGETS.items()}
    unknown["depth"] = torch.full_like(TARGETS["depth"], torch.nan)
    metrics.update(LOGITS, unknown)
    assert torch.equal(metrics.state(), ALL_AT_ONCE.state())


def test_images_of_background_alone_leave_only_what_was_falsely_found() -> None:
    targets = {
        "segments": torch.full_like(TARGETS["segments"], BACKGROUND_CLASS),
        "lines": torch.zeros_like(TARGETS["lines"]),
        "depth": torch.zeros_like(TARGETS["depth"]),
        "superstructures": torch.full_like(TARGETS["superstructures"], 8),
    }
    metrics = RoofMetrics(ALL_TASKS)
    metrics.update(LOGITS, targets)
    defined = {name for name, m in metrics.compute("v", "").items() if m.value is not None}
    depth = {f"v/depth/{measure}" for measure in ("mae_m", "rmse_m", "bias_m", "nmad_m")}
    precision = {
        f"v/lines/{kind}precision_{tolerance}px"
        for kind in ("", "eave_", "ridge_", "hip_", "valley_")
        for tolerance in (2, 3, 5)
    }
    assert defined == depth | precision | {"v/segments/roof_precision"}
    assert metrics.compute("v", "")["v/segments/roof_precision"].value == 0.0


def test_nothing_predicted_is_a_score_of_zero() -> None:
    metrics = RoofMetrics(ALL_TASKS)
    logits = fill_logits(-9.0)
    logits["segments"][:, BACKGROUND_CLASS], logits["superstructures"][:, 8] = 9.0, 9.0
    metrics.update(logits, TARGETS)
    values = {name: m.value for name, m in metrics.compute("v", "").items()}
    for name in (
        "segments/iou_N", "segments/miou_no_background", "segments/per_image_iou_N",
        "segments/roof_iou", "segments/roof_recall", "segments/roof_f1",
        "segments/azimuth_coverage", "segments/plane_coverage", "lines/recall_5px", "lines/f1_5px",
        "lines/ods_f1_5px", "lines/eave_ods_f1_2px", "superstructures/any_superstructure_iou",
        "superstructures/per_image_iou_dormer",
    ):  # fmt: skip
        assert values[f"v/{name}"] == 0.0, name
    for name in (
        "segments/roof_precision", "segments/azimuth_error_deg", "segments/azimuth_accuracy",
        "segments/plane_azimuth_error_deg", "segments/plane_azimuth_accuracy",
        "lines/precision_2px",
    ):  # fmt: skip
        assert values[f"v/{name}"] is None, name
    # Any threshold is as good as any other.
    assert values["v/lines/ods_threshold_5px"] == 0.5


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_logits_that_are_not_finite_score_badly(bad: float) -> None:
    metrics = RoofMetrics(ALL_TASKS)
    metrics.update(fill_logits(bad), TARGETS)
    assert metrics.state().isfinite().all()
    values = {name: m.value for name, m in metrics.compute("v", "").items()}
    assert values["v/segments/plane_azimuth_error_deg"] == 180.0
    assert values["v/segments/azimuth_error_deg"] == 180.0
    assert values["v/segments/plane_azimuth_accuracy"] == 0.0
    assert values["v/depth/mae_m"] == pytest.approx(1000)
    if not bad > 0:
        assert values["v/lines/ods_f1_2px"] == values["v/lines/recall_5px"] == 0.0
        assert values["v/lines/precision_5px"] is None


def test_names_are_those_of_the_table_in_its_order() -> None:
    names = [
        f"val/{task.name}/{name}"
        for task in ALL_TASKS
        for row in define_metrics(task)
        for name, _ in row.expand()
    ]
    assert list(ALL_AT_ONCE.compute("val", "rid")) == names
    assert len(names) == len(set(names)) == 56 + 76 + 15 + 23
    assert {"val/segments/iou_NNE", "val/lines/f1_2px", "val/lines/eave_f1_5px"} <= set(names)
    assert {"val/lines/ods_f1_2px", "val/lines/ridge_ods_threshold_5px"} <= set(names)
    assert {"val/segments/plane_coverage", "val/segments/per_image_iou_NNE"} <= set(names)
    assert {"val/depth/mae_m", "val/depth/roof_mae_m"} <= set(names)


def test_definitions_are_filled_in() -> None:
    computed = ALL_AT_ONCE.compute("val", "rid")
    assert "class NNE" in computed["val/segments/iou_NNE"].definition
    assert computed["val/lines/eave_f1_5px"].definition.endswith("5 px. Only eave lines.")
    assert not any(set("{}<>") & set(metric.definition) for metric in computed.values())
    assert all(metric.definition.endswith(".") for metric in computed.values())


def test_json_of_a_value() -> None:
    metrics = RoofMetrics(ALL_TASKS)
    metrics.update(
        {"depth": torch.tensor([[[[3.0, 5.0]]]])},
        {
            "depth": torch.tensor([[[4.0, 4.0]]]),
            "segments": torch.zeros(1, 1, 2, dtype=torch.uint8),
        },
    )
    entry = json.loads(json.dumps(metrics.compute("val", "rid")["val/depth/mae_m"].to_json()))
    assert entry == {
        "value": 1.0,
        "unit": "m",
        "split": "val",
        "dataset": "rid",
        "support": 2,
        "support_unit": "pixels",
        "definition": "Mean absolute error, over all pixels of known height.",
    }


def test_everything_is_plain_json() -> None:
    for metric in ALL_AT_ONCE.compute("val", "rid").values():
        entry = metric.to_json()
        assert json.loads(json.dumps(entry, allow_nan=False)) == entry


def test_confusion_matrix_counts_every_pixel_of_known_class() -> None:
    matrices = ALL_AT_ONCE.confusion_matrices("test")
    assert list(matrices) == ["test/segments", "test/superstructures"]
    for task in ("segments", "superstructures"):
        matrix = matrices[f"test/{task}"]
        num_classes = len(matrix["class_names"])
        assert num_classes == LOGITS[task].shape[1]
        target = TARGETS[task].long()
        counts = torch.bincount(target[target < num_classes], minlength=num_classes)
        assert [sum(row) for row in matrix["counts"]] == counts.tolist()


@pytest.mark.parametrize("azimuth_bins", [16, 8, 4, 1])
def test_states_of_datasets_add_up_to_those_of_all(azimuth_bins: AzimuthBins) -> None:
    """Of any tasks: what one dataset does not label, it adds nothing to."""
    tasks = build_tasks(azimuth_bins)
    generator = torch.Generator().manual_seed(0)
    segments = tasks[0]
    logits: dict[TaskName, Tensor] = {
        "segments": torch.randn(2, segments.num_classes, 9, 9, generator=generator),
        "lines": torch.randn(2, 4, 9, 9, generator=generator),
        "depth": torch.rand(2, 1, 9, 9, generator=generator),
    }
    labels = torch.randint(segments.num_labels, (2, 9, 9), generator=generator)
    labels[0] = IGNORE_INDEX
    lines = torch.randint(2, (2, 4, 9, 9), generator=generator).to(torch.uint8)
    lines[0, 3], lines[1, 1:] = IGNORE_INDEX, IGNORE_INDEX
    depth = torch.rand(2, 9, 9, generator=generator)
    depth[1] = torch.nan
    targets = {"segments": labels.to(torch.uint8), "lines": lines, "depth": depth}
    pooled, together = RoofMetrics(tasks), RoofMetrics(tasks)
    together.update(logits, targets)
    states = []
    for i in range(2):
        one = RoofMetrics(tasks)
        one.update(
            {name: x[i : i + 1] for name, x in logits.items()},
            {name: x[i : i + 1] for name, x in targets.items()},
        )
        states.append(one.state())
    pooled.load_state(states[0] + states[1])
    assert pooled.compute("val", "all") == together.compute("val", "all")
    values = together.compute("val", "all")
    assert values["val/lines/valley_f1_3px"].value is None  # known in neither
    assert values["val/lines/f1_3px"].value is not None


def test_roof_in_the_labels_of_fewer_directions_is_roof_for_heights() -> None:
    tasks = build_tasks(8)
    metrics = RoofMetrics(tasks)
    # N, N or NE, some roof, flat, background, unknown; errors of 1, 2, 4, 8, 16, 32 m.
    errors = torch.tensor([1.0, 2, 4, 8, 16, 32]).view(1, 1, 1, 6)
    labels = torch.tensor([0, 11, 10, 8, 9, IGNORE_INDEX], dtype=torch.uint8).view(1, 1, 6)
    metrics.update({"depth": errors}, {"depth": torch.zeros(1, 1, 6), "segments": labels})
    values = metrics.compute("val", "all")
    assert values["val/depth/roof_mae_m"].value == (1 + 2 + 4 + 8) / 4
    assert values["val/depth/mae_m"].support == 6


def test_a_state_of_another_size_is_refused() -> None:
    with pytest.raises(AssertionError, match="expected"):
        RoofMetrics(ALL_TASKS).load_state(
            torch.cat([RoofMetrics(ALL_TASKS).state(), torch.zeros(1)])
        )


def test_page_shows_the_table_of_the_code() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    assert page == render_metrics_page(), "run `python -m docs.generate`"
    assert render_metrics_table() in page
    for task in ALL_TASKS:
        assert f"### {task.name}" in page
