"""A stand-in for MLflow's client, as far as `track` uses it; real servers know nothing of tests."""

import sys
import types
from collections import namedtuple
from types import MappingProxyType, SimpleNamespace

Metric = namedtuple("Metric", "key value timestamp step")
Param = namedtuple("Param", "key value")


class MlflowException(Exception):
    pass


class Store:
    """What the server of an address has."""

    def __init__(self):
        self.experiments = {}
        self.runs = {}
        self.num_batches = 0
        self.fails_at_batch = None

    def metrics_of(self, run_id="0"):
        return self.runs[run_id].metrics


class MlflowClient:
    stores = MappingProxyType({})  # by address

    def __init__(self, tracking_uri):
        if tracking_uri not in self.stores:
            raise MlflowException(f"API request to {tracking_uri} failed\nConnection refused")
        self.store = self.stores[tracking_uri]

    def get_experiment_by_name(self, name):
        number = self.store.experiments.get(name)
        return None if number is None else SimpleNamespace(experiment_id=number)

    def create_experiment(self, name):
        return self.store.experiments.setdefault(name, str(len(self.store.experiments)))

    def search_runs(self, experiment_ids, filter_string):
        return [
            run
            for run in self.store.runs.values()
            if run.experiment_id in experiment_ids
            and any(filter_string == f"tags.`{k}` = '{v}'" for k, v in run.data.tags.items())
        ]

    def create_run(self, experiment_id, start_time, tags, run_name):
        number = str(len(self.store.runs))
        info = SimpleNamespace(run_id=number, status="RUNNING", run_name=run_name,
                               start_time=start_time, end_time=None)  # fmt: skip
        self.store.runs[number] = SimpleNamespace(
            info=info, data=SimpleNamespace(params={}, tags=tags), metrics=[],
            experiment_id=experiment_id,
        )  # fmt: skip
        return self.store.runs[number]

    def get_metric_history(self, run_id, key):
        return [metric for metric in self.store.runs[run_id].metrics if metric.key == key]

    def log_batch(self, run_id, metrics=(), params=()):
        assert len(metrics) <= 1000
        assert len(params) <= 100
        if self.store.num_batches == self.store.fails_at_batch:
            raise MlflowException("the server has gone away")
        self.store.num_batches += 1
        run = self.store.runs[run_id]
        run.metrics += metrics
        for param in params:
            assert run.data.params.setdefault(param.key, param.value) == param.value

    def set_terminated(self, run_id, status, end_time):
        self.store.runs[run_id].info.status = status
        self.store.runs[run_id].info.end_time = end_time


def install(monkeypatch, uri):
    """Make `import mlflow` find the stand-in, with a server at an address; returns its store."""
    for name, content in {
        "mlflow": {},
        "mlflow.entities": {"Metric": Metric, "Param": Param},
        "mlflow.exceptions": {"MlflowException": MlflowException},
        "mlflow.tracking": {"MlflowClient": MlflowClient},
    }.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    store = Store()
    monkeypatch.setattr(MlflowClient, "stores", {uri: store})
    return store
