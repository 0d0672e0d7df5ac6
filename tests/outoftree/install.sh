#!/bin/sh
# install.sh - the install tree holds what it promises, knows nothing of the folder it was made in, and runs where it was moved.
# SPDX-License-Identifier: MIT
. "$SRC/tests/outoftree/common.sh"
major=$(pkg-config --variable=abi_major hcsmoe-plugin)

for file in bin/hcsmoe "lib/hcsmoe/plugins-$major/hcsmoe-kernels-cpu.so" include/hcsmoe/plugin.h include/hcsmoe/family.h \
    lib/pkgconfig/hcsmoe-plugin.pc lib/cmake/hcsmoe/hcsmoeConfig.cmake lib/cmake/hcsmoe/hcsmoeConfigVersion.cmake \
    share/man/man1/hcsmoe.1.gz share/bash-completion/completions/hcsmoe share/zsh/site-functions/_hcsmoe \
    share/doc/hcsmoe/plugins.md share/doc/hcsmoe/copyright share/hcsmoe/config/tiny_hc.ini; do
    expect_file "$prefix/$file"
done
for kind in model similarity cluster merge task; do
    expect_file "$prefix/share/hcsmoe/template/$kind.c"
done
for file in "$BUILD"/lib/hcsmoe/plugins-"$major"/*.so; do
    expect_file "$prefix/lib/hcsmoe/plugins-$major/${file##*/}"
done

# Where it was made may stand in no text; binaries may name sources, but not look for libraries there.
if grep -rIlF -e "$work/made" -e "$BUILD" -e "$SRC/" "$prefix"; then
    die "these name a folder that only the builder has"
fi
for file in "$HCSMOE" "$prefix/lib/hcsmoe/plugins-$major"/*.so; do
    if readelf -d "$file" | grep -E 'R(UN)?PATH'; then
        die "$file looks for libraries in folders of its own"
    fi
done

# One number, in the headers, says which ABI this is.
header=$prefix/include/hcsmoe/host.h
grep -qx "#define HCSMOE_ABI_MAJOR $major" "$header" || die "pkg-config says major $major, host.h does not"
grep -qx "#define HCSMOE_ABI_MINOR_LATEST $(pkg-config --variable=abi_minor hcsmoe-plugin)" "$header" || die "other minor"
[ "$(pkg-config --variable=plugindir hcsmoe-plugin)" -ef "$prefix/lib/hcsmoe/plugins-$major" ] || die "plugindir"
run --version
expect_text "$work/stdout" "plugin ABI $(pkg-config --modversion hcsmoe-plugin)"

run plugins
expect_status 0
expect_text "$work/stdout" mixtral
run help merge.freq
expect_text "$work/stdout" "$prefix/lib/hcsmoe/plugins-$major/hcsmoe-merge-freq.so"

# The bundled example runs from there, as the manual page shows it.
run -c "$prefix/share/hcsmoe/config/tiny_hc.ini" -s group.linkage=ward -s "output.output_path=$work/out" \
    -s output.result_path= -s eval.task=winogrande -s eval.limit=4
expect_status 0
run inspect "$work/out"
expect_text "$work/stdout" mixtral

# The manual page knows every command, every option in their usage, and every exit status and variable.
gzip -dc "$prefix/share/man/man1/hcsmoe.1.gz" | sed 's/\\-/-/g' >"$work/man"
grep -q '@' "$work/man" && die "a name in @ was left in the manual page"
"$HCSMOE" help | awk '$1 == "hcsmoe" && NF > 2 && $2 !~ /:/ { gsub(/[][]/, "", $2); print $2 }' >"$work/commands"
[ "$(wc -l <"$work/commands")" -ge 12 ] || die "fewer commands than there are: $(cat "$work/commands")"
while read -r command; do
    grep -qE "^\.(BI?|BR) $command( |\$)" "$work/man" || die "hcsmoe.1 does not explain the command '$command'"
    "$HCSMOE" help "$command" | head -n 1 | grep -oE '(^| |\[)--?[a-z]+(-[a-z]+)*' | tr -d ' [' >>"$work/options"
done <"$work/commands"
for option in $(sort -u "$work/options") -q -v --plugin --version; do
    grep -qE "^\.BI? $option( |\$)" "$work/man" || die "hcsmoe.1 does not explain the option '$option'"
done
