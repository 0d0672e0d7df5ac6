#!/bin/sh
# refusals.sh - a wrong command line or INI ends with status 2 and one message that says where, before anything is written.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"
model=$SRC/config/data/tiny-mixtral

refuse() { # message, sed command that spoils the INI
    write_ini "$work/good.ini" "$model" "$work/out"
    sed "$2" "$work/good.ini" >"$work/run.ini"
    run -c "$work/run.ini"
    expect_status 2
    expect_error "$1"
    [ ! -e "$work/out" ] || die "something was written although '$1'"
}

run
expect_status 2
run -c "$work/none.ini"
expect_status 2
expect_error none.ini
refuse "run.ini:17" 's/^threads/thread/'
refuse "did you mean 'threads'" 's/^threads/thread/'
refuse "num_average_groups = 9" 's/^num_average_groups.*/num_average_groups = 9/'
refuse "run.ini:10" 's/= hierarchical/= hierarchal/'
refuse "did you mean 'hierarchical'" 's/= hierarchical/= hierarchal/'
refuse "did you mean 'average'" 's/= average/= averege/'
refuse "n_sentences" 's/^n_sentences.*/n_sentences = 0/'
refuse "no-such-folder" 's/^model_name.*/model_name = no-such-folder/'
