"""Deploys a model on this machine with SageMaker's SDK 2, asks about a photo, and deletes it.

    python deploy_2.py IMAGE MODEL.tar.gz PHOTO.tif ANSWER FOLDER PORT

Runs in an environment that has the SDK and nothing of this project.
"""

import sys
from pathlib import Path

import boto3
from sagemaker.deserializers import BytesDeserializer
from sagemaker.local import LocalSession
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.serializers import IdentitySerializer

image, model_file, photo, answer, folder, port = sys.argv[1:]
session = LocalSession(boto3.Session(region_name="eu-central-1"))
session.config = {
    "local": {"local_code": True, "container_root": folder, "serving_port": int(port)}
}
model = Model(
    image_uri=image,
    model_data=Path(model_file).as_uri(),
    role="arn:aws:iam::123456789012:role/roofs",
    predictor_cls=Predictor,
    sagemaker_session=session,
)
predictor = model.deploy(
    initial_instance_count=1,
    instance_type="local",
    serializer=IdentitySerializer("image/tiff"),
    deserializer=BytesDeserializer("application/geo+json"),
)
try:
    content = predictor.predict(
        Path(photo).read_bytes(), initial_args={"CustomAttributes": "layer=lines"}
    )
    Path(answer).write_bytes(content)
finally:
    predictor.delete_endpoint()
