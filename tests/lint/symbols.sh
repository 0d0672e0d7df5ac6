#!/bin/sh
# symbols.sh - a plugin exports its entry and nothing else. usage: symbols.sh BUILD_FOLDER
# SPDX-License-Identifier: MIT
set -eu
major=$(sed -n 's/^#define HCSMOE_ABI_MAJOR //p' "$(dirname "$0")/../../include/hcsmoe/host.h")
folder=$1/lib/hcsmoe/plugins-$major
status=0
n=0
for plugin in "$folder"/*.so; do
    [ -f "$plugin" ] || continue
    symbols=$(nm -D --defined-only "$plugin" | awk '{ print $NF }')
    n=$((n + 1))
    if [ "$symbols" != hcsmoe_plugin_v1 ]; then
        echo "$plugin: exports '$(echo "$symbols" | tr '\n' ' ')', expected hcsmoe_plugin_v1 alone"
        status=1
    fi
done
if [ "$n" -eq 0 ]; then
    echo "$folder: no plugin there"
    exit 1
fi
[ "$status" -eq 0 ] && echo "symbols: $n plugins export one symbol each"
exit "$status"
