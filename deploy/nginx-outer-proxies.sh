#!/bin/sh
# Started by the nginx image before nginx. Writes the networks in OUTER_PROXIES, comma-separated, as set_real_ip_from.
set -eu
folder=${1:-/etc/nginx/outer-proxies}
mkdir -p "$folder"
for network in $(printf %s "${OUTER_PROXIES:-}" | tr ',' ' '); do
    case $network in
        *[!0-9a-fA-F:./]*)
            echo "OUTER_PROXIES: $network is not an address or a network." >&2
            exit 1
            ;;
    esac
    echo "set_real_ip_from $network;"
done >"$folder/trusted.conf"
