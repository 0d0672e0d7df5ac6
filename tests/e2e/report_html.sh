#!/bin/sh
# report_html.sh - report.html in a browser: no script error, nothing fetched, every layer there, numbers those of report.json.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"

# ---- what needs no browser ----

page=$work/out/hcsmoe/report.html
run -q -c "$SRC/config/tiny_hc.ini" -s "output.output_path=$work/out" -s "output.result_path=$work/result.txt" -s eval.limit=8
expect_status 0
expect_file "$page"

# report makes the same file again, there or elsewhere.
cp "$page" "$work/first.html"
rm "$page"
run report "$work/out"
expect_status 0
cmp "$work/first.html" "$page" || die "report makes another page than the run"
run report "$work/out/" -o "$work/second.html"
expect_status 0
cmp "$work/first.html" "$work/second.html" || die "another page at -o"

# Nothing comes from elsewhere: links lead into the page, pictures are in it.
alone() { # page
    grep -oE '(href|src|action|data)="[^"]{0,10}' "$1" | grep -vE '^href="(#|data:image)' && die "$1 refers to something outside"
    grep -nE '@import|https?:|url\([^#]|<(img|iframe|link|object|embed|base)' "$1" && die "$1 fetches something"
    return 0
}
alone "$page"

# Without trees, without evaluation, with layers left alone and experts pruned.
write_ini "$work/run.ini" "$SRC/config/data/tiny-mixtral" "$work/pruned"
run -q -c "$work/run.ini" -s merge.merge=prune -s group.cluster=none -s group.start_layer=2
expect_status 0
run -q -c "$work/run.ini" -s group.cluster=kmeans -s "output.output_path=$work/kmeans" -s run.quality_tokens=0
expect_status 0
run -q -c "$work/run.ini" -s group.dominant=frequency -s group.similarity_base=router-logits -s "output.output_path=$work/dominant"
expect_status 0
for one in pruned kmeans dominant; do
    cp "$work/$one/hcsmoe/report.html" "$work/$one.html"
    run report "$work/$one"
    expect_status 0
    cmp "$work/$one.html" "$work/$one/hcsmoe/report.html" || die "$one: another page than the run's"
done
expect_text "$work/pruned.html" '2 of 4 layers were left alone'
expect_text "$work/pruned.html" '>pruned</th>'
expect_text "$work/pruned.html" 'Nothing was evaluated'
expect_text "$work/kmeans.html" 'The output error was not measured'
expect_text "$work/dominant.html" 'matrix of similarities'

# 60 experts in 24 layers stay readable, and small.
mkdir -p "$work/large/hcsmoe" "$work/hostile/hcsmoe"
awk -v layers=24 -v experts=60 -v groups=30 -f "$SRC/tests/e2e/report_large.awk" >"$work/large/hcsmoe/report.json"
run report "$work/large"
expect_status 0
size=$(wc -c <"$work/large/hcsmoe/report.html")
[ "$size" -lt 3000000 ] || die "the page of 60 experts in 24 layers has $size bytes"

# Names and texts that would be markup.
EVIL='</script></style></title><img src=x onerror=nosuch()>\"&amp;'"'" awk '
    function put(old, start, end,    i) { # evil text between start and end for the old one
        i = index($0, old)
        if (i) $0 = substr($0, 1, i - 1) start ENVIRON["EVIL"] end substr($0, i + length(old))
    }
    { put("\"name\": \"tiny-mixtral\"", "\"name\": \"", "\"")
      put("\"alias\": \"winogrande\"", "\"alias\": \"", "\"")
      put("\"warnings\": []", "\"warnings\": [\"", "\"]")
      print }' "$work/out/hcsmoe/report.json" >"$work/hostile/hcsmoe/report.json"
grep -c 'onerror' "$work/hostile/hcsmoe/report.json" | grep -qx '[67]' || die "the texts were not put in"
run report "$work/hostile"
expect_status 0
grep -q '<img' "$work/hostile/hcsmoe/report.html" && die "a name became markup"

run report "$work/out" "$work/pruned/" "$work/kmeans" "$work/hostile" -o "$work/several.html"
expect_status 0
alone "$work/several.html"
[ "$(grep -c 'data-run=' "$work/several.html")" -eq 4 ] || die "not four runs in the comparison"
expect_text "$work/several.html" 'merge.merge'

# Refused, with nothing written.
refused() { # status text arguments...
    want=$1
    text=$2
    shift 2
    run report "$@"
    expect_status "$want"
    expect_error "$text"
    [ "$(wc -l <"$work/stderr")" -eq 1 ] || die "not one line: $(cat "$work/stderr")"
    [ ! -e "$work/refused.html" ] || die "something was written"
}
refused 2 '2 folders: -o FILE is missing' "$work/out" "$work/kmeans"
refused 2 '0 arguments' -o "$work/refused.html"
refused 2 'hcsmoe/report.json: ' "$work" -o "$work/refused.html"
mkdir -p "$work/bad/hcsmoe"
head -c 900 "$work/out/hcsmoe/report.json" >"$work/bad/hcsmoe/report.json"
refused 2 'bad/hcsmoe/report.json:' "$work/bad" -o "$work/refused.html"
refused 2 'bad/hcsmoe/report.json:' "$work/out" "$work/bad" -o "$work/refused.html"
sed 's/"bytes": [0-9]*/"bytes": "many"/' "$work/out/hcsmoe/report.json" >"$work/bad/hcsmoe/report.json"
refused 2 "report.json: 'model.bytes' must be an integer" "$work/bad" -o "$work/refused.html"
refused 1 'no/such/folder' "$work/out" -o "$work/no/such/folder/refused.html"

# ---- in a browser ----

# A sanitized program makes the same pages; one look at them is enough.
case $SANITIZE in
OFF | "") ;;
*) exit 0 ;;
esac
command -v chromium >/dev/null || skip "no chromium: the pages were made, but not looked at"
# The page's DOM to $work/dom; what the browser's console says to $work/console.
browse() { # page [virtual milliseconds that it may take]
    timeout 120 chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking \
        --no-first-run --user-data-dir="$work/profile" \
        --virtual-time-budget="${2:-20000}" --enable-logging=stderr --dump-dom "file://$1" >"$work/dom" 2>"$work/log" ||
        die "chromium fails on $1: $(tail -n 5 "$work/log")"
    grep -F CONSOLE "$work/log" >"$work/console" || true
}
quiet() { # page [virtual milliseconds]
    browse "$@"
    [ ! -s "$work/console" ] || die "$1: $(cat "$work/console")"
}
echo '<!doctype html><script>nosuch()</script>' >"$work/broken.html"
browse "$work/broken.html"
[ -s "$work/console" ] || die "an error in a script goes unseen here"

quiet "$page"
grep -qF '<h1>tiny-mixtral</h1>' "$work/dom" || die "no page: $(head -c 500 "$work/dom")"
quiet "$work/several.html"
quiet "$work/hostile/hcsmoe/report.html"

# The page without its policy, which lets no script in but its own, and behind it the file it was made from.
equal() { # folder layers
    {
        grep -v 'http-equiv="Content-Security-Policy"' "$1/hcsmoe/report.html"
        echo '<script type="application/json" id="truth">'
        sed 's/</\\u003c/g' "$1/hcsmoe/report.json"
        echo '</script><script>'
        cat "$SRC/tests/e2e/report_check.js"
        echo '</script>'
    } >"$work/checked.html"
    # Pictures are decoded in the machine's own time: on a busy one the page's is over before the check is. It puts its
    # answer in the place of the page, itself included.
    for budget in 20000 200000 2000000; do
        quiet "$work/checked.html" $budget
        grep -qF document.body.textContent "$work/dom" || break
    done
    grep -qE "equal: [0-9]+ numbers, $2 layers" "$work/dom" || die "$1: $(tail -c 2000 "$work/dom")"
}
equal "$work/out" 4
equal "$work/large" 24
equal "$work/hostile" 4
equal "$work/pruned" 2
equal "$work/dominant" 4
equal "$work/kmeans" 4
# A number that differs is seen.
sed 's/\("output_error": 0\.\)./\19/' "$work/out/hcsmoe/report.json" >"$work/changed" && mv "$work/changed" "$work/out/hcsmoe/report.json"
if (equal "$work/out" 4) 2>/dev/null; then die "a changed number goes unseen"; fi
