#!/bin/sh
# Entrypoint of the SeaweedFS container: writes the credentials and starts the server. Only the S3 port is reachable from
# other containers; the internal ports don't require credentials.
set -eu
config=/tmp/s3.json

umask 077
cat >"$config" <<JSON
{
  "identities": [
    {
      "name": "rokka",
      "credentials": [{"accessKey": "$S3_ACCESS_KEY", "secretKey": "$S3_SECRET_KEY"}],
      "actions": ["Admin", "Read", "Write", "List", "Tagging"]
    }
  ]
}
JSON
if [ "$(id -u)" = 0 ]; then
    chown seaweed "$config" # the image's entrypoint switches to this user
fi

exec /entrypoint.sh server -dir=/data -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.volumePreallocate=false -master.telemetry=false \
    -s3 -s3.port=8333 -s3.ip.bind=0.0.0.0 -s3.config="$config" -s3.iam=false \
    -s3.port.iceberg=0 -s3.port.lance=0 -s3.allowDeleteBucketNotEmpty=false -s3.autoCreateBucket=false
