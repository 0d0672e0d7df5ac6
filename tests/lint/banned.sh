#!/bin/sh
# banned.sh - functions that nobody calls, and memory that only core/base allocates and plugins get from the host.
#
# What a library handed out with malloc goes back with free(p); a comment on that line, "from" and the function's name, says so.
# SPDX-License-Identifier: MIT
set -eu
cd "$(dirname "$0")/../.."
status=0

# Prints every call of the functions in files, with comments and strings blanked so that prose may name them.
calls() { # pattern files...
    pattern=$1
    shift
    awk -v pattern="(^|[^A-Za-z0-9_>.])($pattern)[ ]*\\(" '
    FNR == 1 { comment = 0 }
    {
        text = ""
        rest = $0
        while (rest != "") {
            if (comment) {
                i = index(rest, "*/")
                if (!i) break
                rest = substr(rest, i + 2); comment = 0
            } else if (match(rest, /\/\*|\/\/|"([^"\\]|\\.)*"|\047([^\047\\]|\\.)*\047/)) {
                text = text substr(rest, 1, RSTART - 1) " "
                token = substr(rest, RSTART, RLENGTH)
                rest = substr(rest, RSTART + RLENGTH)
                if (token == "/*") comment = 1
                else if (token == "//") break
            } else {
                text = text rest
                break
            }
        }
        if (text ~ pattern) print FILENAME ":" FNR ": " $0
    }' "$@"
}

report() { # message lines
    [ -z "$2" ] && return 0
    echo "$1:"
    echo "$2"
    status=1
}

sources() { # folders...
    find "$@" -name '*.[ch]' | sort
}

# shellcheck disable=SC2046 # file names have no spaces
report "banned" "$(calls 'strcpy|strcat|strncpy|strncat|sprintf|vsprintf|strtok|atoi|atol|atof|alloca|gets|tmpnam|mktemp' \
    $(sources include core kernels plugins tests))"
# shellcheck disable=SC2046
report "memory is allocated in core/base/mem.c and core/base/str.c, and by the host for plugins" \
    "$(calls 'malloc|calloc|realloc|free|posix_memalign|aligned_alloc|strdup|strndup|asprintf|vasprintf' \
        $(sources core kernels plugins | grep -vE '^core/base/(mem|str)\.c$') | grep -v 'free(.*/\* from [a-z]')"
# shellcheck disable=SC2046
report "a plugin never prints, exits or aborts" \
    "$(calls 'printf|fprintf|puts|fputs|perror|exit|abort|_exit|quick_exit' $(sources kernels plugins))"
[ "$status" -eq 0 ] && echo "banned: none called"
exit "$status"
