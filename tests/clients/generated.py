"""Drives a Python client that was generated from the OpenAPI document: URL, API key, file. Prints what it got as JSON.

Run in the folder of the generated client.
"""

import io
import json
import sys
from pathlib import Path

from rokka_client import AuthenticatedClient
from rokka_client.api.source_images import (
    source_images_create,
    source_images_delete,
    source_images_download,
    source_images_get,
    source_images_list,
    source_images_rename,
    source_images_restore,
    source_images_set_user_metadata_field,
)
from rokka_client.models import UploadRequest
from rokka_client.types import File

url, key, path = sys.argv[1:]
client = AuthenticatedClient(url, token=key, prefix="", auth_header_name="Api-Key")
got = {}

with Path(path).open("rb") as file:
    upload = UploadRequest(
        filedata=File(io.BytesIO(file.read()), file_name="harbour.png", mime_type="image/png"),
        meta_user=json.dumps({"photographer": "Kim"}),
    )
added = source_images_create.sync("acme", client=client, body=upload)
hash = added.items[0].hash_
got["added"] = added.to_dict()
got["renamed"] = source_images_rename.sync_detailed("acme", hash, client=client, body="quay.png").status_code
got["set"] = source_images_set_user_metadata_field.sync_detailed(
    "acme", hash, "int:year", client=client, body=2026
).status_code
got["listed"] = source_images_list.sync("acme", client=client, limit=10).to_dict()
got["found"] = source_images_list.sync("acme", client=client, q="format:png AND user:int:year:2026").to_dict()
got["not found"] = source_images_list.sync("acme", client=client, q="format:jpg").to_dict()
content = source_images_download.sync_detailed("acme", hash, client=client)
got["downloaded"] = content.parsed.payload.read().hex()
got["deleted"] = source_images_delete.sync_detailed("acme", hash, client=client).status_code
got["missing"] = source_images_get.sync("acme", hash, client=client).to_dict()
got["in trash"] = source_images_list.sync("acme", client=client, deleted=True).to_dict()
got["restored"] = source_images_restore.sync("acme", hash, client=client).to_dict()
got["again"] = source_images_get.sync("acme", hash, client=client).to_dict()
json.dump(got, sys.stdout)
