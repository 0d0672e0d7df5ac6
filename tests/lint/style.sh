#!/bin/sh
# style.sh - what a reader should never have to notice: first comment, tabs, widths, lengths, promises.
# SPDX-License-Identifier: MIT
set -eu
cd "$(dirname "$0")/../.."
width=120
length=700
word=$(printf 'TO%s|FIX%s|XX%s' DO ME X)

files=$(find include core kernels plugins tests \( -name '*.[ch]' -o -name '*.cu' \) | sort)
# shellcheck disable=SC2086 # file names have no spaces
violations=$(awk -v width="$width" -v length_max="$length" -v word="(^|[^A-Za-z])($word)([^A-Za-z]|\$)" '
    function violation(line, why) { print FILENAME ":" line ": " why }
    function finish() {
        if (name != "" && !spdx) print name ":1: no SPDX-License-Identifier in the first comment"
        if (name != "" && lines > length_max) print name ":" lines ": more than " length_max " lines"
    }
    FNR == 1 {
        finish()
        name = FILENAME; spdx = 0; first = 1
        base = FILENAME; sub(/.*\//, "", base)
        pending = 0
        if (substr($0, 1, 2) != "/*") violation(1, "does not start with /* " base " - one line. */")
        else if (index($0, base " - ") == 0) pending = 1
    }
    FNR == 2 && pending && index($0, base " - ") == 0 { violation(1, "first comment is not \"" base " - one line.\"") }
    first && /SPDX-License-Identifier: MIT/ { spdx = 1 }
    first && /\*\// { first = 0 }
    { lines = FNR }
    /\t/ { violation(FNR, "tab") }
    /\r/ { violation(FNR, "carriage return") }
    /[ \t]$/ { violation(FNR, "space at the end of the line") }
    length($0) > width { violation(FNR, length($0) " columns, at most " width) }
    $0 ~ word { violation(FNR, "a promise: do it or leave it out") }
    END { finish() }
' $files)
if [ -n "$violations" ]; then
    echo "$violations"
    exit 1
fi
echo "style: $(echo "$files" | wc -l) files"
