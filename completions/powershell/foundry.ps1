# Generated from the command tree by 'python .ci/generate_docs.py'; do not edit.

Register-ArgumentCompleter -Native -CommandName foundry -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $tree = @{
        '' = @{
            Commands = [ordered]@{
                'model' = 'Discover, run and manage models'
                'cache' = 'Manage the local cache'
                'catalog' = 'Manage the catalogs that models come from'
                'provider' = 'Use models that other servers with OpenAI''s interface run'
                'service' = 'Manage the local model inference service'
                'hardware' = 'Show processor, devices and execution providers'
                'zip-logs' = 'Collect the logs into a zip file, for a report'
                'run' = 'Chat with a model'
                'chat' = 'Chat with a model'
                'complete' = 'Answer one prompt and exit'
                'server' = 'Manage the service, as later versions do it'
                'config' = 'Show and change settings one by one'
                'status' = 'Show machine, service and models at a glance'
                'report' = 'Show what a report about a problem should say, as Markdown'
            }
            Options = [ordered]@{
                '--version' = 'Show the version and exit'
                '--license' = 'Show the licence and exit'
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'model' = @{
            Commands = [ordered]@{
                'list' = 'List the models of the catalogs and of this machine'
                'search' = 'Look for models in the catalogs, or on Hugging Face'
                'info' = 'Show what is known about a model'
                'download' = 'Download a model'
                'load' = 'Load a model into the service, so that the first answer comes at once'
                'unload' = 'Unload a model from the service and give its memory back'
                'run' = 'Chat with a model'
                'add' = 'Check a model folder and copy it into the cache'
                'convert' = 'Make a model of a checkpoint in safetensors format'
                'test' = 'Test how a model behaves: template, stop tokens, streaming, Unicode and more, or its embeddings'
                'bench' = 'Measure how fast a model is here: prefill, decode, several clients, long chats'
            }
            Options = [ordered]@{
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
            Arguments = @()
        }
        'model list' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--filter' = 'Show only some models'
                '--search' = 'Only models whose names contain this text'
                '--source' = 'Only models of this catalog'
                '--cached' = 'Only models on this machine'
                '--loaded' = 'Only models that the service has loaded'
                '--device' = 'Device whose variant of the model is meant'
                '--type' = 'Only models of this type'
                '--all-devices' = 'Also models that do not run on this machine, with the reason'
                '--variants' = 'In JSON: ''variants'' with their names, in place of ''models'''
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--filter' = 'text'
                '--search' = 'text'
                '--source' = 'text'
                '--device' = 'words Auto CPU GPU NPU'
                '--type' = 'words Chat Embedding Multimodal Speech'
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'model search' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--source' = 'A catalog, or ''hf'' for Hugging Face'
                '--limit' = 'Most results of Hugging Face'
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--source' = 'text'
                '--limit' = 'number'
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @('text')
        }
        'model info' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--license' = 'Show the licence of the model'
                '--device' = 'Device whose variant of the model is meant'
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--device' = 'words Auto CPU GPU NPU'
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @('model')
        }
        'model download' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--force' = 'Also when it does not run on this machine; check and mend it when it is here already'
                '--accept-license' = 'Accept the licence of the model, where its source asks for that'
                '--device' = 'Device whose variant of the model is meant'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--device' = 'words Auto CPU GPU NPU'
            }
            Arguments = @('model')
        }
        'model load' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--ttl' = 'Seconds of idleness before the model is unloaded'
                '--device' = 'Device whose variant of the model is meant'
                '--ep' = 'Execution provider to run it with, such as cpu or cuda'
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--ttl' = 'number'
                '--device' = 'words Auto CPU GPU NPU'
                '--ep' = 'text'
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @('model')
        }
        'model unload' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--all' = 'Unload every model'
                '--force' = 'Also when the model is answering; the answer ends'
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @('loaded')
        }
        'model run' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--prompt' = 'Answer this once, to standard output, and exit'
                '--system' = 'System message'
                '--temperature' = '0: always the most probable word'
                '--top-p' = 'Share of probability to choose from'
                '--max-tokens' = 'Longest answer in tokens'
                '--seed' = 'Same seed, same answer'
                '--ttl' = 'Seconds of idleness before the model is unloaded'
                '--device' = 'Device whose variant of the model is meant'
                '--ep' = 'Execution provider to run it with, such as cpu or cuda'
                '--retain' = 'Keep other models loaded'
                '--accept-license' = 'Accept the licence of the model, where its source asks for that'
                '--verbose' = 'Show times and speed'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--prompt' = 'text'
                '--system' = 'text'
                '--temperature' = 'number'
                '--top-p' = 'number'
                '--max-tokens' = 'number'
                '--seed' = 'number'
                '--ttl' = 'number'
                '--device' = 'words Auto CPU GPU NPU'
                '--ep' = 'text'
                '--retain' = 'words true false'
            }
            Arguments = @('model')
        }
        'model add' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--name' = 'Name of the model'
                '--alias' = 'Short name of the model'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--name' = 'text'
                '--alias' = 'text'
            }
            Arguments = @('directory')
        }
        'model convert' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--output' = 'Where the model is put; new or empty'
                '--precision' = 'Type of the weights'
                '--device' = 'What the model will run on'
                '--name' = 'Name of the model'
                '--alias' = 'Short name of the model'
                '--add' = 'Add the model to the cache, too'
                '--force' = 'Replace a model that is in the output directory'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'directory'
                '--precision' = 'words int4 int8 fp16 bf16 fp32'
                '--device' = 'words cpu cuda dml webgpu trtrtx'
                '--name' = 'text'
                '--alias' = 'text'
            }
            Arguments = @('text')
        }
        'model test' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--device' = 'Device whose variant of the model is meant'
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--device' = 'words Auto CPU GPU NPU'
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @('model')
        }
        'model bench' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--quick' = 'Measure less, in a fraction of the time'
                '--device' = 'Device whose variant of the model is meant'
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--device' = 'words Auto CPU GPU NPU'
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @('model')
        }
        'cache' = @{
            Commands = [ordered]@{
                'location' = 'Show the directory where models are kept'
                'list' = 'List the models on this machine, and downloads that are not complete'
                'cd' = 'Keep models in another directory'
                'remove' = 'Delete models, and downloads that are not complete, from the cache'
                'verify' = 'Read the files of models and compare them with what was downloaded'
                'repair' = 'Fetch the damaged parts of a model again, and nothing else'
                'move' = 'Move all models to another directory'
                'prune' = 'Delete what is not needed: remains of interrupted work, and models by age or size'
                'export' = 'Write models as a mirror: a directory that other machines can use with ''foundry catalog add'''
                'import' = 'Copy models from a directory into the cache'
            }
            Options = [ordered]@{
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
            Arguments = @()
        }
        'cache location' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'cache list' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'cache cd' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
            Arguments = @('directory')
        }
        'cache remove' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--yes' = 'Do not ask'
                '-y' = 'Do not ask'
                '--all' = 'Every model in the cache'
                '--force' = 'Also a model that is loaded; its answers end'
                '--device' = 'Device whose variant of the model is meant'
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--device' = 'words Auto CPU GPU NPU'
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @('cache', 'cache', 'cache', 'cache', 'cache', 'cache', 'cache', 'cache')
        }
        'cache verify' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @('cache', 'cache', 'cache', 'cache', 'cache', 'cache', 'cache', 'cache')
        }
        'cache repair' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
            Arguments = @('cache')
        }
        'cache move' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
            Arguments = @('directory')
        }
        'cache prune' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--partials' = 'Downloads that were not finished; without another choice they go, too'
                '--older-than' = 'Models not used for so many days'
                '--max-size' = 'The least recently used models, until SIZE is left (20GB)'
                '--dry-run' = 'Only show what would be deleted'
                '--yes' = 'Do not ask'
                '-y' = 'Do not ask'
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--older-than' = 'number'
                '--max-size' = 'text'
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'cache export' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
            Arguments = @('directory', 'cache', 'cache', 'cache', 'cache', 'cache', 'cache', 'cache', 'cache')
        }
        'cache import' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
            Arguments = @('directory')
        }
        'catalog' = @{
            Commands = [ordered]@{
                'list' = 'List the catalogs, how many models each knows, and how old its list is'
                'add' = 'Add a catalog: a mirror made by ''foundry cache export'', in a directory or on a web server'
                'remove' = 'Remove a catalog'
                'refresh' = 'Fetch the lists of the catalogs now'
            }
            Options = [ordered]@{
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
            Arguments = @()
        }
        'catalog list' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'catalog add' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--name' = 'What it is called here'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--name' = 'text'
            }
            Arguments = @('directory')
        }
        'catalog remove' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
            Arguments = @('text')
        }
        'catalog refresh' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
            Arguments = @('text')
        }
        'provider' = @{
            Commands = [ordered]@{
                'add' = 'Add a model that another server runs; requests that name it are sent there'
                'list' = 'List the models that other servers run, and where their keys are'
                'remove' = 'Remove a model that another server runs'
            }
            Options = [ordered]@{
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
            Arguments = @()
        }
        'provider add' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--url' = 'Base URL as OpenAI''s clients take it: https://api.example.com/v1'
                '--model' = 'What the model is called there'
                '--api-key-env' = 'Environment variable that holds the key'
                '--api-key-file' = 'File of mode 0600 that holds the key'
                '--insecure' = 'Allow http, which is not encrypted, to another machine'
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--url' = 'text'
                '--model' = 'model'
                '--api-key-env' = 'text'
                '--api-key-file' = 'file'
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @('text')
        }
        'provider list' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'provider remove' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @('text')
        }
        'service' = @{
            Commands = [ordered]@{
                'start' = 'Start the service in the background; returns when it answers'
                'stop' = 'Stop the service; running answers get up to ten seconds'
                'restart' = 'Stop the service and start it again'
                'status' = 'Show whether the service runs and where it listens'
                'ps' = 'List the models that are loaded'
                'diag' = 'Show facts about the machine, the program and the service'
                'set' = 'Change settings; a running service takes them up, with a restart where one is needed'
            }
            Options = [ordered]@{
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
            Arguments = @()
        }
        'service start' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--port' = 'TCP port, this time'
                '--idle-timeout' = 'Minutes without a request after which the service stops, this time; 0: never'
                '--log-level' = 'trace, debug, info, warn, error, critical or none, this time'
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--port' = 'number'
                '--idle-timeout' = 'number'
                '--log-level' = 'words trace debug info warn error critical none'
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'service stop' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'service restart' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--port' = 'TCP port, this time'
                '--idle-timeout' = 'Minutes without a request after which the service stops, this time; 0: never'
                '--log-level' = 'trace, debug, info, warn, error, critical or none, this time'
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--port' = 'number'
                '--idle-timeout' = 'number'
                '--log-level' = 'words trace debug info warn error critical none'
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'service status' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'service ps' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'service diag' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--logs' = 'Show the log of the service'
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'service set' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--port' = 'TCP port; 0: chosen by the system, then kept'
                '--host' = 'Address to listen on; beyond this machine only with FOUNDRY_API_KEY'
                '--cachedir' = 'Directory where models are kept'
                '--default-log-level' = 'trace, debug, info, warn, error, critical or none'
                '--ttl' = 'Seconds of idleness before a model is unloaded'
                '--idle-timeout' = 'Minutes without a request after which the service stops; 0: never'
                '--engine' = 'auto, batch or genai: what runs models that are loaded from now on'
                '--conversations' = 'Space on disk for conversations that go on after a restart; 0: none are kept'
                '--strict' = 'Refuse requests with fields that would be ignored, or only name these in a header'
                '--no-strict' = 'Refuse requests with fields that would be ignored, or only name these in a header'
                '--show' = 'Show the settings'
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--port' = 'number'
                '--host' = 'text'
                '--cachedir' = 'directory'
                '--default-log-level' = 'words trace debug info warn error critical none'
                '--ttl' = 'number'
                '--idle-timeout' = 'number'
                '--engine' = 'words auto batch genai'
                '--conversations' = 'number'
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'hardware' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'zip-logs' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
            Arguments = @('file')
        }
        'run' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--prompt' = 'Answer this once, to standard output, and exit'
                '--system' = 'System message'
                '--temperature' = '0: always the most probable word'
                '--top-p' = 'Share of probability to choose from'
                '--max-tokens' = 'Longest answer in tokens'
                '--seed' = 'Same seed, same answer'
                '--ttl' = 'Seconds of idleness before the model is unloaded'
                '--device' = 'Device whose variant of the model is meant'
                '--ep' = 'Execution provider to run it with, such as cpu or cuda'
                '--retain' = 'Keep other models loaded'
                '--accept-license' = 'Accept the licence of the model, where its source asks for that'
                '--verbose' = 'Show times and speed'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--prompt' = 'text'
                '--system' = 'text'
                '--temperature' = 'number'
                '--top-p' = 'number'
                '--max-tokens' = 'number'
                '--seed' = 'number'
                '--ttl' = 'number'
                '--device' = 'words Auto CPU GPU NPU'
                '--ep' = 'text'
                '--retain' = 'words true false'
            }
            Arguments = @('model')
        }
        'chat' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--prompt' = 'Answer this once, to standard output, and exit'
                '--system' = 'System message'
                '--temperature' = '0: always the most probable word'
                '--top-p' = 'Share of probability to choose from'
                '--max-tokens' = 'Longest answer in tokens'
                '--seed' = 'Same seed, same answer'
                '--ttl' = 'Seconds of idleness before the model is unloaded'
                '--device' = 'Device whose variant of the model is meant'
                '--ep' = 'Execution provider to run it with, such as cpu or cuda'
                '--retain' = 'Keep other models loaded'
                '--accept-license' = 'Accept the licence of the model, where its source asks for that'
                '--verbose' = 'Show times and speed'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--prompt' = 'text'
                '--system' = 'text'
                '--temperature' = 'number'
                '--top-p' = 'number'
                '--max-tokens' = 'number'
                '--seed' = 'number'
                '--ttl' = 'number'
                '--device' = 'words Auto CPU GPU NPU'
                '--ep' = 'text'
                '--retain' = 'words true false'
            }
            Arguments = @('model')
        }
        'complete' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--system' = 'System message'
                '--temperature' = '0: always the most probable word'
                '--top-p' = 'Share of probability to choose from'
                '--max-tokens' = 'Longest answer in tokens'
                '--seed' = 'Same seed, same answer'
                '--ttl' = 'Seconds of idleness before the model is unloaded'
                '--device' = 'Device whose variant of the model is meant'
                '--ep' = 'Execution provider to run it with, such as cpu or cuda'
                '--accept-license' = 'Accept the licence of the model, where its source asks for that'
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--system' = 'text'
                '--temperature' = 'number'
                '--top-p' = 'number'
                '--max-tokens' = 'number'
                '--seed' = 'number'
                '--ttl' = 'number'
                '--device' = 'words Auto CPU GPU NPU'
                '--ep' = 'text'
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @('model', 'text')
        }
        'server' = @{
            Commands = [ordered]@{
                'start' = 'Start the service in the background; returns when it answers'
                'stop' = 'Stop the service; running answers get up to ten seconds'
                'restart' = 'Stop the service and start it again'
                'status' = 'Show whether the server runs, since when, and its address'
                'logs' = 'Show the end of the log'
            }
            Options = [ordered]@{
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
            Arguments = @()
        }
        'server start' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--port' = 'TCP port, this time'
                '--idle-timeout' = 'Minutes without a request after which the service stops, this time; 0: never'
                '--log-level' = 'trace, debug, info, warn, error, critical or none, this time'
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--port' = 'number'
                '--idle-timeout' = 'number'
                '--log-level' = 'words trace debug info warn error critical none'
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'server stop' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'server restart' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--port' = 'TCP port, this time'
                '--idle-timeout' = 'Minutes without a request after which the service stops, this time; 0: never'
                '--log-level' = 'trace, debug, info, warn, error, critical or none, this time'
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--port' = 'number'
                '--idle-timeout' = 'number'
                '--log-level' = 'words trace debug info warn error critical none'
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'server status' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'server logs' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--lines' = 'How many lines, the last ones'
                '-n' = 'How many lines, the last ones'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--lines' = 'number'
                '-n' = 'number'
            }
            Arguments = @()
        }
        'config' = @{
            Commands = [ordered]@{
                'show' = 'Show the settings in force; those that are not the defaults are marked'
                'set' = 'Change a setting; a running service takes it up, with a restart where one is needed'
                'reset' = 'Put a setting back to its default'
            }
            Options = [ordered]@{
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
            Arguments = @()
        }
        'config show' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'config set' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @('words port cache-directory log-level idle-timeout-minutes strict-fields', 'setting')
        }
        'config reset' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @('words port cache-directory log-level idle-timeout-minutes strict-fields')
        }
        'status' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
        'report' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
            Arguments = @('file')
        }
    }
    $aliases = @{
        'model ls' = 'model list'
        'cache ls' = 'cache list'
        'cache rm' = 'cache remove'
        'catalog ls' = 'catalog list'
        'catalog rm' = 'catalog remove'
        'provider ls' = 'provider list'
        'provider rm' = 'provider remove'
        'service list' = 'service ps'
    }
    $settings = @{
        'port' = 'words auto'
        'cache-directory' = 'directory'
        'log-level' = 'words trace debug info warn error critical none'
        'strict-fields' = 'words true false'
    }
    $safeName = '^[A-Za-z0-9][A-Za-z0-9._:@+/-]*$'

    # Where the cursor is: in which command, after which option, at which argument.
    $path = ''
    $pending = ''
    $position = 0
    $word = ''
    $isLiteral = $false
    foreach ($element in @($commandAst.CommandElements | Select-Object -Skip 1)) {
        if ($element.Extent.EndOffset -ge $cursorPosition) { break }
        $word = $element.Extent.Text
        $child = "$path $word".Trim()
        if ($pending) {
            $pending = ''
        } elseif (-not $isLiteral -and $word -eq '--') {
            $isLiteral = $true
        } elseif (-not $isLiteral -and $word.StartsWith('-')) {
            if ($tree[$path].Takes.ContainsKey($word)) { $pending = $word }
        } elseif ($position -eq 0 -and $aliases.ContainsKey($child)) {
            $path = $aliases[$child]
        } elseif ($position -eq 0 -and $tree.ContainsKey($child)) {
            $path = $child
        } else {
            $position++
        }
    }

    # What may stand there: `$kind` of value, or `$candidates` with their descriptions.
    $command = $tree[$path]
    $kind = ''
    $prefix = ''
    $typed = "$wordToComplete"
    $resultType = 'ParameterValue'
    $candidates = [ordered]@{}
    if ($pending) {
        $kind = $command.Takes[$pending]
    } elseif (-not $isLiteral -and $typed -match '^(--[^=]+)=(.*)$') {
        $prefix = $Matches[1] + '='
        $typed = $Matches[2]
        $kind = $command.Takes[$Matches[1]]
    } elseif (-not $isLiteral -and $typed.StartsWith('-')) {
        $resultType = 'ParameterName'
        $candidates = $command.Options
    } elseif ($command.Commands.Count -gt 0) {
        if ($position -eq 0) { $candidates = $command.Commands }
    } elseif ($position -lt $command.Arguments.Count) {
        $kind = $command.Arguments[$position]
    }

    if ($kind -eq 'setting') { $kind = $settings["$word"] }
    if ("$kind".StartsWith('words ')) {
        foreach ($value in $kind.Substring(6).Split(' ')) { $candidates[$value] = $value }
    } elseif ($kind -in 'model', 'cache', 'loaded') {
        $offline = $env:FOUNDRY_OFFLINE
        try {
            $env:FOUNDRY_OFFLINE = '1'
            $list = if ($kind -eq 'loaded') { 'model', 'list', '--loaded' } else { $kind, 'list' }
            $answer = & foundry @list --output json 2>$null | Out-String | ConvertFrom-Json
            foreach ($model in $answer.models) {
                if ($kind -eq 'cache' -and $model.bundled) { continue }
                foreach ($name in @($model.alias, $model.id)) {
                    if ($name -match $safeName) { $candidates[$name] = $name }
                }
            }
        } catch {
            return
        } finally {
            $env:FOUNDRY_OFFLINE = $offline
        }
    }

    # Without an answer PowerShell completes file names by itself.
    foreach ($entry in $candidates.GetEnumerator()) {
        if ($entry.Key.StartsWith($typed, [System.StringComparison]::OrdinalIgnoreCase)) {
            [System.Management.Automation.CompletionResult]::new("$prefix$($entry.Key)", $entry.Key, $resultType, $entry.Value)
        }
    }
}
