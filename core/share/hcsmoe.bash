# hcsmoe.bash - completion of hcsmoe(1) for bash. Names come from the program, so that plugins of one's own are among them.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash

# "cluster.kmeans" for every plugin, or with a kind only the names of that kind.
_hcsmoe_names() { # program [kind]
    "$1" plugins 2>/dev/null | awk -v kind="$2" '
        /^[a-z]/ { of = $1 }
        /^ / && kind == "" { print of "." $1 }
        /^ / && kind == of { print $1 }'
}

# Commands, or the options in the usage of one.
_hcsmoe_commands() { # program
    "$1" help 2>/dev/null | awk '$1 == "hcsmoe" && $2 ~ /^\[?[a-z-]+\]?$/ { gsub(/[][]/, "", $2); print $2 }'
}
_hcsmoe_options() { # program command
    "$1" help "$2" 2>/dev/null | head -n 1 | grep -oE -- '(^|[ [])--?[a-z]+(-[a-z]+)*' | tr -d ' ['
    printf '%s\n' -q -v --plugin
}

# "section.key" for every key of the program and every option of a plugin.
_hcsmoe_keys() { # program
    "$1" help --markdown 2>/dev/null | awk '
        BEGIN {
            split("model model similarity group cluster group merge merge task eval kernels run", list, " ")
            for (i = 1; i in list; i += 2) of[list[i]] = list[i + 1]
        }
        /^### \[/ { section = substr($2, 2, length($2) - 2) }
        /^### [a-z]/ { section = of[substr($2, 1, index($2, ".") - 1)] }
        /^## / { section = "" }
        /^\| `/ && section != "" { key = substr($2, 2, length($2) - 2); if (!seen[section, key]++) print section "." key }'
}

# The values that a plugin's name can be.
_hcsmoe_values() { # program key
    case $2 in
    model.family) _hcsmoe_names "$1" model && echo auto ;;
    group.similarity_base) _hcsmoe_names "$1" similarity ;;
    group.cluster | group.dominant) _hcsmoe_names "$1" cluster ;;
    merge.merge) _hcsmoe_names "$1" merge && echo no ;;
    eval.task) _hcsmoe_names "$1" task ;;
    run.device) _hcsmoe_names "$1" kernels && echo auto ;;
    run.dtype) printf '%s\n' f32 bf16 ;;
    output.layout) printf '%s\n' mapped expanded collapsed ;;
    esac
}

_hcsmoe_reply() { # current word, candidates by line
    local IFS=$'\n'
    # shellcheck disable=SC2207 # split at line ends
    COMPREPLY=($(compgen -W "$2" -- "$1"))
}

_hcsmoe() {
    local program=${COMP_WORDS[0]} words word previous command='' ini='' key
    # Split at white space alone: bash splits at "=" as well.
    read -ra words <<<"${COMP_LINE:0:COMP_POINT}"
    [[ ${COMP_LINE:0:COMP_POINT} == *[[:space:]] ]] && words+=('')
    word=${words[-1]}
    previous=${words[-2]}
    local i
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        case ${words[i]} in
        -c) ini=${words[i + 1]} ;;
        -m | -s | -o | --set | --json | --trace | --reference | --plugin) ;;
        -*) ;;
        *) [[ -z $command && ${words[i - 1]} != -[cmso] && ${words[i - 1]} != --?* ]] && command=${words[i]} ;;
        esac
    done
    [[ -z $command && -n $ini ]] && command=run
    compopt -o filenames 2>/dev/null
    case $previous in
    -c | -o | --json | --trace | --reference | --plugin) mapfile -t COMPREPLY < <(compgen -f -- "$word") && return ;;
    -m) mapfile -t COMPREPLY < <(compgen -d -- "$word") && return ;;
    esac
    compopt +o filenames 2>/dev/null
    if [[ $previous == -s || $previous == --set ]]; then
        if [[ $word != *=* ]]; then
            compopt -o nospace 2>/dev/null
            _hcsmoe_reply "$word" "$(_hcsmoe_keys "$program" | sed 's/$/=/')"
            return
        fi
        # What stands before the "=" is a word of its own to bash, and stays as it is.
        key=${word%%=*}
        _hcsmoe_reply "${word#*=}" "$(_hcsmoe_values "$program" "$key")"
        [[ $COMP_WORDBREAKS == *=* ]] || COMPREPLY=("${COMPREPLY[@]/#/$key=}")
        return
    fi
    case $command in
    '') _hcsmoe_reply "$word" "$(_hcsmoe_commands "$program"; printf '%s\n' -c -q -v --plugin --version)" ;;
    *)
        if [[ $word == -* ]]; then
            _hcsmoe_reply "$word" "$(_hcsmoe_options "$program" "$command")"
        elif [[ $command == help ]]; then
            _hcsmoe_reply "$word" "$(_hcsmoe_commands "$program"; _hcsmoe_names "$program"; _hcsmoe_keys "$program")"
        elif [[ $command == inspect || $command == report || $command == expand || $command == collapse ]]; then
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -d -- "$word")
        elif [[ $command == verify-plugin ]]; then
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
        else
            _hcsmoe_reply "$word" "$(_hcsmoe_options "$program" "$command")"
        fi
        ;;
    esac
}

complete -F _hcsmoe hcsmoe
