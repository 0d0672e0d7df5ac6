# common.sh - what every end-to-end script starts with: . "$SRC/tests/e2e/common.sh"
# ctest gives HCSMOE (the program), SRC (the sources), BUILD (the build), SANITIZE. $work is a folder that goes away at the end.
# shellcheck shell=sh
# SPDX-License-Identifier: MIT
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

die() {
    echo "$0: $*" >&2
    exit 1
}

# Tells ctest that this cannot be tried here.
skip() {
    echo "skipped: $*"
    exit 77
}

# Runs the program with standard output and error in $work/stdout and $work/stderr; the exit status goes to $status.
run() {
    status=0
    "$HCSMOE" "$@" >"$work/stdout" 2>"$work/stderr" </dev/null || status=$?
    case $status in
    0 | 1 | 2 | 130) ;;
    *) die "hcsmoe $*: exit status $status: $(tail -n 20 "$work/stderr")" ;;
    esac
}

expect_status() {
    [ "$status" -eq "$1" ] || die "exit status $status, expected $1: $(tail -n 5 "$work/stderr")"
}

# One message that holds the text. A second word on the line may be a hint, so only a part is compared.
expect_error() {
    grep -qF -- "$1" "$work/stderr" || die "no '$1' in: $(cat "$work/stderr")"
}

expect_file() {
    [ -s "$1" ] || die "$1 is missing or empty"
}

expect_text() { # file text
    expect_file "$1"
    grep -qF -- "$2" "$1" || die "no '$2' in $1"
}

# An INI for a run on a small part of the bundled data, without evaluation.
write_ini() { # file model output
    cat >"$1" <<EOF
[model]
model_name = $2
[calibration]
data = $SRC/config/data/c4.first300.jsonl.gz
n_sentences = 4
block_size = 256
[group]
num_average_groups = 4
similarity_base = expert-output
cluster = hierarchical
linkage = average
[merge]
merge = freq
[output]
output_path = $3
[run]
threads = 2
EOF
}
