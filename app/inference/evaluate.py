"""Score a trained model on datasets in their releases' layouts."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from app.base.dataset_names import DatasetName
from app.base.errors import CheckpointError, ConfigError, printable
from app.base.tasks import LINE_KINDS, find_task
from app.data.datasets import build_eval_dataset, build_quarantine, open_reader
from app.data.loading import EvalDataset
from app.data.reader import Split
from app.inference.layers import LayerMaker
from app.inference.panels import draw_panel
from app.inference.poses import NumPoses, PosesPredictor
from app.inference.predictor import Predictor
from app.inference.progress import Progress
from app.inference.scoring import Scores, check_scored, score_datasets
from app.inference.shape_scores import FindRoofs, RoofSearch
from app.inference.shapes_table import describe_shapes
from app.inference.worst import SCORE_WORDS, PhotoScore, WorstPhotos
from app.job.paths import check_writable, scratch_folder
from app.metrics.by_dataset import describe_by_dataset
from app.metrics.headlines import headline
from app.metrics.matched import MatchedPlanes
from app.metrics.published import describe_published
from app.model.class_weights import ClassWeights
from app.model.devices import choose_compute
from app.model.export import DESCRIPTION_FILE, load_exported_model, trained_tasks
from app.model.losses import RoofLoss
from app.model.network import HybridRoofModel
from app.report.evaluation import EvaluationInput, write_evaluation
from app.report.pictures import Panel
from app.resources.shared_memory import fit_workers
from app.settings.hyperparameters import Hyperparameters
from app.settings.texts import parse_hyperparameters
from app.synthetic.staging import is_synthetic

logger = logging.getLogger(__name__)

_NUM_PICTURES: Final = 6
# Settings that decide which samples a split holds, and how large these are.
_SPLIT_SETTINGS = ("seed", "rid_fold", "rid_split", "roofline_gsd_m")


@dataclass(frozen=True)
class Asking:
    """How a model is asked, and whether for shapes.

    Attributes:
        num_poses: In how many turns and flips each window is predicted.
        find_roofs_of: Given the content of model.json, what finds roofs as shapes, which are scored
            too; None scores none.
    """

    num_poses: NumPoses = 1
    find_roofs_of: Callable[[Mapping[str, Any]], FindRoofs] | None = None


def evaluate_model(
    model_dir: Path,
    dataset_dirs: Mapping[DatasetName, Path],
    split: Split,
    output: Path,
    settings: Mapping[str, object],
    asking: Asking | None = None,
) -> MatchedPlanes:
    """Write the metrics of the model on one split to a JSON file, and a page with its worst photos.

    Args:
        model_dir: Folder that a training run has written.
        dataset_dirs: Folders in the layouts of the datasets.
        split: Which split to score; "all" is all of a dataset together.
        output: The JSON file; its folder is made if it is not there. The page is beside it, and
            its name ends in .html.
        settings: Hyperparameters given by the user: device, precision, workers, the number of
            samples and the limit on bad files. Sampling distance and classes are the model's own;
            so are the settings that part the datasets into splits, unless they are given here.
        asking: How the model is asked; once per window, and for pixels alone where None.

    Returns:
        The planes that were found and whose truth is known; none where shapes are not scored.

    Raises:
        RoofError: If the model or the data cannot be used.
    """
    asking = asking or Asking()
    if output.is_dir():
        raise ConfigError(f"--out {output}: got a folder, expected the name of a JSON file")
    if output.suffix == ".html":  # the page's own name
        raise ConfigError(f"--out {output}: got the name of a page, expected that of a JSON file")
    check_writable(output.parent)
    model, description = load_exported_model(model_dir)
    trained = trained_tasks(model_dir, model, description)
    find_roofs = None if asking.find_roofs_of is None else asking.find_roofs_of(description)
    if find_roofs is not None and "segments" not in trained:
        raise CheckpointError(
            f"--vectors: the model in {model_dir} has learnt {', '.join(trained)}, expected "
            "segments, which roofs are found in; take a model that was trained on planes"
        )
    search = None
    if find_roofs is not None:
        lines = description["tasks"].get("lines", {})
        asked = [find_task(name, model.tasks) for name in trained]
        maker = LayerMaker(asked, lines.get("trained_classes", LINE_KINDS), num_poses=1)
        search = RoofSearch(maker, find_roofs)
    hyperparameters = _choose_settings(model, description, settings)
    compute = choose_compute(hyperparameters)
    predictor = PosesPredictor(
        model.to(compute.device),
        trained,
        compute,
        hyperparameters.window_px,
        num_poses=asking.num_poses,
        with_squares=False,
        azimuth_bins=find_task("segments", model.tasks).azimuth_bins,
    )
    with scratch_folder() as scratch_dir:
        readers = {
            name: open_reader(name, path, split, hyperparameters, scratch_dir)
            for name, path in dataset_dirs.items()
        }
        datasets = {
            name: build_eval_dataset(reader, hyperparameters, with_shapes=find_roofs is not None)
            for name, reader in readers.items()
        }
        quarantines = {
            name: build_quarantine([reader], hyperparameters) for name, reader in readers.items()
        }
        loss = _read_loss(model, description)
        scores = Scores(model.tasks, list(datasets), loss, search)
        # Batches of training, which there are none of here, would leave less room to workers.
        alone = hyperparameters.model_copy(update={"batch_size": 1, "grad_accum_steps": 1})
        num_workers = fit_workers(alone, num_local_processes=1).num_workers
        with Progress(sum(map(len, datasets.values()))) as progress:
            worst = WorstPhotos(scores, datasets)
            for found in score_datasets(predictor, datasets, scores, num_workers):
                worst.take_next()
                for name, bad_files in found.items():
                    quarantines[name].add(bad_files)
                progress.advance()
        check_scored(scores, datasets)
        panels = _draw_worst(worst.worst(_NUM_PICTURES), predictor, datasets)
    values = scores.compute(split)
    drawn = [name for name, path in dataset_dirs.items() if is_synthetic(path)]
    document: dict[str, Any] = {
        "format_version": 1,
        "model": printable(str(model_dir)),
        "data": {name: printable(str(path)) for name, path in dataset_dirs.items()},
        "synthetic": drawn,
        "split": split,
        "tta": asking.num_poses,
        "hyperparameters": hyperparameters.non_default(),
        "num_samples": scores.num_samples,
        "quarantined": {name: quarantine.to_json() for name, quarantine in quarantines.items()},
        "features_set_aside": {
            name: quarantine.features_to_json() for name, quarantine in quarantines.items()
        },
        "metrics": {name: value.to_json() for name, value in values.items()},
        "confusion_matrix": scores.confusion_matrices(split),
    }
    output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    row = {name: value.value for name, value in values.items()}
    num_photos = {str(name): number for name, number in scores.num_samples.items()}
    page = output.with_suffix(".html")
    write_evaluation(
        page,
        EvaluationInput(
            printable(str(model_dir)),
            split,
            model.tasks,
            row,
            num_photos,
            SCORE_WORDS,
            panels,
            drawn,
        ),
    )
    logger.info("%s on %d samples: %s", split, sum(num_photos.values()), headline(row, split))
    for line in describe_by_dataset(row, split, num_photos, drawn):
        logger.info("%s", line)
    if scores.shapes is not None:
        for line in describe_shapes(values, split, scores.num_samples):
            logger.info("%s", line)
    for line in describe_published(row, split, list(dataset_dirs)):
        logger.info("%s", line)
    logger.info("metrics written to %s", output)
    logger.info("scores, and the photos with the worst: %s", page)
    return MatchedPlanes.all_of([]) if scores.shapes is None else scores.shapes.matched()


def _draw_worst(
    photos: Sequence[PhotoScore],
    predictor: Predictor,
    datasets: Mapping[DatasetName, EvalDataset],
) -> list[Panel]:
    """Pictures of photos, each with its score in its name; one that fails is left out."""
    panels = []
    for found in photos:
        dataset = datasets[found.dataset]
        try:
            photo, _ = dataset.open_photo(found.index)
            if photo is None:
                continue
            panel = draw_panel(predictor, photo, dataset.reader.title)
        except ConfigError as error:  # the numbers are worth more than the pictures
            logger.warning("the page has a picture less: %s", error)
            continue
        panels.append(replace(panel, sample_id=f"{panel.sample_id}: {found.words}"))
    return panels


def _read_loss(model: HybridRoofModel, description: Mapping[str, Any]) -> RoofLoss | None:
    """The losses that the model was trained with; None where its description lacks their weights.

    Raises:
        CheckpointError: If they cannot be used.
    """
    described = description.get("class_weights")
    if described is None:
        return None
    try:
        trained_with = description["hyperparameters"]
        weights = ClassWeights.from_description(described)
        for task in model.tasks:
            num_weights = len(weights.of(task.name))
            if task.kind != "metres" and num_weights != task.num_classes:
                raise ValueError(f"{num_weights} weights for the classes of {task.name}")
        return RoofLoss(
            model.tasks,
            float(trained_with["dice_weight"]),
            float(trained_with["azimuth_smoothing"]),
            weights,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{DESCRIPTION_FILE} does not describe the losses that the model was trained with: "
            f"{type(error).__name__}: {error}; copy it again from the run that wrote it"
        ) from error


def _choose_settings(
    model: HybridRoofModel, description: Mapping[str, Any], given: Mapping[str, object]
) -> Hyperparameters:
    """The settings to score with.

    The model's own seed, fold and split rule hold unless others are given. With others, the model
    may have been trained on samples that are "test" here.
    """
    trained_with = description.get("hyperparameters", {})
    own = {name: trained_with[name] for name in _SPLIT_SETTINGS if name in trained_with}
    for name in own.keys() & given.keys():
        if str(own[name]) != str(given[name]):
            logger.warning(
                "%s=%s, but the model was trained with %s: it may have seen these samples",
                name,
                given[name],
                own[name],
            )
    return parse_hyperparameters({**own, **given}).model_copy(
        update={
            "gsd_m": description.get("gsd_m", Hyperparameters().gsd_m),
            # The side of the windows that larger photos are predicted by follows from it.
            "crop_size_px": trained_with.get("crop_size_px", Hyperparameters().crop_size_px),
            "azimuth_bins": find_task("segments", model.tasks).azimuth_bins or 1,
            "superstructures_weight": float(
                any(task.name == "superstructures" for task in model.tasks)
            ),
        }
    )
