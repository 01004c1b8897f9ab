"""Arguments that several commands of `launch` share."""

import argparse
import math

from app.commands.options import positive


def add_image_and_role(group: argparse._ArgumentGroup, what: str, *, required: bool) -> None:
    """Add --image and --role.

    Args:
        group: Where to.
        what: Runs the image.
        required: Whether argparse says what is missing.
    """
    group.add_argument(
        "--image",
        required=required,
        metavar="URI",
        help=f"the image in ECR; its region is that of {what}",
    )
    group.add_argument(
        "--role", required=required, metavar="ARN", help=f"IAM role that {what} takes on"
    )


def add_job_name(group: argparse._ArgumentGroup) -> None:
    """Add --job-name."""
    group.add_argument(
        "--job-name", metavar="NAME", help="default: roof-model- and the time in UTC"
    )


def add_region(group: argparse._ArgumentGroup) -> None:
    """Add --region."""
    group.add_argument(
        "--region", help="default: AWS_REGION, the AWS configuration, or else the image's"
    )


def add_tags(group: argparse._ArgumentGroup, what: str) -> None:
    """Add --tag, which may be given again.

    Args:
        group: Where to.
        what: Has the tags.
    """
    group.add_argument(
        "--tag",
        dest="tags",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"a tag of {what}, for bills; may be given again",
    )


def add_network(group: argparse._ArgumentGroup) -> None:
    """Add what says which network containers have."""
    group.add_argument(
        "--network-isolation",
        action="store_true",
        help="no network in the container; S3 and logs still work: they are the platform's",
    )
    group.add_argument(
        "--subnets", nargs="+", default=[], metavar="ID", help="run in these subnets of a VPC"
    )
    group.add_argument(
        "--security-groups", nargs="+", default=[], metavar="ID", help="of the same VPC"
    )


def hours(text: str) -> float:
    """A number of hours.

    Raises:
        ArgumentTypeError: If the text is none that SageMaker takes.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    # One second is the shortest that SageMaker takes.
    if not 1 / 3600 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"expected hours above 0, got {text!r:.50}")
    return number


def add_max_hours(group: argparse._ArgumentGroup) -> None:
    """Add --max-hours."""
    group.add_argument(
        "--max-hours",
        type=hours,
        default=24.0,
        metavar="H",
        help="stop a job that runs longer (default: %(default)g)",
    )


def add_actions(group: argparse._ArgumentGroup, wait: str, printed: str) -> None:
    """Add --wait and --dry-run.

    Args:
        group: Where to.
        wait: What is done with --wait.
        printed: What --dry-run prints.
    """
    group.add_argument("--wait", action="store_true", help=wait)
    group.add_argument(
        "--dry-run", action="store_true", help=f"print {printed} as JSON and send nothing"
    )


def add_volume(group: argparse._ArgumentGroup) -> None:
    """Add --volume-gib."""
    group.add_argument(
        "--volume-gib",
        type=positive,
        default=100,
        metavar="GIB",
        help="disk of instances that have none of their own (default: %(default)s)",
    )


def add_keys(group: argparse._ArgumentGroup, what: str) -> None:
    """Add --output-kms-key and --volume-kms-key.

    Args:
        group: Where to.
        what: The first is for.
    """
    group.add_argument(
        "--output-kms-key",
        metavar="KEY",
        help=f"key of KMS for {what}: ID, ARN or alias/NAME (default: the bucket's own)",
    )
    add_volume_key(group)


def add_volume_key(group: argparse._ArgumentGroup) -> None:
    """Add --volume-kms-key."""
    group.add_argument(
        "--volume-kms-key",
        metavar="KEY",
        help="key of KMS for the disks of instances that have none of their own: ID or ARN",
    )
