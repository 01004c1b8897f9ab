"""Hyperparameters: names, ranges, defaults and meaning."""

from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from app.base.units import AzimuthConvention, AzimuthNorth, HeightUnit
from app.settings.checks import (
    OWN_ERROR,
    check_batch_size,
    read_dataset_names,
    read_dataset_weights,
)
from app.settings.fields import changes_weights, setting
from app.settings.presets import PRESETS

if TYPE_CHECKING:
    from app.base.tasks import Task

# RID's photos have this side, so that each is predicted at once.
LEAST_WINDOW_PX: Final = 512
# Of an epoch whose length is not given: few photos would make it a few seconds long.
LEAST_EPOCH_STEPS: Final = 100


class Hyperparameters(BaseModel):
    """All settings of a training job, checked; `phase` fills in what is not given.

    Fields stand in the order of docs/hyperparameters.md, which is written from them.
    """

    # strict: otherwise True passes as the number 1.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    phase: Literal[1, 2, 3, 4, 5] | None = setting(None, "Data", changes_weights=False)
    """Preset, from a first trial to the whole training (docs/phases.md). 1 tries ten samples of RID
    on the CPU, 2 larger batches, 3 more workers, 4 all datasets; 5 trains on all data on a GPU. Any
    other key given beside it wins."""

    datasets: str = setting("all", "Data", min_length=1, changes_weights=False)
    """Datasets to use, as rid,airs; "all" takes every one that has a channel. The others are
    neither trained nor validated on."""

    gsd_m: float = setting(0.1, "Data", ge=0.03, le=1)
    """Ground sampling distance that all datasets are brought to, metres per pixel. Lower it to see
    small things, at the price of memory; photos within 3 % of it are left unchanged."""

    crop_size_px: int = setting(256, "Data", ge=64, le=2048, multiple_of=32)
    """Side of the square training windows, pixels. Larger windows show whole roofs but cost memory
    and time with the square of the side. Validation uses whole photos, larger ones by overlapping
    windows of this side, or of 512 px where that is more."""

    dataset_weights: str = setting("rid=0.5,roofline=0.25,airs=0.25,own=0.5", "Data", min_length=1)
    """Shares of the datasets in every step, as name=share,...; those of absent datasets go to the
    others. A dataset with share 0, or not named, is validated on but not trained on. By size, AIRS
    would be 99 % of every step."""

    max_samples: int | None = setting(None, "Data", ge=1)
    """Training samples taken from each dataset; None takes all. Set it for a quick trial."""

    max_val_samples: int | None = setting(500, "Data", ge=1, changes_weights=False)
    """Validation samples taken from each dataset, evenly spread over it; None takes all. AIRS has
    21 thousand windows to validate on, which takes hours on a CPU."""

    steps_per_epoch: int | None = setting(None, "Data", ge=1)
    """Optimizer steps of an epoch. None: an epoch lasts until one dataset has been seen completely,
    and at least 100 steps unless max_samples is set, so that few photos come several times. The
    other datasets continue in the next epoch where they stopped."""

    rid_fold: int = setting(1, "Data", ge=1, le=5)
    """Which of RID's five published splits to use. Average over all five to compare with others;
    the test images are the same in each."""

    rid_split: Literal["disjoint", "release"] = setting("disjoint", "Data")
    """RID's photos overlap. "disjoint" leaves out of training every photo that shows ground of a
    validation or test photo, so that scores are of unseen roofs; "release" keeps the published
    lists, for comparison with others' numbers."""

    roofline_gsd_m: float = setting(0.05, "Data", ge=0.01, le=1)
    """Metres per pixel of Roofline's tiles, which the release does not state. Heights are metres
    either way; a wrong value shows roofs in the wrong size."""

    roofline_depth_unit: HeightUnit = setting("metres", "Data")
    """Unit of the heights in Roofline's file. Set it where the job says that heights cannot be
    metres."""

    roofline_depth_positive: Literal["up", "down"] = setting("up", "Data")
    """Sense of the heights in Roofline's file. "up": they grow upwards. "down": they are distances
    below a common level, as seen from above; roofline_depth_offset_m is then the height of that
    level."""

    roofline_depth_offset_m: float = setting(0.0, "Data", ge=-10000, le=10000)
    """Metres added to the heights of Roofline's file once they are metres that grow upwards. Set it
    where the zero is not the ground: -34 for heights above the sea, the ground lying 34 m high."""

    allow_findings: bool = setting(False, "Data", changes_weights=False)
    """Whether to train although a look at the labels found errors in them, such as masks that are
    upside down or heights in another unit. The findings are logged and stand in metrics.json either
    way."""

    own_azimuth: Literal["auto", AzimuthConvention] = setting("auto", "Data")
    """Zero and sense of the azimuths of own roofs. "compass": 0 is north, 90 east. "south0": 0 is
    south, 90 west; compass directions that point uphill are the same. _ccw: counter-clockwise.
    "auto" takes the convention that the outlines agree with. If none agrees, the job stops and
    shows the rates of all."""

    own_north: Literal["auto", AzimuthNorth] = setting("auto", "Data")
    """Whether azimuths of own roofs count from true north or from the grid of their file's
    reference system, which may be degrees apart. "auto" takes the one nearer to the outlines."""

    own_gsd_m: float = setting(0.1, "Data", ge=0.01, le=1)
    """Metres per pixel of own photos without georeference, which COCO files label."""

    new_ground_fraction: float = setting(0.0, "Data", ge=0, le=1)
    """Share of the windows with little known ground whose roofs are laid, with a shadow, onto that
    of another dataset. Try 0.5 where streets are taken for roofs (docs/model.md)."""

    num_workers: int = setting(2, "Data", ge=0, le=64, changes_weights=False)
    """Processes that read and augment samples, per device; 0 reads in the training process. Raise
    it towards the number of CPU cores when the device waits for data, lower it when memory or
    /dev/shm runs out. The trained weights do not depend on it."""

    prefetch_factor: int = setting(2, "Data", ge=1, le=64, changes_weights=False)
    """Batches each worker keeps ready. Raise it when reading times vary much, at the price of
    memory. No effect where num_workers is 0."""

    max_bad_fraction: float = setting(0.05, "Data", ge=0, le=1, changes_weights=False)
    """Share of a dataset that may be unreadable before the job stops. Bad samples below it are left
    out and listed in metrics.json; 0 stops at the first."""

    backbone_weights: str = setting("auto", "Model and losses", min_length=1)
    """Where the ResNet50 backbone starts. "auto": the `pretrained` channel if the job has one, else
    random weights. "none": random weights. "pretrained": the channel, and an error if it is
    missing. Anything else is the path of a weights file. No effect with an initial_model."""

    initial_model: str = setting("auto", "Model and losses", min_length=1, changes_weights=False)
    """The whole model to start from (docs/fine_tuning.md). "auto": the `model` channel if the job
    has one, else none. "none": none. Anything else is the path of a model folder that a run has
    written, or of its model.tar.gz. Other classes than its own are mapped by name."""

    azimuth_bins: Literal[16, 8, 4, 1] = setting(16, "Model and losses")
    """How many directions roof planes are sorted into; 1 is roof or not. Use fewer when you need
    less detail or have little data. RID labels that straddle two coarser directions count as either
    of the two."""

    segments_weight: float = setting(1.0, "Model and losses", ge=0)
    """Weight of the roof segment loss in the sum of the losses. 0 leaves the task untrained; at
    least one task that the data labels needs a weight above 0."""

    lines_weight: float = setting(1.0, "Model and losses", ge=0)
    """Weight of the roof line loss in the sum of the losses; 0 leaves the task untrained."""

    superstructures_weight: float = setting(0.0, "Model and losses", ge=0)
    """Weight of the loss of objects on roofs (windows, dormers, chimneys, modules), which RID
    labels. At 0 the model has no head for them."""

    depth_weight: float = setting(1.0, "Model and losses", ge=0)
    """Weight of the height loss in the sum of the losses; 0 leaves the task untrained. Roofline
    alone has heights."""

    dice_weight: float = setting(0.5, "Model and losses", ge=0)
    """Weight of the Dice loss, which scores overlap, beside the loss per pixel. Raise it when thin
    or rare classes are missed; 0 turns it off."""

    azimuth_smoothing: float = setting(0.1, "Model and losses", ge=0, le=0.5)
    """Share of a roof segment's label given to the two neighbouring compass directions, since many
    roofs lie near the border of two. 0 trains on the label alone."""

    epochs: int = setting(30, "Optimisation", ge=1)
    """Rounds of training, each with a validation at its end; steps_per_epoch says how long one is.
    Raise it while the validation metrics still rise at the end; the learning rate schedule
    stretches with it."""

    batch_size: int | Literal["auto"] = setting(8, "Optimisation")
    """Samples per forward and backward pass of each training process: the micro-batch. "auto" takes
    the largest that fits into memory and accumulates up to global_batch_size. Lower it when memory
    runs out, and raise grad_accum_steps by the same factor to keep the result similar."""

    grad_accum_steps: int = setting(1, "Optimisation", ge=1)
    """Passes whose gradients are added up before the weights change. One step sees batch_size x
    grad_accum_steps samples in each training process, at the memory of batch_size."""

    global_batch_size: int | None = setting(None, "Optimisation", ge=1, changes_weights=False)
    """Samples per step of all training processes together, which sets grad_accum_steps. None leaves
    it to batch_size and grad_accum_steps, and means 16 where batch_size is "auto"."""

    learning_rate: float = setting(1e-3, "Optimisation", gt=0, le=1)
    """Highest learning rate of the decoder and the heads, reached after the warm-up. Lower it when
    the loss jumps or turns to NaN."""

    backbone_learning_rate: float | None = setting(None, "Optimisation", gt=0, le=1)
    """Highest learning rate of the ResNet50 backbone. None means learning_rate for random weights
    and a tenth of it for pretrained ones, which a high rate would wash out."""

    backbone_lr_decay: float = setting(1.0, "Optimisation", gt=0, le=1)
    """Factor on the learning rate for each earlier part of the backbone: layer4 learns at
    backbone_learning_rate, layer3 at that rate times the factor, the stem at that rate times its
    fourth power. Lower it where few samples teach a pretrained backbone; 1 gives all parts the same
    rate."""

    freeze_backbone_fraction: float = setting(0.0, "Optimisation", ge=0, lt=1)
    """Share of all steps, from the first on, in which a pretrained backbone keeps its weights and
    its batch statistics. Until then it needs no backward pass, and it begins to learn when the
    decoder has learned something. No effect on random weights."""

    backbone_batchnorm: Literal["train", "frozen"] = setting("train", "Optimisation")
    """Which statistics the backbone normalises by: those of the batch, or, "frozen", those that
    came with pretrained weights. Try "frozen" where a pass holds fewer than 8 samples, whose
    statistics are rough. No effect on random weights."""

    initial_model_rate_factor: float = setting(0.1, "Optimisation", gt=0, le=1)
    """Factor on learning_rate for all parts taken from an initial_model: lower keeps more of it, 1
    learns as if from the beginning. New heads, and heads that were not taught all classes, learn at
    the full rate. A backbone_learning_rate overrides the factor for the backbone."""

    weight_decay: float = setting(0.02, "Optimisation", ge=0, le=1)
    """Pull of AdamW towards small weights; biases and normalisation are left out. Raise it when
    validation falls behind training."""

    warmup_fraction: float = setting(0.05, "Optimisation", ge=0, lt=1)
    """Share of all steps in which the learning rate rises from zero. Raise it when the first steps
    are unstable."""

    grad_clip_norm: float = setting(1.0, "Optimisation", gt=0)
    """Longest allowed norm of the gradient; a longer one is scaled down. Lower it when single
    batches throw the loss off."""

    ema_decay: float = setting(0.999, "Optimisation", ge=0, lt=1)
    """How slowly the averaged weights follow the trained ones, per step. Lower it for runs of a few
    hundred steps; 0 turns averaging off."""

    seed: int = setting(0, "Run", ge=0, lt=2**32)
    """Seed of initial weights, sample order and augmentation. Repeat a job with a few seeds to see
    how much of a difference is chance."""

    device: Literal["auto", "cpu", "cuda"] = setting("auto", "Run")
    """Where to train. "auto" takes a CUDA device if there is one and the CPU otherwise."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting("auto", "Run")
    """Number format of the forward and backward pass. "auto" takes the fastest one the device
    computes natively; choose fp32 to rule out rounding when a loss turns to NaN."""

    checkpoint_activations: bool = setting(False, "Run", changes_weights=False)
    """Keep only the activations between the backbone's stages, and compute the others again in the
    backward pass: saves up to half of their memory, takes a fifth to a third more time, and gives
    the same weights."""

    torch_compile: Literal["off", "on"] = setting("off", "Run", changes_weights=False)
    """Whether the network is compiled for the device, which takes minutes at the start. It needs a
    compiler and Python's headers, which the images do not have: without them the job is refused. If
    compiling itself fails, the job warns and trains uncompiled. On CPUs compiled steps are
    slower."""

    processes_per_host: int | None = setting(None, "Run", ge=1, le=64, changes_weights=False)
    """Training processes on each host, which share every step. None starts one for each GPU, or one
    where there is none. Set it on CPUs with many cores in several sockets; the batch of a step
    grows with it."""

    join_timeout_s: int = setting(240, "Run", ge=5, le=3600, changes_weights=False)
    """Seconds in which all hosts of a job must be there. Raise it where some take long to fetch
    their data."""

    resume: Literal["auto", "never", "force"] = setting("auto", "Run", changes_weights=False)
    """What to do with checkpoints of an earlier run. "auto" resumes from the newest and stops
    with an error if settings that change the result differ; "force" resumes even then; "never"
    starts from the beginning, but an interrupted SageMaker job still resumes its own. Checkpoints
    that a run does not resume are moved into a folder earlier-1 (2, 3, ...), never deleted."""

    checkpoint_every_steps: int = setting(100, "Run", ge=1, changes_weights=False)
    """Steps between two checkpoints. Lower it on spot instances: the steps after the last one are
    trained again."""

    keep_checkpoints: int = setting(2, "Run", ge=1, changes_weights=False)
    """Newest checkpoints of a run to keep; its older ones are deleted. Above 1, a damaged newest
    one costs only the steps since the one before it."""

    keep: Literal["best", "last"] = setting("best", "Run", changes_weights=False)
    """Which weights are exported. "best": those of the validation with the best score
    (docs/metrics.md), which may be the initial model's. "last": those of the last step, as also
    without any validation."""

    memory_interval_s: float = setting(1.0, "Run", ge=0.1, le=60, changes_weights=False)
    """Seconds between two measurements of memory. Lower it to catch short peaks."""

    memory_profile: bool = setting(False, "Run", changes_weights=False)
    """Whether one step is watched tensor by tensor, to show in the report what uses memory:
    weights, gradients, optimizer, the activations of each part of the network."""

    tensorboard: bool = setting(False, "Run", changes_weights=False)
    """Whether the metrics of each epoch are also written for TensorBoard, while the job runs, into
    output/tensorboard of the job's folder; `launch` has it copied to S3."""

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, values: object) -> object:
        """The values with those of the preset underneath."""
        if not isinstance(values, dict):
            return values
        phase = values.get("phase")
        preset = PRESETS.get(phase, {}) if isinstance(phase, int) else {}
        return {**preset, **values}

    @field_validator("datasets")
    @classmethod
    def _check_datasets(cls, text: str) -> str:
        read_dataset_names(text)
        return text

    # Before the union's own check, which would say the same in two sentences.
    @field_validator("batch_size", mode="before")
    @classmethod
    def _check_batch_size(cls, value: object) -> object:
        return check_batch_size(value)

    @field_validator("device")
    @classmethod
    def _check_device(cls, device: str, info: ValidationInfo) -> str:
        if device == "cpu" and info.data.get("phase") == 5:
            raise PydanticCustomError(
                OWN_ERROR,
                "expected none beside phase=5, which trains on a GPU; leave it out or take phase=4",
            )
        return device

    @field_validator("dataset_weights")
    @classmethod
    def _check_dataset_weights(cls, text: str) -> str:
        read_dataset_weights(text)
        return text

    # On the last of the weights that are above 0 by default, not on the whole model, so that the
    # problem is listed together with those of other fields.
    @field_validator("depth_weight")
    @classmethod
    def _check_weights(cls, depth_weight: float, info: ValidationInfo) -> float:
        names = ("segments_weight", "lines_weight", "superstructures_weight")
        if depth_weight == 0 and all(info.data.get(name) == 0 for name in names):
            raise PydanticCustomError(
                OWN_ERROR,
                "expected a number above 0 where the weights of all other tasks are 0",
            )
        return depth_weight

    @property
    def window_px(self) -> int:
        """Side of the windows that larger photos are predicted by, pixels.

        Networks trained on larger windows are used to seeing as much.
        """
        return max(LEAST_WINDOW_PX, self.crop_size_px)

    @property
    def micro_batch_size(self) -> int:
        """The batch_size, once app.resources.batch_size has put a number in the place of "auto"."""
        assert self.batch_size != "auto", "batch_size=auto is to be resolved first"
        return self.batch_size

    @property
    def tasks(self) -> "tuple[Task, ...]":
        """The tasks of a network that is trained with these settings."""
        # Late: process 1 reads settings too, and can do without numpy.
        from app.base.tasks import build_tasks

        return build_tasks(self.azimuth_bins, superstructures=self.superstructures_weight > 0)

    def count_epoch_steps(self, samples_per_pass: int, samples_per_step: int) -> int:
        """Optimizer steps of an epoch.

        Args:
            samples_per_pass: Samples until the first dataset has been seen once.
            samples_per_step: Samples of a step, of all processes.
        """
        if self.steps_per_epoch is not None:
            return self.steps_per_epoch
        num_steps = -(-samples_per_pass // samples_per_step)
        # With max_samples it is a trial, which is to be short.
        return num_steps if self.max_samples is not None else max(LEAST_EPOCH_STEPS, num_steps)

    def non_default(self) -> dict[str, object]:
        """The fields whose values differ from their defaults, for the log."""
        fields = type(self).model_fields
        return {name: value for name, value in self if value != fields[name].default}

    def to_texts(self) -> dict[str, str]:
        """All fields as texts, which `app.settings.texts.parse_hyperparameters` takes."""
        return {name: str(value) for name, value in self}

    def result_affecting(self) -> dict[str, int | float | str | None]:
        """The fields that change the trained weights; a resumed run must have the same."""
        fields = type(self).model_fields
        names = {name for name, field in fields.items() if changes_weights(field)}
        return self.model_dump(mode="json", include=names)
