#!/bin/sh
# writes.sh - no file outside the output and result paths is ever written: seen by strace where it works, and by
# comparing everything that stands around a run before and after.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"

mkdir "$work/home" "$work/here" "$work/tmp" "$work/results" "$work/inputs"
cp -r "$SRC/config/data/tiny-mixtral" "$work/inputs/model"
write_ini "$work/inputs/run.ini" "$work/inputs/model" "$work/results/out"
cat >>"$work/inputs/run.ini" <<EOF
quality_tokens = 64
[eval]
task = winogrande
limit = 2
data = $SRC/config/data/eval
samples = $work/results/samples.jsonl
EOF
sed -i "s|^output_path.*|&\nresult_path = $work/results/result.txt|" "$work/inputs/run.ini"
# Root writes in spite of this; the listing below tells.
chmod -R a-w "$work/inputs" "$work/home" "$work/here"
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

# Everything around the results: names, sizes, times.
around() {
    (cd "$work" && find inputs home here tmp -printf '%p %s %m %T@\n' | sort)
}

tracer=
if strace -f -o "$work/probe" true 2>/dev/null && [ "$SANITIZE" = OFF ]; then
    tracer="strace -f -qq -o $work/strace -e trace=open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,truncate,chmod,fchmodat,chown,fchownat,mknod,mknodat"
fi

# Lines of the trace that change something elsewhere than in the results, and did not fail. LLVM's OpenMP registers itself
# in shared memory.
strangers() {
    grep -vE ' = -1 |unfinished|resumed|\+\+\+|---' "$work/strace" |
        grep -E 'O_WRONLY|O_RDWR|O_CREAT|creat\(|mkdir|rename|link|rmdir|truncate|chmod|chown|mknod' |
        grep -vE "\"($work/results/[^\"]*|/dev/null|/dev/tty|/dev/shm/__KMP_REGISTERED_LIB_[^\"]*)\"" || true
}

try() { # arguments...
    before=$(around)
    : >"$work/strace"
    status=0
    # shellcheck disable=SC2086 # words
    (cd "$work/here" && HOME="$work/home" TMPDIR="$work/tmp" $tracer "$HCSMOE" -q "$@") \
        >"$work/stdout" 2>"$work/stderr" </dev/null || status=$?
    expect_status 0
    [ "$before" = "$(around)" ] || die "hcsmoe $*: changed what it only reads"
    [ -z "$tracer" ] || [ -z "$(strangers)" ] || die "hcsmoe $*: writes elsewhere: $(strangers)"
}

ini=$work/inputs/run.ini
try check -c "$ini"
[ -z "$(ls "$work/results")" ] || die "check wrote something"
try -c "$ini" --trace "$work/results/trace.json"
expect_file "$work/results/samples.jsonl"
# Were strace blind, it would have seen nothing of this either.
[ -z "$tracer" ] || expect_text "$work/strace" "$work/results/samples.jsonl"
try eval -m "$work/results/out" -c "$ini" --json "$work/results/eval.json"
try expand "$work/results/out" "$work/results/expanded"
try collapse "$work/results/out" "$work/results/collapsed"
try sweep -c "$ini" --set group.linkage=single,average --json "$work/results/sweep.json"
try inspect "$work/results/out"
try tokenize -m "$work/inputs/model"
try score -m "$work/inputs/model"
found=$(cd "$work/results" && echo *)
expected="collapsed eval.json expanded out result.txt samples.jsonl sweep.json trace.json"
[ "$found" = "$expected" ] || die "results are '$found', expected '$expected'"
