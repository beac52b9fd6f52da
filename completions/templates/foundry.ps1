# @GENERATED@

Register-ArgumentCompleter -Native -CommandName foundry -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $tree = @{
@TREE@
    }
    $aliases = @{
@ALIASES@
    }
    $settings = @{
@SETTINGS@
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
