#!/bin/sh
# layering.sh - who includes whom: plugins and kernels see the public headers only, a room of the core only rooms below it.
# SPDX-License-Identifier: MIT
set -eu
cd "$(dirname "$0")/../.."

# awk reads "file:line:#include ..." and prints every include that its file may not have.
violations=$(
    find include core kernels plugins -name '*.[ch]' -exec grep -HnE '^[[:space:]]*#[[:space:]]*include' {} + | awk '
    BEGIN {
        n = split("base share data plugin model run cmd", order, " ")
        for (i = 1; i <= n; i++) floor[order[i]] = i
        split("stddef.h stdint.h stdarg.h stdio.h", list, " ")
        for (i in list) public[list[i]] = 1
        # Libraries that belong to the core; a plugin that may use one is named with it.
        split("jansson.h pcre2.h utf8proc.h zlib.h ini.h cblas.h omp.h dlfcn.h pthread.h", list, " ")
        for (i in list) library[list[i]] = 1
        allowed["plugins/task/hellaswag.c", "utf8proc.h"] = 1
    }
    function violation(why) { print file ":" line ": " target ": " why }
    {
        match($0, /^[^:]*:[0-9]+:/)
        split(substr($0, 1, RLENGTH), at, ":")
        file = at[1]; line = at[2]
        target = $0
        sub(/^[^"<]*/, "", target); sub(/[^">]*$/, "", target)
        quoted = substr(target, 1, 1) == "\""
        name = substr(target, 2, length(target) - 2)
        split(file, part, "/")
        if (part[1] == "include") {
            if (quoted || (name !~ /^hcsmoe\// && !(name in public)))
                violation("a public header includes public headers and stddef, stdint, stdarg, stdio")
        } else if (part[1] == "plugins") {
            # A plugin of several files is a folder of its own, plugins/<kind>/<name>/, with a private header.
            if (quoted && (part[4] == "" || name ~ /\//))
                violation("a plugin includes <hcsmoe/...>, system headers, and headers of its own folder only")
            else if ((name in library) && !((file, name) in allowed)) violation("this library is not for plugins")
        } else if (part[1] == "kernels") {
            if (quoted && name ~ /^(base|share|data|plugin|model|run|cmd)\//) violation("kernels do not know the core")
            else if ((name in library) && name != "cblas.h" && name != "omp.h") violation("this library is not for kernels")
        } else if (part[2] in floor) {
            if (!quoted) {
                if (name == "cblas.h") violation("the core computes through the kernel table")
            } else {
                room = name; sub(/\/.*/, "", room)
                if (!(room in floor) || name !~ /\//) violation("includes in the core are written from the room: \"base/str.h\"")
                else if (floor[room] > floor[part[2]]) violation("the room " part[2] " may not see the room " room)
            }
        }
    }'
)
if [ -n "$violations" ]; then
    echo "$violations"
    exit 1
fi
echo "layering: every include goes down"
