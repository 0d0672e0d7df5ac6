#!/bin/sh
# deb.sh - the Debian package: what it says, what it holds, that its dependencies are enough, and that it runs where it is unpacked.
# SPDX-License-Identifier: MIT
. "$SRC/tests/outoftree/common.sh"
for tool in cpack dpkg-deb dpkg-shlibdeps; do
    command -v "$tool" >/dev/null || skip "no $tool"
done
# What is built is packed as it is: without the last setting cpack would ask make whether all is up to date.
(cd "$BUILD" && cpack -G DEB -B "$work/package" -D CPACK_DEBIAN_COMPRESSION_TYPE=gzip -D CPACK_CMAKE_GENERATOR=Ninja) \
    >"$work/log" 2>&1 || die "$(tail "$work/log")"
version=$("$HCSMOE" --version | awk '{ sub(/,/, "", $2); print $2 }')
deb=$work/package/hcsmoe_${version}_$(dpkg --print-architecture).deb
expect_file "$deb"

# What it says of itself.
field() { # name
    dpkg-deb -f "$deb" "$1"
}
[ "$(field Package) $(field Version)" = "hcsmoe $version" ] || die "$(field)"
[ "$(field Section)" = science ] || die "section $(field Section)"
field Maintainer | grep -q '.* <.*@.*>$' || die "maintainer $(field Maintainer)"
field Description | awk 'length($0) > 81 { exit 1 }' || die "the description is wider than 80 columns"

# What it holds: root's, below /usr, nothing executable but the program, nothing writable by others, no empty file.
dpkg-deb -c "$deb" >"$work/list"
awk '
    $2 != "root/root" { print "owner: " $0 }
    $6 !~ /^\.\/(usr\/.*)?$/ { print "outside of /usr: " $0 }
    { want = /^d/ || $6 == "./usr/bin/hcsmoe" ? "rwxr-xr-x" : "rw-r--r--" }
    substr($1, 2) != want { print "not " want ": " $0 }
    /^-/ && $3 == 0 { print "empty: " $0 }' "$work/list" >"$work/wrong"
[ ! -s "$work/wrong" ] || die "$(cat "$work/wrong")"
for file in share/doc/hcsmoe/copyright share/man/man1/hcsmoe.1.gz share/bash-completion/completions/hcsmoe \
    share/zsh/vendor-completions/_hcsmoe lib/pkgconfig/hcsmoe-plugin.pc; do
    grep -q " \./usr/$file\$" "$work/list" || die "no /usr/$file"
done

root=$work/root
dpkg-deb -x "$deb" "$root"
dpkg-deb -e "$deb" "$work/control"
(cd "$root" && md5sum --quiet -c "$work/control/md5sums") || die "other bytes than md5sums says"
gzip -t "$root/usr/share/man/man1/hcsmoe.1.gz"

# Every library that a binary asks for is of a package that the package depends on.
field Depends | tr ',|' '\n\n' | awk '{ print $1 }' | sort -u >"$work/depends"
find "$root/usr/bin" "$root/usr/lib" -type f -exec sh -c 'readelf -h "$1" >/dev/null 2>&1' - {} \; -print >"$work/binaries"
[ "$(wc -l <"$work/binaries")" -gt 20 ] || die "fewer binaries than there are: $(cat "$work/binaries")"
while read -r binary; do
    readelf -S "$binary" | grep -q '\.symtab' && die "$binary is not stripped"
    readelf -d "$binary" | grep -E 'R(UN)?PATH' && die "$binary looks for libraries in folders of its own"
    readelf -d "$binary" | sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p' >>"$work/needed"
done <"$work/binaries"
sort -u "$work/needed" | while read -r library; do
    dpkg -S "*/$library" 2>/dev/null | sed 's/:.*//' | sort -u | grep -qxF -f "$work/depends" ||
        die "no package of Depends has $library: $(field Depends)"
done

# It runs from there with nothing around it but the system.
mkdir "$work/home"
clean() {
    env -i HOME="$work/home" PATH="$root/usr/bin:/usr/bin:/bin" "$@"
}
clean hcsmoe --version | grep -q "^hcsmoe $version," || die "$(clean hcsmoe --version)"
clean hcsmoe help merge.freq | grep -q " $root/usr/lib/hcsmoe/" || die "other plugins: $(clean hcsmoe help merge.freq)"
clean hcsmoe -q -c "$root/usr/share/hcsmoe/config/tiny_hc.ini" -s "output.output_path=$work/home/tiny-4x" \
    -s "output.result_path=$work/home/result.txt" -s eval.limit=4 >"$work/stdout" || die "the example does not run"
expect_text "$work/stdout" "6.2 MB -> 3.8 MB"
expect_text "$work/home/result.txt" winogrande
# shellcheck disable=SC2046 # a list of words
PKG_CONFIG_PATH=$root/usr/lib/pkgconfig
cc $(pkg-config --cflags hcsmoe-plugin) -fPIC -shared -o "$work/home/hcsmoe-merge-mine.so" \
    "$(pkg-config --variable=templatedir hcsmoe-plugin)/merge.c"
clean HCSMOE_PLUGIN_PATH="$work/home" hcsmoe help merge.mine | grep -q power || die "no plugin of my own"

# In a root with nothing but the package and the libraries of its dependencies: no /proc, no /etc, and of /dev
# only the folder of shared memory, without which LLVM's OpenMP does not start.
if [ "$(id -u)" -eq 0 ] && chroot / true 2>/dev/null; then
    xargs ldd <"$work/binaries" 2>/dev/null | sed -n 's/.*[[:space:]]\(\/[^ ]*\) (0x.*/\1/p' | sort -u | while read -r library; do
        to=$root/lib
        case $library in */ld-*) to=$root${library%/*} ;; esac
        mkdir -p "$to"
        cp -L "$library" "$to"
    done
    mkdir -p "$root/tmp" "$root/dev/shm"
    chroot "$root" /usr/bin/hcsmoe -q -c /usr/share/hcsmoe/config/tiny_hc.ini -s output.output_path=/tmp/tiny-4x \
        -s output.result_path= -s eval.task=winogrande -s eval.limit=4 >"$work/stdout" || die "it does not run in a bare root"
    expect_file "$root/tmp/tiny-4x/hcsmoe/report.json"
    cmp "$root/tmp/tiny-4x/model.safetensors" "$work/home/tiny-4x/model.safetensors" || die "other bytes in a bare root"
fi
