"""`serve`: a trained model behind HTTP, as SageMaker's hosting asks containers."""

import argparse
import errno
import logging
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.base.errors import ConfigError
from app.base.machine import raise_file_limit
from app.commands.options import find_model_dir
from app.job.signals import StopFlag
from app.resources.cores import num_cores

if TYPE_CHECKING:
    from app.roofs.answers.answerer import Answerer

logger = logging.getLogger(__name__)

_BACKLOG: Final = 1024


def run(options: argparse.Namespace) -> int:
    """Answer requests until a signal asks to stop.

    Raises:
        ConfigError: If the port cannot be used, or there is no model.
        CheckpointError: If the model cannot be used, or fails its self-test.
    """
    stop_flag = StopFlag()
    stop_flag.listen()
    raise_file_limit()
    # Before anything slow: who waits for the port waits for an answer, and another one's is told.
    listener = _listen(options.host, options.port)
    options.held.callback(listener.close)
    host, port = listener.getsockname()[:2]
    logger.info("listening on %s, port %d; loading the model of %s", host, port, options.model)

    from app.commands.serve.server import serve
    from app.commands.serve.service import Limits, Service

    limits = Limits(options.queue, options.max_mb * 10**6)
    service = Service(limits)
    # An uncompressed prefix of S3 may begin above the model, as that of a job's output does.
    folder = find_model_dir(options.model)
    start_s = time.monotonic()
    service.load(lambda: _load(folder, options), lambda answerer: _tell_ready(answerer, start_s))
    return serve(listener, service, stop_flag)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: If nobody may listen there, or somebody does.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        remedy = "choose another --host and --port (SAGEMAKER_BIND_TO_PORT)"
        if error.errno == errno.EADDRINUSE:
            remedy = "end what listens there, or choose another --port (SAGEMAKER_BIND_TO_PORT)"
        # Python adds the address, which is there already.
        reason = (error.strerror or str(error)).partition(" (while ")[0]
        raise ConfigError(f"{host}, port {port}: cannot listen: {reason}; {remedy}") from error


def _load(folder: Path, options: argparse.Namespace) -> "Answerer":
    """The model, ready to answer.

    Raises:
        CheckpointError: If it cannot be used, or fails its self-test.
        ConfigError: If there is no such device.
    """
    # Late: torch takes seconds to import, in which others are told to wait.
    import torch

    from app.roofs.answers.answerer import load_answerer

    # A container may have fewer cores than the machine, of which alone torch knows.
    torch.set_num_threads(min(torch.get_num_threads(), num_cores()))
    max_photo_px = options.max_megapixels * 10**6
    answerer = load_answerer(folder, options.device, options.precision, max_photo_px)
    if not answerer.is_known:
        logger.warning(
            "%s holds no photo whose answer is known: the model was only asked whether it says "
            "numbers; train again to have one",
            folder,
        )
    if not answerer.calibration.is_enough:
        logger.warning("calibration of directions: %s", answerer.calibration.describe())
    return answerer


def _tell_ready(answerer: "Answerer", start_s: float) -> None:
    network = answerer.network
    logger.info(
        "ready after %.1f s: model %.12s in %s on %s, for photos of %.4g m per pixel",
        time.monotonic() - start_s,
        network.sha256,
        network.predictor.compute.precision,
        network.predictor.compute.device.type,
        network.gsd_m,
    )
