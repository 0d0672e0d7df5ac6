#!/bin/sh
# readme.sh - an afternoon as plugins/README.md writes it down: its commands are run in order, its outputs compared.
#
# ```sh blocks are run in one shell, a ```c block is saved under the name in its first comment, and a ```text block is
# what the last commands must have printed. There, a line "..." stands for any lines and inside of a line for any text,
# numbers with a point may differ by 2 %, and neither free disk space nor memory nor the number of spaces matters.
# SPDX-License-Identifier: MIT
. "$SRC/tests/outoftree/common.sh"
text=$prefix/share/doc/hcsmoe/plugins.md
export HOME="$work/home"
mkdir -p "$HOME/build" "$work/blocks"
ln -s "$BUILD" "$HOME/build/release"
unset PKG_CONFIG_PATH XDG_DATA_HOME

# blocks/NN.sh, NN.c, NN.text; and the order in which to run them.
awk -v folder="$work/blocks" '
    /^```/ && file == "" {
        kind = substr($0, 4)
        if (kind ~ /^(sh|c|text)$/) file = sprintf("%s/%02d.%s", folder, ++n, kind)
        else { print FILENAME ":" FNR ": a block of another kind: " kind; exit 1 }
        printf "" >file
        next
    }
    /^```/ { close(file); file = ""; next }
    file != "" { print >file }
    END { if (file != "") { print FILENAME ": a block is not closed"; exit 1 } }' "$text" || die "see above"
for block in "$work"/blocks/*; do
    case $block in
    *.sh) printf '. %s >%s.out 2>&1\n' "$block" "$block" ;;
    *.c)
        name=$(sed -n '2s/^ \* \([a-z_]*\.c\) - .*/\1/p' "$block")
        [ -n "$name" ] || die "$block: the second line does not name the file"
        printf 'cp %s %s\n' "$block" "$name"
        ;;
    esac
done >"$work/all.sh"
[ "$(grep -c '^\.' "$work/all.sh")" -ge 10 ] || die "fewer commands than the text has"

(cd "$HOME" && sh -eu "$work/all.sh") || die "$(for file in "$work"/blocks/*.out; do last=$file; done; cat "${last%.out}" "$last")"

plain() { # file
    sed -e "s|$HOME|/home/me|g" -e 's/[0-9.]* [GMT]B free/any free/' -e 's/^memory .*/memory any/' -e 's/ takes [0-9.]* MB$/ takes any/' -e 's/ *[|] */|/g' -e 's/--*/-/g' -e 's/  */ /g' -e 's/ $//' "$1"
}
failed=0
for block in "$work"/blocks/*.text; do
    number=${block##*/}
    number=$(printf %02d "$(expr "${number%.text}" - 1)")
    [ -f "$work/blocks/$number.sh.out" ] || die "${block##*/} follows no commands"
    plain "$block" >"$work/expected"
    plain "$work/blocks/$number.sh.out" >"$work/got"
    awk -v expected="$work/expected" '
        function number_at(s) { return match(s, /[0-9]+\.[0-9]+(e[-+]?[0-9]+)?/) }
        function alike(a, b,    x, y, i) {
            if ((i = index(a, "..."))) {
                x = substr(a, i + 3)
                y = length(b) - length(x)
                return y + 1 >= i && alike(substr(a, 1, i - 1), substr(b, 1, i - 1)) && alike(x, substr(b, y + 1))
            }
            while (a != b) {
                i = number_at(a)
                if (!i || number_at(b) != i || substr(a, 1, i - 1) != substr(b, 1, i - 1)) return 0
                number_at(a); x = substr(a, i, RLENGTH); a = substr(a, i + RLENGTH)
                number_at(b); y = substr(b, i, RLENGTH); b = substr(b, i + RLENGTH)
                if ((x - y) ^ 2 > (0.02 * (x + y) / 2) ^ 2) return 0
            }
            return 1
        }
        { got[++m] = $0 }
        END {
            while ((getline line <expected) > 0) want[++n] = line
            j = 1
            for (i = 1; i <= n; i++) {
                if (want[i] == "...") {
                    if (i == n) { j = m + 1; break }
                    while (j <= m && !alike(want[i + 1], got[j])) j++
                } else if (j > m || !alike(want[i], got[j++])) {
                    print "expected: " want[i] "\ngot:      " got[j - 1]
                    exit 1
                }
            }
            if (j <= m) { print "more lines than expected: " got[j]; exit 1 }
        }' "$work/got" || {
        echo "${text##*/}: these commands print something else than the text below them:"
        cat "$work/blocks/$number.sh"
        failed=1
    }
done >"$work/differences"
[ ! -s "$work/differences" ] || die "$(cat "$work/differences")"

# What the reader types in is as clean as the tree.
# shellcheck disable=SC2086 # a list of words
for block in "$work"/blocks/*.c; do
    cc -std=c11 $warnings -I"$prefix/include" -fsyntax-only "$block" || die "warnings"
    c++ -std=c++17 -x c++ $warnings -I"$prefix/include" -fsyntax-only "$block" || die "warnings as C++17"
done
exit "$failed"
