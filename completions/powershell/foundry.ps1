# Generated from the command tree by 'python .ci/generate_docs.py'; do not edit.

Register-ArgumentCompleter -Native -CommandName foundry -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $tree = @{
        '' = @{
            Commands = [ordered]@{
                'zip-logs' = 'Collect the logs into a zip file, for a report'
                'model' = 'Discover, run and manage models'
                'cache' = 'Manage the local cache'
                'service' = 'Manage the local model inference service'
            }
            Options = [ordered]@{
                '--version' = 'Show the version and exit'
                '--license' = 'Show the licence and exit'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
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
        'model' = @{
            Commands = [ordered]@{
                'list' = 'List the models that are known on this machine'
                'info' = 'Show what is known about a model'
                'load' = 'Load a model into the service, so that the first answer comes at once'
                'unload' = 'Unload a model from the service and give its memory back'
                'run' = 'Chat with a model'
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
                '--output' = 'Format of the result'
                '-o' = 'Format of the result'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--filter' = 'text'
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
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
        'model load' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--ttl' = 'Seconds of idleness before the model is unloaded'
                '--device' = 'Device whose variant of the model is meant'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{
                '--ttl' = 'number'
                '--device' = 'words Auto CPU GPU NPU'
            }
            Arguments = @('model')
        }
        'model unload' = @{
            Commands = [ordered]@{}
            Options = [ordered]@{
                '--all' = 'Unload every model'
                '--force' = 'Also when the model is answering; the answer ends'
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
            Arguments = @('model')
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
                '--retain' = 'Keep other models loaded'
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
                '--retain' = 'words true false'
            }
            Arguments = @('model')
        }
        'cache' = @{
            Commands = [ordered]@{
                'location' = 'Show the directory where models are kept'
                'list' = 'List the models on this machine'
                'cd' = 'Keep models in another directory'
                'remove' = 'Delete a model from the cache'
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
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
            Arguments = @('cache')
        }
        'service' = @{
            Commands = [ordered]@{
                'start' = 'Start the service in the background; returns when it answers'
                'stop' = 'Stop the service; running answers get up to ten seconds'
                'restart' = 'Stop the service and start it again'
                'status' = 'Show whether the service runs and where it listens'
                'ps' = 'List the models that are loaded'
                'diag' = 'Show facts about the machine, the program and the service'
                'set' = 'Change settings; a running service is restarted with them'
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
                '--help' = 'Show this message and exit'
                '-h' = 'Show this message and exit'
            }
            Takes = @{}
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
                '--output' = 'words text json'
                '-o' = 'words text json'
            }
            Arguments = @()
        }
    }
    $aliases = @{
        'model ls' = 'model list'
        'cache ls' = 'cache list'
        'cache rm' = 'cache remove'
        'service list' = 'service ps'
    }
    $safeName = '^[A-Za-z0-9][A-Za-z0-9._:@+/-]*$'

    # Where the cursor is: in which command, after which option, at which argument.
    $path = ''
    $pending = ''
    $position = 0
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

    if ("$kind".StartsWith('words ')) {
        foreach ($value in $kind.Substring(6).Split(' ')) { $candidates[$value] = $value }
    } elseif ($kind -eq 'model' -or $kind -eq 'cache') {
        try {
            $answer = & foundry $kind list --output json 2>$null | Out-String | ConvertFrom-Json
            foreach ($model in $answer.models) {
                if ($kind -eq 'cache' -and $model.bundled) { continue }
                foreach ($name in @($model.alias, $model.id)) {
                    if ($name -match $safeName) { $candidates[$name] = $name }
                }
            }
        } catch {
            return
        }
    }

    # Without an answer PowerShell completes file names by itself.
    foreach ($entry in $candidates.GetEnumerator()) {
        if ($entry.Key.StartsWith($typed, [System.StringComparison]::OrdinalIgnoreCase)) {
            [System.Management.Automation.CompletionResult]::new("$prefix$($entry.Key)", $entry.Key, $resultType, $entry.Value)
        }
    }
}
