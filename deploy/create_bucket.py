"""Create the bucket of STORAGE_URL if it does not exist. Run in the directory of manage.py, with PYTHONPATH=."""

import os

import django
from botocore.exceptions import ClientError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rokka.settings")
django.setup()

from sourceimages import storage  # noqa: E402 (requires the settings)
from sourceimages.storage.s3 import S3Storage  # noqa: E402


def create_bucket() -> None:
    originals = storage.originals()
    if not isinstance(originals, S3Storage):
        return
    try:
        originals.client.head_bucket(Bucket=originals.bucket_name)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        originals.client.create_bucket(Bucket=originals.bucket_name)


create_bucket()
