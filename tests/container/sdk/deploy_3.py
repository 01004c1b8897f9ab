"""Deploys a model on this machine with SageMaker's SDK 3, asks about a photo, and deletes it.

    python deploy_3.py IMAGE MODEL.tar.gz PHOTO.tif ANSWER FOLDER PORT

Runs in an environment that has the SDK's core and nothing of this project.
"""

import sys
from pathlib import Path

import boto3
from sagemaker.core.local import LocalSession

NAME = "roofs"
image, model_file, photo, answer, folder, port = sys.argv[1:]
session = LocalSession(boto3.Session(region_name="eu-central-1"))
session.config = {
    "local": {"local_code": True, "container_root": folder, "serving_port": int(port)}
}
client = session.sagemaker_client
client.create_model(
    ModelName=NAME,
    PrimaryContainer={
        "Image": image,
        "ModelDataUrl": Path(model_file).as_uri(),
        "Environment": {},
    },
)
variant = {
    "VariantName": "all",
    "ModelName": NAME,
    "InstanceType": "local",
    "InitialInstanceCount": 1,
}
client.create_endpoint_config(NAME, [variant])
client.create_endpoint(NAME, NAME)
try:
    reply = session.sagemaker_runtime_client.invoke_endpoint(
        Body=Path(photo).read_bytes(),
        EndpointName=NAME,
        ContentType="image/tiff",
        Accept="application/geo+json",
        CustomAttributes="layer=lines",
    )
    Path(answer).write_bytes(reply["Body"].read())
finally:
    client.delete_endpoint(NAME)
