#!/bin/sh
# demo.sh - builds the program and merges the bundled model: 8 experts to 4, evaluated before and after.
# SPDX-License-Identifier: MIT
set -eu
cd "$(dirname "$0")/.."

sh config/packages.sh gcc libc6-dev cmake make pkg-config libopenblas-openmp-dev libinih-dev libjansson-dev \
    libpcre2-dev libutf8proc-dev zlib1g-dev

# The folder is the one that tests/run.sh builds with gcc, so that neither builds again what the other has.
if [ ! -f build/release/CMakeCache.txt ]; then
    cmake -S . -B build/release -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=gcc
fi
cmake --build build/release -j 2 --target hcsmoe
mkdir -p build/demo

start=$(date +%s)
build/release/bin/hcsmoe -c config/tiny_hc.ini
echo
build/release/bin/hcsmoe sweep -q -c config/tiny_compare.ini --set merge.merge=freq,slim
echo "demo: $(($(date +%s) - start)) s, the merged model is in build/demo/tiny-4x, the report in build/demo/result.txt"
