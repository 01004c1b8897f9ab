"""The command line of `launch predict`."""

import argparse
from typing import Final

from app.commands.launch import arguments
from app.commands.options import Commands, add_command, positive
from app.commands.predict import add_prediction_options

SUMMARY: Final = "predict the photos below a prefix of S3 in a SageMaker job"
USAGE: Final = """\
python -m app launch predict --image URI --role ARN --instance-type TYPE
           --photos S3-URI --model S3-URI --output S3-URI [more options]
"""
DESCRIPTION: Final = """\
Predict all photos below a prefix of S3 in a SageMaker Processing job, on any number of instances
that share the photos. The same command again predicts only what is missing. --dry-run prints the
request; it asks and sends nothing.
"""
EPILOG: Final = """\
example:
  python -m app launch predict --image ACCOUNT.dkr.ecr.REGION.amazonaws.com/roof-model:cpu \\
      --role arn:aws:iam::ACCOUNT:role/NAME --instance-type ml.c6i.4xlarge --instances 8 \\
      --photos s3://BUCKET/photos/ --output s3://BUCKET/roofs/ \\
      --model s3://BUCKET/roof-model/JOB/output/model.tar.gz

exit code: 0, the job was created (with --wait: it ended, and all photos are done), or nothing is
missing; 1, --wait saw it fail, or photos that cannot be predicted; 2, something on the command line
or in AWS has to be put right first; 130, Ctrl-C, which does not stop a job that was created.
docs/deploy.md says more.
"""


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    parser = add_command(commands, "launch predict", SUMMARY, DESCRIPTION, EPILOG, USAGE)
    parser.set_defaults(run=_run)
    _add_job(parser.add_argument_group("the job"))
    add_prediction_options(parser.add_argument_group("prediction, as `predict` has it"))
    _add_machines(parser.add_argument_group("machines and limits"))
    arguments.add_network(parser.add_argument_group("network"))
    arguments.add_keys(parser.add_argument_group("encryption"), "the outputs in S3")
    group = parser.add_argument_group("what this command does")
    arguments.add_actions(group, "wait until the job ends", "the request")


def _run(options: argparse.Namespace) -> int:
    from app.commands.launch.processing.options import read_options
    from app.commands.launch.processing.predict import predict

    return predict(read_options(options))


def _add_job(group: argparse._ArgumentGroup) -> None:
    arguments.add_image_and_role(group, "the job", required=True)
    for option, words in (
        ("--photos", "prefix of the photos, ending in /; those in folders below it count, too"),
        ("--model", "a job's model.tar.gz, or a model folder, ending in /"),
        ("--output", "where outputs go; photos whose outputs are there are not predicted again"),
    ):
        group.add_argument(option, required=True, metavar="S3-URI", help=words)
    arguments.add_job_name(group)
    arguments.add_region(group)
    arguments.add_tags(group, "the job")


def _add_machines(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--instance-type",
        required=True,
        metavar="TYPE",
        help="such as ml.c6i.4xlarge, ml.g5.xlarge",
    )
    group.add_argument(
        "--instances",
        type=positive,
        default=1,
        metavar="N",
        help="how many share the photos, at most one for each (default: %(default)s)",
    )
    arguments.add_volume(group)
    arguments.add_max_hours(group)
