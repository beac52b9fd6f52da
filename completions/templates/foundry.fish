# @GENERATED@

# The command typed so far, by its visible name, and the number of its arguments: "model run 0". At the name of an option
# it is "model run option"; at the value of one, which may look like an option, no command.
function __foundry_place
    set -l path
    set -l count 0
    set -l state command
    set -l tokens (commandline -opc)
    set -e tokens[1]
    for token in $tokens
        switch $state
            case value
                set state command
                continue
            case command
                switch $token
                    case --
                        set state literal
                        continue
                    case '-*'
                        if __foundry_takes_value $path $token
                            set state value
                        end
                        continue
                end
        end
        set -l found
        if test $count -eq 0
            set found (__foundry_command $path $token)
        end
        if test -n "$found"
            set path (string split ' ' -- $found)
        else
            set count (math $count + 1)
        end
    end
    set -l word (commandline -ct)
    if string match -q -- '-*' "$word"
        set count option
        if test $state = value
            set path the value of an option
        end
    end
    echo (string join ' ' -- $path $count)
end

# Whether the option at the end of the arguments takes a value, in the command before it.
function __foundry_takes_value
    switch "$argv"
        case @VALUES@
            return 0
    end
    return 1
end

# The visible name of a command; nothing when there is none of that name.
function __foundry_command
    switch "$argv"
@COMMANDS@
    end
end

# Whether the cursor is inside the command of that name.
function __foundry_inside
    set -l place (__foundry_place | string split ' ')
    set -e place[-1]
    test "$argv" = "$place"
end

# Whether the cursor is at an argument: the name of a command, then the number of arguments before it.
function __foundry_argument
    set -l place (__foundry_place)
    test "$argv" = "$place"
end

# Names of the models that 'foundry <group> list' knows, or that are loaded.
function __foundry_models -a group
    command -q foundry; or return
    set -lx FOUNDRY_OFFLINE 1
    set -l list $group list
    test $group = loaded; and set list model list --loaded
    command foundry $list --output json 2>/dev/null </dev/null | awk -F '"' -v group=$group '@AWK@'
end

# The values of the setting before the cursor.
function __foundry_setting
    set -l tokens (commandline -opc)
    switch (string lower -- $tokens[-1])
@SETTINGS@
    end
end

complete -c foundry -e
complete -c foundry -f
@ENTRIES@
