"""The command line of `launch`."""

import argparse

from app.base.dataset_names import DATASET_TITLES
from app.commands.launch import arguments
from app.commands.launch.endpoint import parser as endpoint
from app.commands.launch.options import read_options
from app.commands.launch.processing import parser as processing
from app.commands.options import Commands, add_command, add_settings, positive
from app.job.inputs import DATASET_CHANNELS, MODEL_CHANNEL, PRETRAINED_CHANNEL
from app.job.paths import Paths

SUMMARY = "create a SageMaker training job"
USAGE = """\
python -m app launch --image URI --role ARN --instance-type TYPE
           (--rid | --roofline | --airs | --own) s3://BUCKET/PREFIX/ [more options]
"""

DESCRIPTION = """\
Create a SageMaker training job. Everything is checked before anything is sent; --dry-run
prints the request and sends nothing. Credentials are those of the AWS CLI.
"""

EPILOG = """\
examples:
  python -m app launch --image ACCOUNT.dkr.ecr.REGION.amazonaws.com/roof-model:cpu \\
      --role arn:aws:iam::ACCOUNT:role/NAME --rid s3://BUCKET/rid/ \\
      --instance-type ml.m5.xlarge --phase 1 --wait
  python -m app launch --image ACCOUNT.dkr.ecr.REGION.amazonaws.com/roof-model:gpu \\
      --role arn:aws:iam::ACCOUNT:role/NAME --rid s3://BUCKET/rid/ --airs s3://BUCKET/airs/ \\
      --instance-type ml.g5.xlarge --spot --phase 5 --set epochs=60

exit code: 0, the job was created (with --wait: it completed, or somebody stopped it); 1, --wait
saw it fail or reach a limit of time; 2, something on the command line or in AWS has to be put
right first; 130, Ctrl-C, which does not stop a job that was created. docs/launch.md says more.
"""


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    parser = add_command(commands, "launch", SUMMARY, DESCRIPTION, EPILOG, USAGE)
    parser.set_defaults(run=_run)
    _add_job(parser.add_argument_group("the job"))
    _add_data(
        parser.add_argument_group("data, each an S3 prefix that ends in / (--model: or in .tar.gz)")
    )
    _add_machines(parser.add_argument_group("machines and limits"))
    _add_places(parser.add_argument_group("where results go"))
    arguments.add_network(parser.add_argument_group("network"))
    _add_encryption(parser.add_argument_group("encryption"))
    group = parser.add_argument_group("what this command does")
    arguments.add_actions(group, "show status and log until the job ends", "the request")
    endpoint.add_parser(commands)
    processing.add_parser(commands)


def _run(options: argparse.Namespace) -> int:
    from app.commands.launch.launch import launch

    return launch(read_options(options))


def _add_job(group: argparse._ArgumentGroup) -> None:
    arguments.add_image_and_role(group, "the job", required=True)
    arguments.add_job_name(group)
    group.add_argument(
        "--phase",
        metavar="K",
        help="preset of hyperparameters; 1 is a smoke test on the CPU (docs/hyperparameters.md)",
    )
    add_settings(group)
    arguments.add_tags(group, "the job")


def _add_data(group: argparse._ArgumentGroup) -> None:
    for dataset in DATASET_CHANNELS:
        title = DATASET_TITLES[dataset]
        group.add_argument(
            f"--{dataset}", metavar="S3-URI", help=f"{title}; at least one dataset is needed"
        )
    for name, words in (
        (PRETRAINED_CHANNEL, "weights that the backbone starts from"),
        (MODEL_CHANNEL, "the whole model to start from: an earlier job's model.tar.gz"),
    ):
        group.add_argument(f"--{name}", metavar="S3-URI", help=words)
    group.add_argument(
        "--input-mode",
        choices=("File", "FastFile"),
        default="File",
        help="File copies the data before the start, FastFile reads it from S3 as it is needed "
        "(default: %(default)s)",
    )


def _add_machines(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--instance-type", required=True, metavar="TYPE", help="such as ml.m5.xlarge, ml.g5.xlarge"
    )
    group.add_argument(
        "--instances", type=positive, default=1, metavar="N", help="how many (default: %(default)s)"
    )
    arguments.add_volume(group)
    group.add_argument(
        "--spot",
        action="store_true",
        help="on spare capacity: cheaper; a job that is interrupted resumes from its checkpoints",
    )
    arguments.add_max_hours(group)
    group.add_argument(
        "--max-wait-hours",
        type=arguments.hours,
        metavar="H",
        help="with --spot: the same with waiting for capacity (default: twice --max-hours)",
    )


def _add_places(group: argparse._ArgumentGroup) -> None:
    arguments.add_region(group)
    group.add_argument(
        "--output",
        metavar="S3-URI",
        help="the model goes to S3-URI/JOB-NAME/output/ "
        "(default: s3://sagemaker-REGION-ACCOUNT/roof-model, account and region being the job's)",
    )
    group.add_argument(
        "--checkpoints",
        metavar="S3-URI",
        help=f"copy of {Paths().checkpoint_dir}; name that of an earlier job to resume it "
        "(default: OUTPUT/JOB-NAME/checkpoints/)",
    )


def _add_encryption(group: argparse._ArgumentGroup) -> None:
    arguments.add_keys(group, "the model in S3")
    group.add_argument(
        "--encrypt-traffic",
        action="store_true",
        help="encrypt what several instances send each other; they train more slowly",
    )
