#!/bin/sh
# headers.sh - public headers as another minor has them, for hosts and plugins that are not there yet.
#
# usage: headers.sh INCLUDE OUT MAJOR MINOR [grow]
# grow: members behind the last one of every struct that may grow.
# SPDX-License-Identifier: MIT
set -eu
mkdir -p "$2/hcsmoe"
for header in "$1"/hcsmoe/*.h; do
    awk -v major="$3" -v minor="$4" -v grow="${5:-}" '
    /^#define HCSMOE_ABI_MAJOR / { $0 = "#define HCSMOE_ABI_MAJOR " major }
    /^#define HCSMOE_ABI_MINOR_LATEST / { $0 = "#define HCSMOE_ABI_MINOR_LATEST " minor }
    /^(typedef )?struct hcsmoe_[a-z_]+ \{/ { grows = 0; inside = 1 }
    inside && /uint32_t struct_size/ { grows = 1 }
    # Its size travels beside it.
    /^} hcsmoe_option;/ { grows = 1 }
    inside && /^}/ {
        if (grow != "" && grows) print "    uint64_t later[3];"
        inside = 0
    }
    { print }
    ' "$header" >"$2/hcsmoe/${header##*/}"
done
