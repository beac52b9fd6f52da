# @GENERATED@
# shellcheck shell=bash

# What may follow command $1: sets `commands`, `options` and `arguments` (the kind of each); fails for no such command.
_foundry_command() {
    commands='' options='' arguments=()
    case $1 in
@COMMANDS@
        *) return 1 ;;
    esac
}

# The kind of value that option $2 of command $1 takes, in `value`; fails when it takes none.
_foundry_value() {
    case "$1 $2" in
@VALUES@
        *) return 1 ;;
    esac
}

# The kind of value that setting $1 has, in `value`.
_foundry_setting() {
    value=''
    case ${1,,} in
@SETTINGS@
    esac
}

# Names of the models that 'foundry $1 list' knows, or that are loaded, one per line. Only names that no shell has to quote.
_foundry_models() {
    local -a list=("$1" list)
    [[ $1 != loaded ]] || list=(model list --loaded)
    FOUNDRY_OFFLINE=1 command foundry "${list[@]}" --output json 2>/dev/null </dev/null | awk -F '"' -v group="$1" '@AWK@'
}

# The words up to the cursor in `words`, put together again where bash splits them: at ':' and '='.
_foundry_words() {
    local line=${COMP_LINE:0:COMP_POINT} rest word i
    words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        rest=${line#"${line%%[![:space:]]*}"}
        word=${COMP_WORDS[i]}
        if ((i == COMP_CWORD)); then word=$rest; fi
        if ((i > 0)) && [[ $rest == "$line" ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        line=${rest#"$word"}
    done
}

# Put into COMPREPLY which of the candidates begin with $1, in any case. $2 goes before each; $3 is the whole word:
# readline replaces only what follows its last ':' or '=', or its quotation mark, which stands behind $4.
_foundry_reply() {
    local candidate head=${4-} part char
    for char in : =; do
        (($# == 3)) || break
        part=${3%"${3##*"$char"}"}
        if [[ $COMP_WORDBREAKS == *"$char"* ]] && ((${#part} > ${#head})); then head=$part; fi
    done
    for candidate in "${candidates[@]}"; do
        if [[ ${candidate,,} == "${1,,}"* ]]; then
            candidate=$2$candidate
            COMPREPLY+=("${candidate:${#head}}")
        fi
    done
}

_foundry() {
    local -a words arguments candidates=() quoted=()
    local commands options value path='' pending='' is_literal='' position=0 word last prefix=''
    COMPREPLY=()
    _foundry_words
    ((${#words[@]})) || return 0 # not called by readline
    last=${words[${#words[@]} - 1]}
    if [[ $last =~ ^([^\"\']*)[\"\']([^\"\']*)$ ]]; then
        quoted=("${BASH_REMATCH[1]}")
        last=${BASH_REMATCH[1]}${BASH_REMATCH[2]}
    fi
    for word in "${words[@]:1:${#words[@]}-2}"; do
        if [[ $pending ]]; then
            pending=''
        elif [[ ! $is_literal && $word == -- ]]; then
            is_literal=yes
        elif [[ ! $is_literal && $word == -?* ]]; then
            if _foundry_value "$path" "$word"; then pending=$word; fi
        elif ((position == 0)) && _foundry_command "${path:+$path }$word"; then
            path=${path:+$path }$word
        else
            position=$((position + 1))
        fi
    done
    _foundry_command "$path"

    value=''
    word=$last
    if [[ $pending ]]; then
        _foundry_value "$path" "$pending"
    elif [[ ! $is_literal && $last == --*=* ]]; then
        _foundry_value "$path" "${last%%=*}" || return 0
        prefix=${last%%=*}=
        word=${last#*=}
    elif [[ ! $is_literal && $last == -* ]]; then
        value="words $options"
    elif [[ $commands ]]; then
        if ((position == 0)); then value="words $commands"; fi
    elif ((position < ${#arguments[@]})); then
        value=${arguments[position]}
    elif [[ ! $last && ! $is_literal ]]; then
        value="words $options"
    fi

    if [[ $value == setting ]]; then _foundry_setting "${words[${#words[@]} - 2]}"; fi
    case $value in
        'words '*) IFS=' ' read -ra candidates <<<"${value#words }" ;;
        model | cache | loaded) mapfile -t candidates < <(_foundry_models "$value") ;;
        file) compopt -o default 2>/dev/null ;;
        directory) compopt -o dirnames 2>/dev/null ;;
    esac
    _foundry_reply "$word" "$prefix" "$last" "${quoted[@]}"
}

complete -F _foundry foundry
