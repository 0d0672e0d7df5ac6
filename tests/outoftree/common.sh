# common.sh - what every out-of-tree script starts with: . "$SRC/tests/outoftree/common.sh"
# $prefix is an install tree that was moved after it was made, $HCSMOE its program.
# shellcheck shell=sh
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"
case $SANITIZE in
OFF | "") ;;
*) skip "nobody installs a build with sanitizers" ;;
esac
unset HCSMOE_PLUGIN_PATH CFLAGS CXXFLAGS LDFLAGS DESTDIR
export XDG_DATA_HOME="$work/data"

prefix=$work/moved
cmake --install "$BUILD" --prefix "$work/made" >"$work/install.log" 2>&1 || die "$(tail "$work/install.log")"
mv "$work/made" "$prefix"
HCSMOE=$prefix/bin/hcsmoe
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"

# The warnings of the tree itself.
warnings="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wvla -Werror"
