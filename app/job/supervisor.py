"""Process 1 of a container: starts a host's training processes and answers for how they end.

Training runs in processes of its own, because a process killed for memory cannot say why. Process 1
stays small and is never busy, so signals are passed on at once.

torchrun is not used. It is one more process that imports torch, ends with 1 whenever it was asked
to stop, sends the processes that are left the same signal after a crash as for a stop, and loses
their exit codes. `app.job.environments` sets the variables that torchrun would set.
"""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from app.base.children import own_command
from app.base.errors import EXIT_OK
from app.job.environments import build_environments, choose_num_processes
from app.job.failure import clear_failure, write_failure
from app.job.inputs import read_hosts
from app.job.paths import Paths
from app.job.peers import Peers
from app.job.processes import Processes
from app.job.script_mode import find_script
from app.job.signals import StopRequests
from app.job.start_log import log_start
from app.job.supervision import Failure, Part, Supervision
from app.resources.compiler import check_compiler
from app.resources.gpus import check_gpus, read_gpus, read_torch_build
from app.resources.memory_sampler import MemorySampler
from app.settings.texts import parse_hyperparameters

logger = logging.getLogger(__name__)

_SAMPLE_INTERVAL_S = 1.0
_SCRIPT_JOIN_LIMIT_S = 240.0


def run_job(
    arguments: Sequence[str],
    paths: Paths,
    settings: Mapping[str, object],
    requests: StopRequests,
    find_channels: Callable[[], Mapping[str, Path]],
) -> int:
    """Run this host's part of a job and return the exit code to end with.

    0 when it is done or was stopped on request; else the code of the first process that failed, or
    128 plus the number of the signal that ended it, with a failure file.

    Args:
        arguments: The command line, from its command on; every process gets the same.
        paths: The job's folders.
        settings: Hyperparameters as they were sent.
        requests: Requests to stop, already listening.
        find_channels: Returns the folders of datasets. Called only if memory ran out, to measure
            which settings would have fitted.

    Raises:
        RoofError: If the job cannot be started.
    """
    hosts, gpus, torch_build = read_hosts(paths), read_gpus(), read_torch_build()
    log_start(paths, hosts, gpus, torch_build, settings)
    script = find_script(paths, settings)
    if script:
        part = Part(hosts, script, num_processes=1, join_limit_s=_SCRIPT_JOIN_LIMIT_S)
    else:
        hyperparameters = parse_hyperparameters(settings)
        check_gpus(gpus, torch_build, hyperparameters.device)
        if hyperparameters.torch_compile == "on":
            check_compiler(on_gpu=hyperparameters.device != "cpu" and bool(gpus.names))
        num_processes = choose_num_processes(
            hyperparameters.processes_per_host, hyperparameters.device, gpus
        )

        def find_fitting() -> str | None:
            from app.resources.batch_size import describe_fitting

            logger.info("measuring what would have fitted")
            return describe_fitting(
                hyperparameters, find_channels(), num_processes, requests.to_stop
            )

        part = Part(
            hosts,
            script=None,
            num_processes=num_processes,
            join_limit_s=hyperparameters.join_timeout_s,
            find_fitting=find_fitting if len(hosts.names) == 1 else None,
        )
    role = "script" if script else "rank"
    command = own_command("-m", "app", *arguments, "--supervised", role)
    return _run_part(part, command, paths, requests)


def _run_part(part: Part, command: Sequence[str], paths: Paths, requests: StopRequests) -> int:
    """Start the processes once all hosts are there, and return the exit code after their end."""
    with (
        MemorySampler(_SAMPLE_INTERVAL_S, with_walks=False) as memory,
        Peers(part.hosts, num_processes=part.num_processes) as peers,
    ):
        if not peers.join(part.join_limit_s, requests.to_stop):
            logger.info("asked to stop before training began")
            return EXIT_OK
        if peers.failure is not None:
            return _report(Failure.of_peer(peers.failure), paths)
        environments = build_environments(part.hosts, part.num_processes)
        # A progress bar needs the terminal itself.
        keep_last_words = bool(part.script) or not sys.stderr.isatty()
        processes = Processes(command, environments, keep_last_words=keep_last_words)
        supervision = Supervision(part, processes, peers, requests, paths, memory)
        supervision.watch()
        failure = supervision.find_failure()
        if failure is None:
            return EXIT_OK
        peers.tell_failure(failure.message, failure.exit_code)
        return _report(failure, paths)


def _report(failure: Failure, paths: Paths) -> int:
    if not failure.is_told:
        logger.error("%s", failure.message)
    if failure.is_cause:
        clear_failure(paths)  # files of other processes are consequences
    write_failure(paths, failure.message, failure.details)
    return failure.exit_code
