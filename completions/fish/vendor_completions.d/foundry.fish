# Generated from the command tree by 'python .ci/generate_docs.py'; do not edit.

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
        case '--output' \
            '-o' \
            'model list --filter' \
            'model list --search' \
            'model list --source' \
            'model list --device' \
            'model list --type' \
            'model list --output' \
            'model list -o' \
            'model search --source' \
            'model search --limit' \
            'model search --output' \
            'model search -o' \
            'model info --device' \
            'model info --output' \
            'model info -o' \
            'model download --device' \
            'model load --ttl' \
            'model load --device' \
            'model load --ep' \
            'model load --output' \
            'model load -o' \
            'model unload --output' \
            'model unload -o' \
            'model run --prompt' \
            'model run --system' \
            'model run --temperature' \
            'model run --top-p' \
            'model run --max-tokens' \
            'model run --seed' \
            'model run --ttl' \
            'model run --device' \
            'model run --ep' \
            'model run --retain' \
            'model add --name' \
            'model add --alias' \
            'model convert --output' \
            'model convert --precision' \
            'model convert --device' \
            'model convert --name' \
            'model convert --alias' \
            'model test --device' \
            'model test --output' \
            'model test -o' \
            'model bench --device' \
            'model bench --output' \
            'model bench -o' \
            'cache location --output' \
            'cache location -o' \
            'cache list --output' \
            'cache list -o' \
            'cache remove --device' \
            'cache remove --output' \
            'cache remove -o' \
            'cache verify --output' \
            'cache verify -o' \
            'cache prune --older-than' \
            'cache prune --max-size' \
            'cache prune --output' \
            'cache prune -o' \
            'catalog list --output' \
            'catalog list -o' \
            'catalog add --name' \
            'provider add --url' \
            'provider add --model' \
            'provider add --api-key-env' \
            'provider add --api-key-file' \
            'provider add --output' \
            'provider add -o' \
            'provider list --output' \
            'provider list -o' \
            'provider remove --output' \
            'provider remove -o' \
            'service start --port' \
            'service start --idle-timeout' \
            'service start --log-level' \
            'service start --output' \
            'service start -o' \
            'service stop --output' \
            'service stop -o' \
            'service restart --port' \
            'service restart --idle-timeout' \
            'service restart --log-level' \
            'service restart --output' \
            'service restart -o' \
            'service status --output' \
            'service status -o' \
            'service ps --output' \
            'service ps -o' \
            'service diag --output' \
            'service diag -o' \
            'service set --port' \
            'service set --host' \
            'service set --cachedir' \
            'service set --default-log-level' \
            'service set --ttl' \
            'service set --idle-timeout' \
            'service set --engine' \
            'service set --conversations' \
            'service set --output' \
            'service set -o' \
            'hardware --output' \
            'hardware -o' \
            'run --prompt' \
            'run --system' \
            'run --temperature' \
            'run --top-p' \
            'run --max-tokens' \
            'run --seed' \
            'run --ttl' \
            'run --device' \
            'run --ep' \
            'run --retain' \
            'chat --prompt' \
            'chat --system' \
            'chat --temperature' \
            'chat --top-p' \
            'chat --max-tokens' \
            'chat --seed' \
            'chat --ttl' \
            'chat --device' \
            'chat --ep' \
            'chat --retain' \
            'complete --system' \
            'complete --temperature' \
            'complete --top-p' \
            'complete --max-tokens' \
            'complete --seed' \
            'complete --ttl' \
            'complete --device' \
            'complete --ep' \
            'complete --output' \
            'complete -o' \
            'server start --port' \
            'server start --idle-timeout' \
            'server start --log-level' \
            'server start --output' \
            'server start -o' \
            'server stop --output' \
            'server stop -o' \
            'server restart --port' \
            'server restart --idle-timeout' \
            'server restart --log-level' \
            'server restart --output' \
            'server restart -o' \
            'server status --output' \
            'server status -o' \
            'server logs --lines' \
            'server logs -n' \
            'config show --output' \
            'config show -o' \
            'config set --output' \
            'config set -o' \
            'config reset --output' \
            'config reset -o' \
            'status --output' \
            'status -o'
            return 0
    end
    return 1
end

# The visible name of a command; nothing when there is none of that name.
function __foundry_command
    switch "$argv"
        case 'model'
            echo 'model'
        case 'model list' 'model ls'
            echo 'model list'
        case 'model search'
            echo 'model search'
        case 'model info'
            echo 'model info'
        case 'model download'
            echo 'model download'
        case 'model load'
            echo 'model load'
        case 'model unload'
            echo 'model unload'
        case 'model run'
            echo 'model run'
        case 'model add'
            echo 'model add'
        case 'model convert'
            echo 'model convert'
        case 'model test'
            echo 'model test'
        case 'model bench'
            echo 'model bench'
        case 'cache'
            echo 'cache'
        case 'cache location'
            echo 'cache location'
        case 'cache list' 'cache ls'
            echo 'cache list'
        case 'cache cd'
            echo 'cache cd'
        case 'cache remove' 'cache rm'
            echo 'cache remove'
        case 'cache verify'
            echo 'cache verify'
        case 'cache repair'
            echo 'cache repair'
        case 'cache move'
            echo 'cache move'
        case 'cache prune'
            echo 'cache prune'
        case 'cache export'
            echo 'cache export'
        case 'cache import'
            echo 'cache import'
        case 'catalog'
            echo 'catalog'
        case 'catalog list' 'catalog ls'
            echo 'catalog list'
        case 'catalog add'
            echo 'catalog add'
        case 'catalog remove' 'catalog rm'
            echo 'catalog remove'
        case 'catalog refresh'
            echo 'catalog refresh'
        case 'provider'
            echo 'provider'
        case 'provider add'
            echo 'provider add'
        case 'provider list' 'provider ls'
            echo 'provider list'
        case 'provider remove' 'provider rm'
            echo 'provider remove'
        case 'service'
            echo 'service'
        case 'service start'
            echo 'service start'
        case 'service stop'
            echo 'service stop'
        case 'service restart'
            echo 'service restart'
        case 'service status'
            echo 'service status'
        case 'service ps' 'service list'
            echo 'service ps'
        case 'service diag'
            echo 'service diag'
        case 'service set'
            echo 'service set'
        case 'hardware'
            echo 'hardware'
        case 'zip-logs'
            echo 'zip-logs'
        case 'run'
            echo 'run'
        case 'chat'
            echo 'chat'
        case 'complete'
            echo 'complete'
        case 'server'
            echo 'server'
        case 'server start'
            echo 'server start'
        case 'server stop'
            echo 'server stop'
        case 'server restart'
            echo 'server restart'
        case 'server status'
            echo 'server status'
        case 'server logs'
            echo 'server logs'
        case 'config'
            echo 'config'
        case 'config show'
            echo 'config show'
        case 'config set'
            echo 'config set'
        case 'config reset'
            echo 'config reset'
        case 'status'
            echo 'status'
        case 'report'
            echo 'report'
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
    command foundry $list --output json 2>/dev/null </dev/null | awk -F '"' -v group=$group '($2 == "alias" || $2 == "id") && $4 ~ /^[A-Za-z0-9][A-Za-z0-9._:@+\/-]*$/ { names = names $4 "\n" } $2 == "bundled" && /true/ && group == "cache" { skip = 1 } /^ *}/ { if (!skip) printf "%s", names; names = ""; skip = 0 }'
end

# The values of the setting before the cursor.
function __foundry_setting
    set -l tokens (commandline -opc)
    switch (string lower -- $tokens[-1])
        case port
            printf '%s\n' auto
        case cache-directory
            __fish_complete_directories
        case log-level
            printf '%s\n' trace debug info warn error critical none
        case strict-fields
            printf '%s\n' true false
    end
end

complete -c foundry -e
complete -c foundry -f
complete -c foundry -n '__foundry_argument 0' -a model -d 'Discover, run and manage models'
complete -c foundry -n '__foundry_argument 0' -a cache -d 'Manage the local cache'
complete -c foundry -n '__foundry_argument 0' -a catalog -d 'Manage the catalogs that models come from'
complete -c foundry -n '__foundry_argument 0' -a provider -d 'Use models that other servers with OpenAI\'s interface run'
complete -c foundry -n '__foundry_argument 0' -a service -d 'Manage the local model inference service'
complete -c foundry -n '__foundry_argument 0' -a hardware -d 'Show processor, devices and execution providers'
complete -c foundry -n '__foundry_argument 0' -a zip-logs -d 'Collect the logs into a zip file, for a report'
complete -c foundry -n '__foundry_argument 0' -a run -d 'Chat with a model'
complete -c foundry -n '__foundry_argument 0' -a chat -d 'Chat with a model'
complete -c foundry -n '__foundry_argument 0' -a complete -d 'Answer one prompt and exit'
complete -c foundry -n '__foundry_argument 0' -a server -d 'Manage the service, as later versions do it'
complete -c foundry -n '__foundry_argument 0' -a config -d 'Show and change settings one by one'
complete -c foundry -n '__foundry_argument 0' -a status -d 'Show machine, service and models at a glance'
complete -c foundry -n '__foundry_argument 0' -a report -d 'Show what a report about a problem should say, as Markdown'
complete -c foundry -n '__foundry_inside' -l version -d 'Show the version and exit'
complete -c foundry -n '__foundry_inside' -l license -d 'Show the licence and exit'
complete -c foundry -n '__foundry_inside' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument model 0' -a list -d 'List the models of the catalogs and of this machine'
complete -c foundry -n '__foundry_argument model 0' -a search -d 'Look for models in the catalogs, or on Hugging Face'
complete -c foundry -n '__foundry_argument model 0' -a info -d 'Show what is known about a model'
complete -c foundry -n '__foundry_argument model 0' -a download -d 'Download a model'
complete -c foundry -n '__foundry_argument model 0' -a load -d 'Load a model into the service, so that the first answer comes at once'
complete -c foundry -n '__foundry_argument model 0' -a unload -d 'Unload a model from the service and give its memory back'
complete -c foundry -n '__foundry_argument model 0' -a run -d 'Chat with a model'
complete -c foundry -n '__foundry_argument model 0' -a add -d 'Check a model folder and copy it into the cache'
complete -c foundry -n '__foundry_argument model 0' -a convert -d 'Make a model of a checkpoint in safetensors format'
complete -c foundry -n '__foundry_argument model 0' -a test -d 'Test how a model behaves: template, stop tokens, streaming, Unicode and more, or its embeddings'
complete -c foundry -n '__foundry_argument model 0' -a bench -d 'Measure how fast a model is here: prefill, decode, several clients, long chats'
complete -c foundry -n '__foundry_inside model' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside model list' -l filter -x -d 'Show only some models'
complete -c foundry -n '__foundry_inside model list' -l search -x -d 'Only models whose names contain this text'
complete -c foundry -n '__foundry_inside model list' -l source -x -d 'Only models of this catalog'
complete -c foundry -n '__foundry_inside model list' -l cached -d 'Only models on this machine'
complete -c foundry -n '__foundry_inside model list' -l loaded -d 'Only models that the service has loaded'
complete -c foundry -n '__foundry_inside model list' -l device -x -a 'Auto CPU GPU NPU' -d 'Device whose variant of the model is meant'
complete -c foundry -n '__foundry_inside model list' -l type -x -a 'Chat Embedding Multimodal Speech' -d 'Only models of this type'
complete -c foundry -n '__foundry_inside model list' -l all-devices -d 'Also models that do not run on this machine, with the reason'
complete -c foundry -n '__foundry_inside model list' -l variants -d 'In JSON: \'variants\' with their names, in place of \'models\''
complete -c foundry -n '__foundry_inside model list' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside model list' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument model search 0'
complete -c foundry -n '__foundry_inside model search' -l source -x -d 'A catalog, or \'hf\' for Hugging Face'
complete -c foundry -n '__foundry_inside model search' -l limit -x -d 'Most results of Hugging Face'
complete -c foundry -n '__foundry_inside model search' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside model search' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument model info 0' -a '(__foundry_models model)' -d Model
complete -c foundry -n '__foundry_inside model info' -l license -d 'Show the licence of the model'
complete -c foundry -n '__foundry_inside model info' -l device -x -a 'Auto CPU GPU NPU' -d 'Device whose variant of the model is meant'
complete -c foundry -n '__foundry_inside model info' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside model info' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument model download 0' -a '(__foundry_models model)' -d Model
complete -c foundry -n '__foundry_inside model download' -l force -d 'Also when it does not run on this machine; check and mend it when it is here already'
complete -c foundry -n '__foundry_inside model download' -l accept-license -d 'Accept the licence of the model, where its source asks for that'
complete -c foundry -n '__foundry_inside model download' -l device -x -a 'Auto CPU GPU NPU' -d 'Device whose variant of the model is meant'
complete -c foundry -n '__foundry_inside model download' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument model load 0' -a '(__foundry_models model)' -d Model
complete -c foundry -n '__foundry_inside model load' -l ttl -x -d 'Seconds of idleness before the model is unloaded'
complete -c foundry -n '__foundry_inside model load' -l device -x -a 'Auto CPU GPU NPU' -d 'Device whose variant of the model is meant'
complete -c foundry -n '__foundry_inside model load' -l ep -x -d 'Execution provider to run it with, such as cpu or cuda'
complete -c foundry -n '__foundry_inside model load' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside model load' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument model unload 0' -a '(__foundry_models loaded)' -d Model
complete -c foundry -n '__foundry_inside model unload' -l all -d 'Unload every model'
complete -c foundry -n '__foundry_inside model unload' -l force -d 'Also when the model is answering; the answer ends'
complete -c foundry -n '__foundry_inside model unload' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside model unload' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument model run 0' -a '(__foundry_models model)' -d Model
complete -c foundry -n '__foundry_inside model run' -l prompt -x -d 'Answer this once, to standard output, and exit'
complete -c foundry -n '__foundry_inside model run' -l system -x -d 'System message'
complete -c foundry -n '__foundry_inside model run' -l temperature -x -d '0: always the most probable word'
complete -c foundry -n '__foundry_inside model run' -l top-p -x -d 'Share of probability to choose from'
complete -c foundry -n '__foundry_inside model run' -l max-tokens -x -d 'Longest answer in tokens'
complete -c foundry -n '__foundry_inside model run' -l seed -x -d 'Same seed, same answer'
complete -c foundry -n '__foundry_inside model run' -l ttl -x -d 'Seconds of idleness before the model is unloaded'
complete -c foundry -n '__foundry_inside model run' -l device -x -a 'Auto CPU GPU NPU' -d 'Device whose variant of the model is meant'
complete -c foundry -n '__foundry_inside model run' -l ep -x -d 'Execution provider to run it with, such as cpu or cuda'
complete -c foundry -n '__foundry_inside model run' -l retain -x -a 'true false' -d 'Keep other models loaded'
complete -c foundry -n '__foundry_inside model run' -l accept-license -d 'Accept the licence of the model, where its source asks for that'
complete -c foundry -n '__foundry_inside model run' -l verbose -d 'Show times and speed'
complete -c foundry -n '__foundry_inside model run' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument model add 0' -a '(__fish_complete_directories)'
complete -c foundry -n '__foundry_inside model add' -l name -x -d 'Name of the model'
complete -c foundry -n '__foundry_inside model add' -l alias -x -d 'Short name of the model'
complete -c foundry -n '__foundry_inside model add' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument model convert 0'
complete -c foundry -n '__foundry_inside model convert' -l output -x -a '(__fish_complete_directories)' -d 'Where the model is put; new or empty'
complete -c foundry -n '__foundry_inside model convert' -l precision -x -a 'int4 int8 fp16 bf16 fp32' -d 'Type of the weights'
complete -c foundry -n '__foundry_inside model convert' -l device -x -a 'cpu cuda dml webgpu trtrtx' -d 'What the model will run on'
complete -c foundry -n '__foundry_inside model convert' -l name -x -d 'Name of the model'
complete -c foundry -n '__foundry_inside model convert' -l alias -x -d 'Short name of the model'
complete -c foundry -n '__foundry_inside model convert' -l add -d 'Add the model to the cache, too'
complete -c foundry -n '__foundry_inside model convert' -l force -d 'Replace a model that is in the output directory'
complete -c foundry -n '__foundry_inside model convert' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument model test 0' -a '(__foundry_models model)' -d Model
complete -c foundry -n '__foundry_inside model test' -l device -x -a 'Auto CPU GPU NPU' -d 'Device whose variant of the model is meant'
complete -c foundry -n '__foundry_inside model test' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside model test' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument model bench 0' -a '(__foundry_models model)' -d Model
complete -c foundry -n '__foundry_inside model bench' -l quick -d 'Measure less, in a fraction of the time'
complete -c foundry -n '__foundry_inside model bench' -l device -x -a 'Auto CPU GPU NPU' -d 'Device whose variant of the model is meant'
complete -c foundry -n '__foundry_inside model bench' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside model bench' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument cache 0' -a location -d 'Show the directory where models are kept'
complete -c foundry -n '__foundry_argument cache 0' -a list -d 'List the models on this machine, and downloads that are not complete'
complete -c foundry -n '__foundry_argument cache 0' -a cd -d 'Keep models in another directory'
complete -c foundry -n '__foundry_argument cache 0' -a remove -d 'Delete models, and downloads that are not complete, from the cache'
complete -c foundry -n '__foundry_argument cache 0' -a verify -d 'Read the files of models and compare them with what was downloaded'
complete -c foundry -n '__foundry_argument cache 0' -a repair -d 'Fetch the damaged parts of a model again, and nothing else'
complete -c foundry -n '__foundry_argument cache 0' -a move -d 'Move all models to another directory'
complete -c foundry -n '__foundry_argument cache 0' -a prune -d 'Delete what is not needed: remains of interrupted work, and models by age or size'
complete -c foundry -n '__foundry_argument cache 0' -a export -d 'Write models as a mirror: a directory that other machines can use with \'foundry catalog add\''
complete -c foundry -n '__foundry_argument cache 0' -a import -d 'Copy models from a directory into the cache'
complete -c foundry -n '__foundry_inside cache' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside cache location' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside cache location' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside cache list' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside cache list' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument cache cd 0' -a '(__fish_complete_directories)'
complete -c foundry -n '__foundry_inside cache cd' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument cache remove 0' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache remove 1' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache remove 2' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache remove 3' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache remove 4' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache remove 5' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache remove 6' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache remove 7' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_inside cache remove' -l yes -s y -d 'Do not ask'
complete -c foundry -n '__foundry_inside cache remove' -l all -d 'Every model in the cache'
complete -c foundry -n '__foundry_inside cache remove' -l force -d 'Also a model that is loaded; its answers end'
complete -c foundry -n '__foundry_inside cache remove' -l device -x -a 'Auto CPU GPU NPU' -d 'Device whose variant of the model is meant'
complete -c foundry -n '__foundry_inside cache remove' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside cache remove' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument cache verify 0' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache verify 1' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache verify 2' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache verify 3' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache verify 4' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache verify 5' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache verify 6' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache verify 7' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_inside cache verify' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside cache verify' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument cache repair 0' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_inside cache repair' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument cache move 0' -a '(__fish_complete_directories)'
complete -c foundry -n '__foundry_inside cache move' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside cache prune' -l partials -d 'Downloads that were not finished; without another choice they go, too'
complete -c foundry -n '__foundry_inside cache prune' -l older-than -x -d 'Models not used for so many days'
complete -c foundry -n '__foundry_inside cache prune' -l max-size -x -d 'The least recently used models, until SIZE is left (20GB)'
complete -c foundry -n '__foundry_inside cache prune' -l dry-run -d 'Only show what would be deleted'
complete -c foundry -n '__foundry_inside cache prune' -l yes -s y -d 'Do not ask'
complete -c foundry -n '__foundry_inside cache prune' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside cache prune' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument cache export 0' -a '(__fish_complete_directories)'
complete -c foundry -n '__foundry_argument cache export 1' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache export 2' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache export 3' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache export 4' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache export 5' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache export 6' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache export 7' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_argument cache export 8' -a '(__foundry_models cache)' -d Model
complete -c foundry -n '__foundry_inside cache export' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument cache import 0' -a '(__fish_complete_directories)'
complete -c foundry -n '__foundry_inside cache import' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument catalog 0' -a list -d 'List the catalogs, how many models each knows, and how old its list is'
complete -c foundry -n '__foundry_argument catalog 0' -a add -d 'Add a catalog: a mirror made by \'foundry cache export\', in a directory or on a web server'
complete -c foundry -n '__foundry_argument catalog 0' -a remove -d 'Remove a catalog'
complete -c foundry -n '__foundry_argument catalog 0' -a refresh -d 'Fetch the lists of the catalogs now'
complete -c foundry -n '__foundry_inside catalog' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside catalog list' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside catalog list' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument catalog add 0' -a '(__fish_complete_directories)'
complete -c foundry -n '__foundry_inside catalog add' -l name -x -d 'What it is called here'
complete -c foundry -n '__foundry_inside catalog add' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument catalog remove 0'
complete -c foundry -n '__foundry_inside catalog remove' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument catalog refresh 0'
complete -c foundry -n '__foundry_inside catalog refresh' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument provider 0' -a add -d 'Add a model that another server runs; requests that name it are sent there'
complete -c foundry -n '__foundry_argument provider 0' -a list -d 'List the models that other servers run, and where their keys are'
complete -c foundry -n '__foundry_argument provider 0' -a remove -d 'Remove a model that another server runs'
complete -c foundry -n '__foundry_inside provider' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument provider add 0'
complete -c foundry -n '__foundry_inside provider add' -l url -x -d 'Base URL as OpenAI\'s clients take it: https://api.example.com/v1'
complete -c foundry -n '__foundry_inside provider add' -l model -x -a '(__foundry_models model)' -d Model -d 'What the model is called there'
complete -c foundry -n '__foundry_inside provider add' -l api-key-env -x -d 'Environment variable that holds the key'
complete -c foundry -n '__foundry_inside provider add' -l api-key-file -r -F -d 'File of mode 0600 that holds the key'
complete -c foundry -n '__foundry_inside provider add' -l insecure -d 'Allow http, which is not encrypted, to another machine'
complete -c foundry -n '__foundry_inside provider add' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside provider add' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside provider list' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside provider list' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument provider remove 0'
complete -c foundry -n '__foundry_inside provider remove' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside provider remove' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument service 0' -a start -d 'Start the service in the background; returns when it answers'
complete -c foundry -n '__foundry_argument service 0' -a stop -d 'Stop the service; running answers get up to ten seconds'
complete -c foundry -n '__foundry_argument service 0' -a restart -d 'Stop the service and start it again'
complete -c foundry -n '__foundry_argument service 0' -a status -d 'Show whether the service runs and where it listens'
complete -c foundry -n '__foundry_argument service 0' -a ps -d 'List the models that are loaded'
complete -c foundry -n '__foundry_argument service 0' -a diag -d 'Show facts about the machine, the program and the service'
complete -c foundry -n '__foundry_argument service 0' -a set -d 'Change settings; a running service takes them up, with a restart where one is needed'
complete -c foundry -n '__foundry_inside service' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside service start' -l port -x -d 'TCP port, this time'
complete -c foundry -n '__foundry_inside service start' -l idle-timeout -x -d 'Minutes without a request after which the service stops, this time; 0: never'
complete -c foundry -n '__foundry_inside service start' -l log-level -x -a 'trace debug info warn error critical none' -d 'trace, debug, info, warn, error, critical or none, this time'
complete -c foundry -n '__foundry_inside service start' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside service start' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside service stop' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside service stop' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside service restart' -l port -x -d 'TCP port, this time'
complete -c foundry -n '__foundry_inside service restart' -l idle-timeout -x -d 'Minutes without a request after which the service stops, this time; 0: never'
complete -c foundry -n '__foundry_inside service restart' -l log-level -x -a 'trace debug info warn error critical none' -d 'trace, debug, info, warn, error, critical or none, this time'
complete -c foundry -n '__foundry_inside service restart' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside service restart' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside service status' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside service status' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside service ps' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside service ps' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside service diag' -l logs -d 'Show the log of the service'
complete -c foundry -n '__foundry_inside service diag' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside service diag' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside service set' -l port -x -d 'TCP port; 0: chosen by the system, then kept'
complete -c foundry -n '__foundry_inside service set' -l host -x -d 'Address to listen on; beyond this machine only with FOUNDRY_API_KEY'
complete -c foundry -n '__foundry_inside service set' -l cachedir -x -a '(__fish_complete_directories)' -d 'Directory where models are kept'
complete -c foundry -n '__foundry_inside service set' -l default-log-level -x -a 'trace debug info warn error critical none' -d 'trace, debug, info, warn, error, critical or none'
complete -c foundry -n '__foundry_inside service set' -l ttl -x -d 'Seconds of idleness before a model is unloaded'
complete -c foundry -n '__foundry_inside service set' -l idle-timeout -x -d 'Minutes without a request after which the service stops; 0: never'
complete -c foundry -n '__foundry_inside service set' -l engine -x -a 'auto batch genai' -d 'auto, batch or genai: what runs models that are loaded from now on'
complete -c foundry -n '__foundry_inside service set' -l conversations -x -d 'Space on disk for conversations that go on after a restart; 0: none are kept'
complete -c foundry -n '__foundry_inside service set' -l strict -l no-strict -d 'Refuse requests with fields that would be ignored, or only name these in a header'
complete -c foundry -n '__foundry_inside service set' -l show -d 'Show the settings'
complete -c foundry -n '__foundry_inside service set' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside service set' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside hardware' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside hardware' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument zip-logs 0' -F
complete -c foundry -n '__foundry_inside zip-logs' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument run 0' -a '(__foundry_models model)' -d Model
complete -c foundry -n '__foundry_inside run' -l prompt -x -d 'Answer this once, to standard output, and exit'
complete -c foundry -n '__foundry_inside run' -l system -x -d 'System message'
complete -c foundry -n '__foundry_inside run' -l temperature -x -d '0: always the most probable word'
complete -c foundry -n '__foundry_inside run' -l top-p -x -d 'Share of probability to choose from'
complete -c foundry -n '__foundry_inside run' -l max-tokens -x -d 'Longest answer in tokens'
complete -c foundry -n '__foundry_inside run' -l seed -x -d 'Same seed, same answer'
complete -c foundry -n '__foundry_inside run' -l ttl -x -d 'Seconds of idleness before the model is unloaded'
complete -c foundry -n '__foundry_inside run' -l device -x -a 'Auto CPU GPU NPU' -d 'Device whose variant of the model is meant'
complete -c foundry -n '__foundry_inside run' -l ep -x -d 'Execution provider to run it with, such as cpu or cuda'
complete -c foundry -n '__foundry_inside run' -l retain -x -a 'true false' -d 'Keep other models loaded'
complete -c foundry -n '__foundry_inside run' -l accept-license -d 'Accept the licence of the model, where its source asks for that'
complete -c foundry -n '__foundry_inside run' -l verbose -d 'Show times and speed'
complete -c foundry -n '__foundry_inside run' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument chat 0' -a '(__foundry_models model)' -d Model
complete -c foundry -n '__foundry_inside chat' -l prompt -x -d 'Answer this once, to standard output, and exit'
complete -c foundry -n '__foundry_inside chat' -l system -x -d 'System message'
complete -c foundry -n '__foundry_inside chat' -l temperature -x -d '0: always the most probable word'
complete -c foundry -n '__foundry_inside chat' -l top-p -x -d 'Share of probability to choose from'
complete -c foundry -n '__foundry_inside chat' -l max-tokens -x -d 'Longest answer in tokens'
complete -c foundry -n '__foundry_inside chat' -l seed -x -d 'Same seed, same answer'
complete -c foundry -n '__foundry_inside chat' -l ttl -x -d 'Seconds of idleness before the model is unloaded'
complete -c foundry -n '__foundry_inside chat' -l device -x -a 'Auto CPU GPU NPU' -d 'Device whose variant of the model is meant'
complete -c foundry -n '__foundry_inside chat' -l ep -x -d 'Execution provider to run it with, such as cpu or cuda'
complete -c foundry -n '__foundry_inside chat' -l retain -x -a 'true false' -d 'Keep other models loaded'
complete -c foundry -n '__foundry_inside chat' -l accept-license -d 'Accept the licence of the model, where its source asks for that'
complete -c foundry -n '__foundry_inside chat' -l verbose -d 'Show times and speed'
complete -c foundry -n '__foundry_inside chat' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument complete 0' -a '(__foundry_models model)' -d Model
complete -c foundry -n '__foundry_argument complete 1'
complete -c foundry -n '__foundry_inside complete' -l system -x -d 'System message'
complete -c foundry -n '__foundry_inside complete' -l temperature -x -d '0: always the most probable word'
complete -c foundry -n '__foundry_inside complete' -l top-p -x -d 'Share of probability to choose from'
complete -c foundry -n '__foundry_inside complete' -l max-tokens -x -d 'Longest answer in tokens'
complete -c foundry -n '__foundry_inside complete' -l seed -x -d 'Same seed, same answer'
complete -c foundry -n '__foundry_inside complete' -l ttl -x -d 'Seconds of idleness before the model is unloaded'
complete -c foundry -n '__foundry_inside complete' -l device -x -a 'Auto CPU GPU NPU' -d 'Device whose variant of the model is meant'
complete -c foundry -n '__foundry_inside complete' -l ep -x -d 'Execution provider to run it with, such as cpu or cuda'
complete -c foundry -n '__foundry_inside complete' -l accept-license -d 'Accept the licence of the model, where its source asks for that'
complete -c foundry -n '__foundry_inside complete' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside complete' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument server 0' -a start -d 'Start the service in the background; returns when it answers'
complete -c foundry -n '__foundry_argument server 0' -a stop -d 'Stop the service; running answers get up to ten seconds'
complete -c foundry -n '__foundry_argument server 0' -a restart -d 'Stop the service and start it again'
complete -c foundry -n '__foundry_argument server 0' -a status -d 'Show whether the server runs, since when, and its address'
complete -c foundry -n '__foundry_argument server 0' -a logs -d 'Show the end of the log'
complete -c foundry -n '__foundry_inside server' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside server start' -l port -x -d 'TCP port, this time'
complete -c foundry -n '__foundry_inside server start' -l idle-timeout -x -d 'Minutes without a request after which the service stops, this time; 0: never'
complete -c foundry -n '__foundry_inside server start' -l log-level -x -a 'trace debug info warn error critical none' -d 'trace, debug, info, warn, error, critical or none, this time'
complete -c foundry -n '__foundry_inside server start' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside server start' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside server stop' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside server stop' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside server restart' -l port -x -d 'TCP port, this time'
complete -c foundry -n '__foundry_inside server restart' -l idle-timeout -x -d 'Minutes without a request after which the service stops, this time; 0: never'
complete -c foundry -n '__foundry_inside server restart' -l log-level -x -a 'trace debug info warn error critical none' -d 'trace, debug, info, warn, error, critical or none, this time'
complete -c foundry -n '__foundry_inside server restart' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside server restart' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside server status' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside server status' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside server logs' -l lines -s n -x -d 'How many lines, the last ones'
complete -c foundry -n '__foundry_inside server logs' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument config 0' -a show -d 'Show the settings in force; those that are not the defaults are marked'
complete -c foundry -n '__foundry_argument config 0' -a set -d 'Change a setting; a running service takes it up, with a restart where one is needed'
complete -c foundry -n '__foundry_argument config 0' -a reset -d 'Put a setting back to its default'
complete -c foundry -n '__foundry_inside config' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside config show' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside config show' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument config set 0' -a 'port cache-directory log-level idle-timeout-minutes strict-fields'
complete -c foundry -n '__foundry_argument config set 1' -a '(__foundry_setting)'
complete -c foundry -n '__foundry_inside config set' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside config set' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument config reset 0' -a 'port cache-directory log-level idle-timeout-minutes strict-fields'
complete -c foundry -n '__foundry_inside config reset' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside config reset' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_inside status' -l output -s o -x -a 'text json' -d 'Format of the result'
complete -c foundry -n '__foundry_inside status' -l help -s h -d 'Show this message and exit'
complete -c foundry -n '__foundry_argument report 0' -F
complete -c foundry -n '__foundry_inside report' -l help -s h -d 'Show this message and exit'
