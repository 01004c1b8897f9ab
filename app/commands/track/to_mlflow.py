"""Metrics of runs in MLflow."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from app.base.errors import ConfigError, first_line
from app.commands.track.runs import TrackedRun
from app.report.tensorboard import date_row, describe_row, identify

_PACKAGE: Final = "mlflow-skinny"
# By which a run is found again.
_IDENTITY: Final = "roof_model.run"
# Names of metrics that MLflow takes.
_FORBIDDEN: Final = re.compile(r"[^\w\-. /:]")
# Of one request.
_MAX_METRICS: Final = 900
_MAX_PARAMS: Final = 100
_MAX_PARAM_CHARS: Final = 500
# The last of a row: a row that has it is complete.
_LAST: Final = "epoch"
# MLflow's own would wait for minutes for a server that is not there.
_PATIENCE: Final = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


class MlflowTarget:
    """An experiment of MLflow.

    Args:
        uri: Address of the server, or anything else that MLflow takes.
        experiment: Name; made if it is not there.

    Raises:
        ConfigError: If MLflow is not installed, or does not answer.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow.entities import Metric, Param
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"--to mlflow needs the package {_PACKAGE}, which is not installed (no module "
                f"{error.name}); run: pip install {_PACKAGE}"
            ) from error
        self._uri, self._metric, self._param = uri, Metric, Param
        self._errors = (MlflowException, OSError)
        with self._explained():
            self._client = MlflowClient(tracking_uri=uri)
            found = self._client.get_experiment_by_name(experiment)
            self._experiment_id = (
                self._client.create_experiment(experiment) if found is None else found.experiment_id
            )

    def write(self, run: TrackedRun) -> int:
        """Write what MLflow lacks of a run; returns how many rows that were.

        Raises:
            ConfigError: If MLflow does not answer, or refuses.
        """
        with self._explained():
            return self._write(run)

    def _write(self, run: TrackedRun) -> int:
        logged = self._find(run)
        run_id = logged.info.run_id
        self._write_settings(run, logged)
        history = self._client.get_metric_history(run_id, _LAST)
        known = {int(metric.value) for metric in history}
        missing = [row for row in run.rows if row[_LAST] not in known]
        for row in missing:
            time_ms = round(1000 * date_row(row, run.rows[-1], run.ended_s))
            values = describe_row(row)
            values[_LAST] = values.pop(_LAST)
            metrics = [
                self._metric(_FORBIDDEN.sub("_", name), value, time_ms, int(row["step"]))
                for name, value in values.items()
            ]
            for some in _parts(metrics, _MAX_METRICS):
                self._client.log_batch(run_id, metrics=some)
        if run.is_finished and logged.info.status == "RUNNING":
            self._client.set_terminated(run_id, "FINISHED", round(1000 * run.ended_s))
        return len(missing)

    def _find(self, run: TrackedRun) -> Any:  # noqa: ANN401 - a class of MLflow's
        """MLflow's run, made if it is not there."""
        identity = identify(run.rows[0])
        found = self._client.search_runs(
            [self._experiment_id], filter_string=f"tags.`{_IDENTITY}` = '{identity}'"
        )
        if found:
            return found[0]
        start_s = date_row({}, run.rows[-1], run.ended_s)
        return self._client.create_run(
            self._experiment_id,
            start_time=round(1000 * start_s),
            tags={_IDENTITY: identity},
            run_name=run.name,
        )

    def _write_settings(self, run: TrackedRun, logged: Any) -> None:  # noqa: ANN401
        """Hyperparameters, which MLflow lets nobody change."""
        params = [
            self._param(name, str(value)[:_MAX_PARAM_CHARS])
            for name, value in run.settings.items()
            if name not in logged.data.params
        ]
        for some in _parts(params, _MAX_PARAMS):
            self._client.log_batch(logged.info.run_id, params=some)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of MLflow, and of its way there, into one line."""
        try:
            yield
        except self._errors as error:
            raise ConfigError(
                f"--to mlflow {self._uri:.200}: {first_line(error):.400}; check the address, and "
                "that its server is running; what is there already is not written again"
            ) from error


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
