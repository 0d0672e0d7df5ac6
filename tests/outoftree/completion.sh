#!/bin/sh
# completion.sh - what bash and zsh offer: commands, options, keys of the INI file at hand, names of plugins.
# SPDX-License-Identifier: MIT
. "$SRC/tests/outoftree/common.sh"
command -v bash >/dev/null || skip "no bash"
cd "$prefix/share/hcsmoe"

# A line up to the cursor, and words of which each must be offered.
cat >"$work/complete.bash" <<'E2'
. "$1/share/bash-completion/completions/hcsmoe"
COMP_LINE=$2 COMP_POINT=${#2} COMP_WORDS=("$1/bin/hcsmoe") COMPREPLY=()
_hcsmoe 2>/dev/null
printf '%s\n' "${COMPREPLY[@]}"
E2
offers() { # line words...
    bash "$work/complete.bash" "$prefix" "$1" >"$work/offered" || die "bash fails after '$1'"
    line=$1
    shift
    for word in "$@"; do
        grep -qxF -- "$word" "$work/offered" || die "after '$line' no '$word': $(head -n 20 "$work/offered")"
    done
}

offers "hcsmoe " run check config eval score tokenize sweep report inspect expand collapse plugins verify-plugin help -c --version
offers "hcsmoe in" inspect
[ "$(wc -l <"$work/offered")" -eq 1 ] || die "more than 'inspect': $(cat "$work/offered")"
offers "hcsmoe eval -" -m -c --json -s -q
offers "hcsmoe verify-plugin --" --reference
offers "hcsmoe verify-plugin ../../lib/hcsmoe/plugins-" "$(cd ../.. && echo lib/hcsmoe/plugins-* | sed 's|^|../../|')"
offers "hcsmoe verify-plugin -m con" config
offers "hcsmoe -c config/ti" config/tiny_hc.ini
offers "hcsmoe help merge." merge.freq merge.mean merge.merge
offers "hcsmoe help --" --markdown
offers "hcsmoe -c config/tiny_hc.ini -s " model.model_name= group.cluster= run.threads=
offers "hcsmoe -c config/tiny_hc.ini -s group.link" group.linkage=
offers "hcsmoe -c config/tiny_hc.ini -s group.cluster=" hierarchical kmeans
offers "hcsmoe sweep -c config/tiny_hc.ini --set merge.merge=fr" freq
offers "hcsmoe -c config/tiny_hc.ini -s output.layout=" mapped expanded collapsed
offers "hcsmoe inspect con" config
offers "hcsmoe report con" config
offers "hcsmoe report -" -o
offers "hcsmoe report config -o config/ti" config/tiny_hc.ini

command -v zsh >/dev/null || exit 0
zsh -n "$prefix/share/zsh/site-functions/_hcsmoe" || die "_hcsmoe does not parse"
# An interactive zsh behind a pseudo-terminal completes what is typed; what it makes of the line is then printed.
cat >"$work/complete.zsh" <<'E2'
zmodload zsh/zpty
zpty shell zsh -f -i
await() { # pattern
    local piece all= n
    for n in {1..600}; do
        while zpty -r -t shell piece; do all+=$piece; done
        [[ $all == *$~1* ]] && return
        sleep 0.05
    done
    print -r -- "no '$1' in: $all"
    exit 1
}
zpty -w shell "fpath=($1/share/zsh/site-functions \$fpath) path=($1/bin \$path); autoload -U compinit; compinit -u -D"
zpty -w shell "accept() { print -r -- \"<\$BUFFER>\"; BUFFER=; zle redisplay }; zle -N accept; bindkey '^G' accept; print rea'dy'"
await ready
zpty -w -n shell "$2"$'\t\a'
await "<$3>"
E2
becomes() { # typed line
    zsh "$work/complete.zsh" "$prefix" "$1" "$2" || die "zsh does not make '$2' of '$1'"
}
becomes "hcsmoe insp" "hcsmoe inspect "
becomes "hcsmoe help merge.fre" "hcsmoe help merge.freq "
becomes "hcsmoe -c config/tiny_hc.ini -s group.linka" "hcsmoe -c config/tiny_hc.ini -s group.linkage="
becomes "hcsmoe -c config/tiny_hc.ini -s group.simil" "hcsmoe -c config/tiny_hc.ini -s group.similarity_base="
becomes "hcsmoe -c config/tiny_hc.ini -s group.cluster=kme" "hcsmoe -c config/tiny_hc.ini -s group.cluster=kmeans "
becomes "hcsmoe eval --js" "hcsmoe eval --json "
becomes "hcsmoe verif" "hcsmoe verify-plugin "
