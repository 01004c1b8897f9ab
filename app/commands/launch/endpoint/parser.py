"""The command line of `launch deploy`."""

import argparse
import functools
from typing import Final

from app.commands.launch import arguments
from app.commands.options import Commands, add_command, positive

SUMMARY: Final = "put a model behind a SageMaker endpoint, or delete one"
USAGE: Final = """\
python -m app launch deploy --image URI --role ARN --model S3-URI --instance-type TYPE
           [more options]
       python -m app launch deploy --delete NAME [--region REGION]
"""
DESCRIPTION: Final = """\
Put a model behind a SageMaker endpoint: a model, an endpoint configuration and an endpoint of one
name. Everything is checked before anything is created, the driver that the image needs among it;
--dry-run prints the requests and sends nothing. --delete ends all three.
"""
EPILOG: Final = """\
examples:
  python -m app launch deploy --image ACCOUNT.dkr.ecr.REGION.amazonaws.com/roof-model:cpu \\
      --role arn:aws:iam::ACCOUNT:role/NAME --instance-type ml.c6i.xlarge --name roofs \\
      --model s3://BUCKET/roof-model/JOB/output/model.tar.gz --wait
  python -m app launch deploy --delete roofs

exit code: 0, the endpoint was created (with --wait: it answers), or deleted; 1, --wait saw it fail;
2, something on the command line or in AWS has to be put right first, and nothing is left behind;
130, Ctrl-C. docs/deploy.md says more.
"""
_NEEDED: Final = ("image", "role", "model", "instance_type")


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    parser = add_command(commands, "launch deploy", SUMMARY, DESCRIPTION, EPILOG, USAGE)
    parser.set_defaults(run=functools.partial(_run, parser))
    _add_endpoint(parser.add_argument_group("the endpoint"))
    _add_machines(parser.add_argument_group("machines"))
    _add_limits(parser.add_argument_group("limits of a request, as `serve` has them"))
    arguments.add_network(parser.add_argument_group("network"))
    group = parser.add_argument_group("what this command does")
    group.add_argument(
        "--delete", metavar="NAME", help="delete the endpoint, its configuration and its model"
    )
    arguments.add_actions(group, "wait until the endpoint answers", "the requests")


def _run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    missing = [f"--{name.replace('_', '-')}" for name in _NEEDED if getattr(options, name) is None]
    if options.delete is None and missing:
        parser.error(f"the following arguments are required: {', '.join(missing)}")
    from app.commands.launch.endpoint.delete import delete
    from app.commands.launch.endpoint.deploy import deploy
    from app.commands.launch.endpoint.options import read_options

    return (
        deploy(read_options(options)) if options.delete is None else delete(read_options(options))
    )


def _add_endpoint(group: argparse._ArgumentGroup) -> None:
    arguments.add_image_and_role(group, "the endpoint", required=False)
    group.add_argument(
        "--model",
        metavar="S3-URI",
        help="a job's model.tar.gz, or a model folder that lies there unpacked, ending in /",
    )
    group.add_argument(
        "--name", metavar="NAME", help="of all three; default: roof-model- and the time in UTC"
    )
    group.add_argument(
        "--asynchronous",
        action="store_true",
        help="photos and answers lie in S3: for up to 1 GB and an hour a photo",
    )
    group.add_argument(
        "--output",
        metavar="S3-URI",
        help="with --asynchronous: answers go to S3-URI/NAME/answers/ "
        "(default: s3://sagemaker-REGION-ACCOUNT/roof-model)",
    )
    arguments.add_region(group)
    arguments.add_tags(group, "all three")


def _add_machines(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--instance-type", metavar="TYPE", help="such as ml.c6i.xlarge, ml.g5.xlarge"
    )
    group.add_argument(
        "--instances", type=positive, default=1, metavar="N", help="how many (default: %(default)s)"
    )
    group.add_argument(
        "--cuda",
        type=int,
        choices=(12, 13),
        default=13,
        help="major version of CUDA that the gpu image is built with (default: %(default)s)",
    )
    group.add_argument(
        "--ami",
        metavar="NAME",
        help="machine image of GPU instances, which brings the driver (default: the newest)",
    )
    arguments.add_volume_key(group)


def _add_limits(group: argparse._ArgumentGroup) -> None:
    for option, words in (
        ("--queue", "requests that may wait"),
        ("--max-mb", "size of a photo's file, in millions of bytes"),
        ("--max-megapixels", "size of a photo, in its own pixels and at the model's scale"),
    ):
        group.add_argument(option, type=positive, metavar="N", help=words)
