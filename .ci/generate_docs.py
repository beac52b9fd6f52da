"""Write `completions/` and `man/` from the command tree, and tables of fields into `docs/` (see `field_tables.py`).

With `--check` say which files are not what it would write.

This is the only place that walks the tree: it uses `typer.main.get_command`, plain attributes of the command objects
and the annotations of the command functions, so the result is the same with every Python and Typer in the bounds of
`pyproject.toml`. What does not come from the tree is in the tables below and in `completions/templates/`.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import field_tables
import typer

from foundry_cli import __version__
from foundry_cli.cli.app import app
from foundry_cli.cli.config_keys import KEYS
from foundry_cli.cli.errors import ExitCode
from foundry_cli.config import ENGINES, LOG_LEVELS
from foundry_cli.paths import Paths

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "completions" / "templates"
GENERATED = "Generated from the command tree by 'python .ci/generate_docs.py'; do not edit."

KINDS = {
    "model": "model",
    "model unload model": "loaded",
    "cache remove models": "cache",
    "cache verify models": "cache",
    "cache export models": "cache",
    "cache repair model": "cache",
    "cache cd path": "directory",
    "catalog add location": "directory",
    "directory": "directory",
    "service set cachedir": "directory",
    "service set default_log_level": f"words {' '.join(LOG_LEVELS)}",
    "log_level": f"words {' '.join(LOG_LEVELS)}",
    "key": f"words {' '.join(KEYS)}",
    "config set value": "setting",
    "provider add api_key_file": "file",
    "service set engine": f"words {' '.join(ENGINES)}",
}
"""What the type of a parameter does not say, by parameter or by command and parameter: `model` and `cache` are names
that `foundry model list` and `foundry cache list` know, `loaded` those of `foundry model list --loaded`; a `setting` is what
the word before it, one of SETTINGS, takes."""

SETTINGS = {
    "port": "words auto",
    "cache-directory": "directory",
    "log-level": f"words {' '.join(LOG_LEVELS)}",
    "strict-fields": "words true false",
}
"""The kinds of values of the keys of `foundry config set`, where there is one."""

METAVARS = {
    "model": "MODEL", "cache": "MODEL", "loaded": "MODEL", "file": "FILE", "directory": "DIRECTORY", "number": "NUMBER",
    "text": "TEXT", "setting": "VALUE",
}  # fmt: skip

SAFE_NAMES_AWK = (
    '($2 == "alias" || $2 == "id") && $4 ~ /^[A-Za-z0-9][A-Za-z0-9._:@+\\/-]*$/ { names = names $4 "\\n" } '
    '$2 == "bundled" && /true/ && group == "cache" { skip = 1 } '
    '/^ *}/ { if (!skip) printf "%s", names; names = ""; skip = 0 }'
)
"""Aliases and ids out of `list --output json`, one per line; of the cache only models that can be removed."""

EXIT_STATUS = {
    ExitCode.OK: "The command did what it was asked.",
    ExitCode.FAILED: "The command failed; one line on standard error says why.",
    ExitCode.USAGE: "The command line or a value in it is wrong.",
    ExitCode.UNREACHABLE: "The service does not answer, or could not be started.",
    ExitCode.NOT_FOUND: "No model has that name.",
    ExitCode.DOWNLOAD_FAILED: "A download failed.",
    ExitCode.INTERRUPTED: "Interrupted with Ctrl+C.",
}

ENVIRONMENT = {
    "FOUNDRY_HOME": "Directory of settings, models, logs and state, in place of ~/.foundry.",
    "FOUNDRY_PORT": "TCP port of the service, in place of the one in the settings; 0: chosen by the system, then kept.",
    "FOUNDRY_HOST": "Address the service listens on, in place of the one in the settings.",
    "FOUNDRY_LOG_LEVEL": f"Level of the log: {', '.join(LOG_LEVELS[:-1])} or {LOG_LEVELS[-1]}.",
    "FOUNDRY_IDLE_TIMEOUT": "Minutes without a request after which the service stops; 0: never, whatever the settings say.",
    "FOUNDRY_ENGINE": f"What runs models, in place of the one in the settings: {', '.join(ENGINES[:-1])} or {ENGINES[-1]}.",
    "FOUNDRY_OFFLINE": "When set to 1, nothing but this machine is asked over the network.",
    "FOUNDRY_CATALOG_URL": "Address of the Azure catalog, in place of Microsoft's; https, or http on this machine.",
    "FOUNDRY_REGISTRY_URL": "Address of the registry that knows where the files of the Azure catalog are.",
    "HF_TOKEN, HF_ENDPOINT": "Token and address for Hugging Face.",
    "HTTPS_PROXY, HTTP_PROXY, NO_PROXY": "Proxies for downloads; requests to this machine never go through one.",
    "FOUNDRY_API_KEY": "Key that requests must carry as bearer token when the service listens beyond this machine.",
    "NO_COLOR": "When set and not empty, nothing is shown in colour.",
}

_PATHS = Paths(Path("~/.foundry"))
FILES = {
    _PATHS.config_file: "Settings; 'foundry service set' changes them.",
    _PATHS.default_cache: "Models, unless the settings name another directory.",
    _PATHS.catalogs: "Lists of catalogs, and when they were asked.",
    _PATHS.logs: "Logs of the service, without prompts and answers; 'foundry zip-logs' collects them.",
    _PATHS.conversations: (
        "Conversations that go on at once after a restart, readable by their owner only: their tokens, which can be turned "
        "into text again, and what the model computed from them. 'foundry service set --conversations 0' removes them and "
        "keeps none; FOUNDRY_HOME moves them."
    ),
    _PATHS.run: "State of the running service: its lock, its address and its Unix socket.",
    _PATHS.history_file: "What was typed at the chat prompt.",
}

EXAMPLES: dict[str, dict[str, str]] = {
    "": {
        "foundry model list": "List the models that can be used:",
        "foundry model run foundry-guide": "Chat with a model:",
        "foundry model run foundry-guide --prompt 'How do I list the models?'": "Ask once, for use in scripts:",
        "foundry service status": "See where the service listens, for applications that speak the OpenAI interface:",
    },
    "model": {
        "foundry model list --filter device=CPU": "List the models that run on the processor:",
        "foundry model info foundry-guide --license": "Show a model and its licence:",
        "foundry model run foundry-guide --temperature 0 < question.txt": "Answer the question in a file:",
        "foundry model unload --all": "Give all memory back:",
        "foundry model search phi --source hf": "Look for models on Hugging Face:",
        "foundry model download hf:owner/repository": "Fetch one; run it again if it was interrupted, it goes on from there:",
        "foundry model add my-model --name helper": "Put a model of your own into the cache:",
        "foundry model bench foundry-guide --quick": "See how fast a model is here:",
    },
    "cache": {
        "foundry cache location": "Show where models are kept:",
        "foundry cache cd /data/models": "Keep them on another disk:",
        "foundry cache remove my-model --yes": "Delete a model without being asked:",
        "foundry cache verify": "Compare every byte with what was downloaded:",
        "foundry cache prune --older-than 90 --dry-run": "See what was not used for three months:",
        "foundry cache export /srv/models": "Make a mirror for other machines:",
    },
    "catalog": {
        "foundry catalog list": "Show where models come from, and how old the lists are:",
        "foundry catalog add http://models.example/": "Use a mirror:",
        "foundry catalog remove azure": "Do not ask Azure any more:",
    },
    "provider": {
        "foundry provider add big --url https://example.com/v1 --api-key-env EXAMPLE_KEY": "Give a cloud's model a name here:",
        "foundry provider add near --url http://192.0.2.7:8000/v1 --insecure": "Use another machine of your network:",
        "foundry provider list": "Show which there are, and where their keys are:",
    },
    "hardware": {"foundry hardware --output json": "For a program to read:"},
    "service": {
        "foundry service start": "Start the service:",
        "foundry service status --output json": "Show its state for a program to read:",
        "foundry service set --port 5273": "Always listen on the same port:",
        "foundry service diag --logs": "Show the log:",
        "foundry service set --conversations 0": "Keep no conversations on disk, and remove those that are there:",
    },
    "zip-logs": {"foundry zip-logs report.zip": "Collect the logs into a file of that name:"},
    "run": {"foundry run foundry-guide": "The same as 'foundry model run foundry-guide':"},
    "chat": {"foundry chat foundry-guide": "The same as 'foundry model run foundry-guide':"},
    "complete": {
        "foundry complete foundry-guide 'How do I list the models?'": "Ask once:",
        "foundry complete foundry-guide --output json < question.txt": "Ask what is in a file, for a program to read:",
    },
    "server": {
        "foundry server start --output json": "Start it, and see where it listens:",
        "foundry server status": "See whether it runs:",
        "foundry server start --idle-timeout 30": "Let it end after half an hour without a request:",
        "foundry server logs --lines 20": "Show the end of the log:",
    },
    "config": {
        "foundry config show": "Show the settings:",
        "foundry config set port 5273": "Always listen on the same port:",
        "foundry config reset port": "Let the system choose one:",
    },
    "status": {"foundry status --output json": "For a program to read:"},
    "report": {"foundry report report.md": "Write it into a file:"},
}


_MOST_REPEATS = 8


@dataclass(frozen=True)
class Parameter:
    """An option, or an argument (`names` is empty). `kind` is a key of METAVARS, `words …`, or nothing for a flag."""

    names: tuple[str, ...]
    kind: str
    metavar: str
    help: str
    default: str
    bounds: tuple[float | None, float | None]
    is_required: bool
    is_repeated: bool = False  # an argument that may be given several times

    @property
    def completable(self) -> tuple[str, ...]:
        """The names without those that a shell would take for a pattern, as `-?`."""
        return tuple(name for name in self.names if name.replace("-", "").isalnum())

    @property
    def words(self) -> str:
        """The values it may have, when they are known."""
        return self.kind.removeprefix("words ") if self.kind.startswith("words ") else ""


@dataclass(frozen=True)
class Command:
    """A visible command. `path` is what is typed after `foundry`; `alias_paths` are the other ways to type it."""

    path: str
    help: str
    options: tuple[Parameter, ...]
    arguments: tuple[Parameter, ...]
    commands: tuple[Command, ...]
    alias_paths: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The last word."""
        return self.path.rpartition(" ")[2]

    @property
    def title(self) -> str:
        """The first sentence of the help, without its full stop."""
        return summary(self.help.partition("\n\n")[0])

    @property
    def paths(self) -> tuple[str, ...]:
        """Every way to type it."""
        return (self.path, *self.alias_paths)

    @property
    def places(self) -> tuple[Parameter, ...]:
        """The arguments one by one; one that may be given several times has so many places as anybody types."""
        return tuple(
            place for argument in self.arguments for place in [argument] * (_MOST_REPEATS if argument.is_repeated else 1)
        )

    def walk(self) -> Iterator[Command]:
        """This command and all below it."""
        yield self
        for command in self.commands:
            yield from command.walk()


def summary(text: str) -> str:
    """The first sentence of `text` on one line, without its full stop."""
    return re.split(r"\.(?:\s|$)", " ".join(text.split()), maxsplit=1)[0]


# --- reading the tree ------------------------------------------------------------------------------------------------


@functools.cache
def read_tree() -> Command:
    """The command tree of the program; it takes a while to read."""
    root: Any = typer.main.get_command(app)
    return _read_command(root, ("",), tuple(root.context_settings["help_option_names"]))


def _read_command(command: Any, paths: tuple[str, ...], help_names: tuple[str, ...]) -> Command:
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    read = {kind: [_read_parameter(p, command, paths[0]) for p in shown if p.param_type_name == kind] for kind in _PARAMETERS}
    children = getattr(command, "commands", {})
    return Command(
        path=paths[0],
        help=inspect.cleandoc(command.help or ""),
        options=(*read["option"], Parameter(help_names, "", "", "Show this message and exit.", "", (None, None), False)),
        arguments=tuple(read["argument"]),
        commands=tuple(
            _read_command(child, tuple(f"{path} {one}".strip() for path in paths for one in _names(name, children)), help_names)
            for name, child in children.items()
            if not child.hidden
        ),
        alias_paths=paths[1:],
    )


_PARAMETERS = ("option", "argument")


def _names(name: str, siblings: dict[str, Any]) -> list[str]:
    """`name`, and the hidden commands that run the same function."""
    work = inspect.unwrap(siblings[name].callback) if siblings[name].callback else None
    aliases = (
        other for other, command in siblings.items() if command.hidden and work and inspect.unwrap(command.callback) is work
    )
    return [name, *sorted(aliases)]


def _read_parameter(parameter: Any, command: Any, path: str) -> Parameter:
    is_repeated = parameter.nargs == -1 and parameter.param_type_name == "argument"
    if (parameter.nargs != 1 and not is_repeated) or getattr(parameter, "multiple", False):
        raise NotImplementedError(f"{path} {parameter.name}: parameters that take several values are not supported yet")
    is_option = parameter.param_type_name == "option"
    value_type, info = _declared_type(get_type_hints(inspect.unwrap(command.callback), include_extras=True)[parameter.name])
    kind = "" if getattr(parameter, "is_flag", False) else _kind(parameter.name, path, value_type)
    metavar = re.sub(r"^\[(.*)\](\.\.\.)?$", r"\1", parameter.metavar or "") or _metavar(kind)
    metavar += "..." if is_repeated else ""
    return Parameter(
        names=(*parameter.opts, *parameter.secondary_opts) if is_option else (),
        kind=kind,
        metavar=metavar,
        help=" ".join((parameter.help or "").split()),
        default="" if not kind or parameter.required else _default(parameter),
        bounds=(getattr(info, "min", None), getattr(info, "max", None)),
        is_required=bool(parameter.required),
        is_repeated=is_repeated,
    )


def _declared_type(hint: Any) -> tuple[type, Any]:
    """The type behind `Annotated[X | None, …]`, and Typer's information about the parameter."""
    info = None
    while get_origin(hint) in (Annotated, Union, UnionType, list):
        if get_origin(hint) is Annotated:
            hint, info = get_args(hint)
        elif get_origin(hint) is list:
            hint = get_args(hint)[0]
        else:
            hint = next(choice for choice in get_args(hint) if choice is not NoneType)
    return hint, info


def _kind(name: str, path: str, value_type: type) -> str:
    for key in (f"{path} {name}", name):
        if key in KINDS:
            return KINDS[key]
    if issubclass(value_type, Enum):
        return f"words {' '.join(str(member.value) for member in value_type)}"
    if issubclass(value_type, Path):
        return "file"
    return "number" if issubclass(value_type, (int, float)) else "text"


def _metavar(kind: str) -> str:
    return kind.removeprefix("words ").replace(" ", "|") if kind.startswith("words ") else METAVARS.get(kind, "")


def _default(parameter: Any) -> str:
    if isinstance(parameter.show_default, str):
        return str(parameter.show_default)
    if parameter.show_default is False or parameter.default is None:
        return ""
    return str(getattr(parameter.default, "value", parameter.default))


# --- completions -----------------------------------------------------------------------------------------------------


def bash(root: Command) -> str:
    """The completion for bash."""
    settings = (f"        {key}) value={_quote(kind)} ;;" for key, kind in SETTINGS.items())
    return _fill(
        "foundry.bash",
        COMMANDS="\n".join(_bash_commands(root)),
        VALUES="\n".join(_bash_values(root)),
        SETTINGS="\n".join(settings),
    )


def _bash_commands(root: Command) -> Iterator[str]:
    for command in root.walk():
        yield f"        {_bash_patterns(command.paths)})"
        if command.commands:
            yield f"            commands='{' '.join(child.name for child in command.commands)}'"
        yield f"            options='{' '.join(name for option in command.options for name in option.completable)}'"
        if command.arguments:
            yield f"            arguments=({' '.join(_quote(argument.kind) for argument in command.places)})"
        yield "            ;;"


def _bash_values(root: Command) -> Iterator[str]:
    for command in root.walk():
        for option in command.options:
            if option.kind:
                yield f"        {_bash_patterns(f'{path} {name}' for path in command.paths for name in option.names)})"
                yield f"            value={_quote(option.kind)} ;;"


def _bash_patterns(patterns: Iterable[str]) -> str:
    return " | ".join(_quote(pattern) for pattern in patterns)


def _quote(text: str) -> str:
    """`text` between single quotes, for bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def zsh(root: Command) -> str:
    """The completion for zsh: one function per command."""
    functions = "\n\n".join("\n".join(_zsh_function(command)) for command in root.walk())
    return _fill("_foundry", FUNCTIONS=functions, SETTINGS="\n".join(map(_zsh_setting, SETTINGS)))


def _zsh_setting(key: str) -> str:
    words = SETTINGS[key].removeprefix("words ")
    return f"    {key}) " + ('_files "$@" -/ ;;' if words == "directory" else f'__foundry_words "$@" {words} ;;')


def _zsh_function(command: Command) -> Iterator[str]:
    yield f"{_zsh_name(command)}() {{"
    specs = [_zsh_option(option) for option in command.options]
    specs += [
        _quote(f"{'*' if argument.is_repeated else number}:{_zsh_value(argument)}")
        for number, argument in enumerate(command.arguments, 1)
    ]
    if not command.commands:
        yield "  _arguments -S \\\n    " + " \\\n    ".join(specs)
    else:
        yield '  local curcontext="$curcontext" state line ret=1'
        yield "  local -a commands=("
        yield from (f"    {_quote(f'{child.name}:{child.title}')}" for child in command.commands)
        yield "  )"
        specs += ["'1:command:{_describe -t commands command commands}'", "'*::: :->rest'"]
        yield "  _arguments -C -S \\\n    " + " \\\n    ".join(specs) + " && ret=0"
        yield "  if [[ $state == rest ]]; then"
        yield '    words=("$line[1]" "${words[@]}")'
        yield "    ((CURRENT++))"
        yield f'    curcontext="${{curcontext%:*:*}}:foundry{"".join(f"-{word}" for word in command.path.split())}-$line[1]:"'
        yield "    case $line[1] in"
        for child in command.commands:
            words = " | ".join(path.rpartition(" ")[2] for path in child.paths)
            yield f"      {words}) {_zsh_name(child)} && ret=0 ;;"
        yield "    esac\n  fi\n  return ret"
    yield "}"


def _zsh_name(command: Command) -> str:
    return "_" + "_".join(["foundry", *command.path.replace("-", "_").split()])


def _zsh_option(option: Parameter) -> str:
    names = option.completable
    text = "[" + re.sub(r"([]:[\\])", r"\\\1", summary(option.help)) + "]"
    if option.kind:
        names = tuple(f"{name}=" if name.startswith("--") else f"{name}+" for name in names)
        text += f":{_zsh_value(option)}"
    if len(names) == 1:
        return _quote(names[0] + text)
    excluded = _quote(f"({' '.join(option.completable)})")
    return f"{excluded}{{{','.join(names)}}}{_quote(text)}"


def _zsh_value(parameter: Parameter) -> str:
    """Message and action of a value."""
    if parameter.words:
        return f"value:__foundry_words {parameter.words}"
    actions = {"file": "_files", "directory": "_files -/", "setting": "__foundry_setting"}
    actions |= {kind: f"__foundry_models {kind}" for kind in ("model", "cache", "loaded")}
    message = parameter.metavar.lower().replace(":", "\\:")
    return f"{message}:{actions.get(parameter.kind, ' ')}"


def fish(root: Command) -> str:
    """The completion for fish."""
    commands = (
        f"        case {' '.join(_fish_quote(path) for path in command.paths)}\n            echo {_fish_quote(command.path)}"
        for command in root.walk()
        if command.path
    )
    values = (
        _fish_quote(f"{command.path} {name}".strip())  # as fish joins an empty list and a name
        for command in root.walk()
        for option in command.options
        if option.kind
        for name in option.names
    )
    entries = (line for command in root.walk() for line in _fish_entries(command))
    return _fill(
        "foundry.fish",
        COMMANDS="\n".join(commands),
        VALUES=" \\\n            ".join(values),
        ENTRIES="\n".join(entries),
        SETTINGS="\n".join(map(_fish_setting, SETTINGS)),
    )


def _fish_setting(key: str) -> str:
    words = SETTINGS[key].removeprefix("words ")
    action = "__fish_complete_directories" if words == "directory" else f"printf '%s\\n' {words}"
    return f"        case {key}\n            {action}"


def _fish_entries(command: Command) -> Iterator[str]:
    place = f"__foundry_argument {command.path}".rstrip()
    for child in command.commands:
        yield _fish_entry(f"{place} 0", f" -a {child.name}", child.title)
    for number, argument in enumerate(command.places):
        yield _fish_entry(f"{place} {number}", _fish_value(argument))
    for option in command.options:
        names = "".join(f" -l {name[2:]}" if name.startswith("--") else f" -s {name[1:]}" for name in option.completable)
        requires = (" -r" if option.kind == "file" else " -x") if option.kind else ""
        inside = f"__foundry_inside {command.path}".rstrip()
        yield _fish_entry(inside, f"{names}{requires}{_fish_value(option)}", summary(option.help))


def _fish_entry(condition: str, what: str, description: str = "") -> str:
    text = f" -d {_fish_quote(description)}" if description else ""
    return f"complete -c foundry -n {_fish_quote(condition)}{what}{text}"


def _fish_value(parameter: Parameter) -> str:
    if parameter.words:
        return f" -a {_fish_quote(parameter.words)}"
    actions = {
        "model": " -a '(__foundry_models model)' -d Model",
        "cache": " -a '(__foundry_models cache)' -d Model",
        "loaded": " -a '(__foundry_models loaded)' -d Model",
        "setting": " -a '(__foundry_setting)'",
        "file": " -F",
        "directory": " -a '(__fish_complete_directories)'",
    }
    return actions.get(parameter.kind, "")


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def powershell(root: Command) -> str:
    """The completion for PowerShell."""
    tree = "\n".join(line for command in root.walk() for line in _powershell_command(command))
    aliases = "\n".join(
        f"        {_powershell_quote(alias)} = {_powershell_quote(command.path)}"
        for command in root.walk()
        for alias in command.alias_paths
    )
    settings = "\n".join(f"        {_powershell_quote(key)} = {_powershell_quote(kind)}" for key, kind in SETTINGS.items())
    return _fill("foundry.ps1", TREE=tree, ALIASES=aliases, SETTINGS=settings)


def _powershell_command(command: Command) -> Iterator[str]:
    yield f"        {_powershell_quote(command.path)} = @{{"
    yield from _powershell_table("Commands", "[ordered]", {child.name: child.title for child in command.commands})
    options = {name: summary(option.help) for option in command.options for name in option.completable}
    yield from _powershell_table("Options", "[ordered]", options)
    yield from _powershell_table("Takes", "", {name: o.kind for o in command.options if o.kind for name in o.names})
    yield f"            Arguments = @({', '.join(_powershell_quote(argument.kind) for argument in command.places)})"
    yield "        }"


def _powershell_table(name: str, cast: str, entries: dict[str, str]) -> Iterator[str]:
    if not entries:
        yield f"            {name} = {cast}@{{}}"
        return
    yield f"            {name} = {cast}@{{"
    yield from (f"                {_powershell_quote(key)} = {_powershell_quote(value)}" for key, value in entries.items())
    yield "            }"


def _powershell_quote(text: str) -> str:
    """`text` between single quotes; PowerShell takes the typographic ones for the same."""
    return "'" + re.sub("(['\u2018-\u201b])", r"\1\1", text) + "'"


def _fill(template: str, **parts: str) -> str:
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    for name, part in {"GENERATED": GENERATED, "AWK": SAFE_NAMES_AWK, **parts}.items():
        if f"@{name}@" in text:
            text = text.replace(f"@{name}@", part)
    return text


# --- manual pages ----------------------------------------------------------------------------------------------------


def manual(command: Command, root: Command) -> str:
    """The manual page of the program, of a group or of a single command."""
    name = _page(command)
    day = release_date(__version__, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    lines = [
        f'.\\" {GENERATED}',
        f'.TH {_literal(name.upper())} 1 "{day}" "foundry {__version__}" "Foundry"',
        ".SH NAME",
        f"{_literal(name)} \\- {_prose(command.title.rpartition(': ')[2])}",
        ".SH SYNOPSIS",
        *_synopses(command),
        ".SH DESCRIPTION",
        *_description(command),
        *(line for section in _sections(command, root) for line in section),
    ]
    return "\n".join(lines) + "\n"


def release_date(version: str, changelog: str) -> str:
    """The day of `version` in the change log, or nothing before its release: a build never looks at the clock."""
    found = re.search(rf"^## \W*{re.escape(version)}\b.*?(\d{{4}}-\d\d-\d\d)", changelog, re.MULTILINE)
    return found[1] if found else ""


def _page(command: Command) -> str:
    return "-".join(["foundry", *command.path.split()])


def _sections(command: Command, root: Command) -> Iterator[list[str]]:
    if command.commands:
        yield [".SH COMMANDS", *(line for child in command.commands for line in _entry(child))]
    yield [".SH OPTIONS", *(line for parameter in (*command.arguments, *command.options) for line in _parameter(parameter))]
    codes = (_term(f"\\fB{code.value}\\fR", EXIT_STATUS[code]) for code in ExitCode)
    yield [".SH EXIT STATUS", *(line for term in codes for line in term)]
    if command is root:
        variables = (_term(f"\\fB{name}\\fR", text) for name, text in ENVIRONMENT.items())
        files = (_term(f"\\fI{_literal(str(path))}\\fR", text) for path, text in FILES.items())
        yield [".SH ENVIRONMENT", *(line for term in variables for line in term)]
        yield [".SH FILES", *(line for term in files for line in term)]
    else:
        yield [".SH ENVIRONMENT", *_paragraph("The variables are described in foundry(1).")]
        yield [".SH FILES", *_paragraph("The files are described in foundry(1).")]
    examples = [line for example in EXAMPLES[command.path].items() for line in _example(*example)]
    yield [".SH EXAMPLES", *examples[1:]]
    pages = sorted(_page(other) for other in (root, *root.commands) if other is not command)
    yield [".SH SEE ALSO", ",\n".join(f"\\fB{_literal(page)}\\fR(1)" for page in pages)]


def _synopses(command: Command) -> list[str]:
    calls = [child for child in command.commands if not child.commands] if command.path else []
    lines = [_synopsis(call) for call in calls or [command]]
    return "\n.br\n".join(lines).split("\n")


def _synopsis(command: Command) -> str:
    words = [f"\\fB{_literal(f'foundry {command.path}'.strip())}\\fR", "[\\fIoptions\\fR]"]
    words += ["\\fIcommand\\fR", "[\\fIarguments\\fR]"] if command.commands else []
    for argument in command.arguments:
        word = f"\\fI{_literal(argument.metavar)}\\fR"
        words.append(word if argument.is_required else f"[{word}]")
    return " ".join(words)


def _description(command: Command) -> list[str]:
    """The help of the command; a part that keeps its lines (`\\b`) becomes a display. Examples have their own section."""
    lines: list[str] = []
    for part in command.help.split("\n\n"):
        if not part.startswith("\b"):
            lines += [".PP", *_paragraph(_sentence(part))]
            continue
        title, *rest = part.removeprefix("\b").strip("\n").splitlines()
        if title.rstrip(":").upper() != "EXAMPLES":
            lines += [".PP", *_paragraph(title), *_display(rest)]
    if command.commands:
        lines += [".PP", *_paragraph("Without a command the help is shown.")]
    return lines[1:]


def _entry(command: Command) -> Iterator[str]:
    """A command in the page above it: everything about it, or a line where it has a page of its own."""
    if " " not in command.path:
        yield from _term(f"\\fB{_literal(command.name)}\\fR", _sentence(command.help), f"See {_page(command)}(1).")
        return
    yield f".SS {_literal(command.name)}"
    yield _synopsis(command)
    yield from (".PP", *_paragraph(" ".join([_sentence(command.help), *_aliases(command)])))
    for parameter in (*command.arguments, *command.options[:-1]):
        yield from _parameter(parameter)


def _aliases(command: Command) -> list[str]:
    return [f"The command can also be written 'foundry {path}'." for path in command.alias_paths]


def _parameter(parameter: Parameter) -> list[str]:
    value = f"\\fI{_literal(parameter.metavar)}\\fR"
    names = ", ".join(f"\\fB{_literal(name)}\\fR" for name in parameter.names)
    head = value if not names else f"{names} {value}" if parameter.kind else names
    text = [_sentence(parameter.help)] if parameter.help else []
    text += [f"Default: {parameter.default}."] if parameter.default else []
    return _term(head, *text, *_bounds(parameter.bounds))


def _bounds(bounds: tuple[float | None, float | None]) -> list[str]:
    lowest, highest = bounds
    if lowest is not None and highest is not None:
        return [f"From {lowest} to {highest}."]
    return [f"At least {lowest}."] if lowest is not None else [f"At most {highest}."] if highest is not None else []


def _term(head: str, *texts: str) -> list[str]:
    return [".TP", head, *_paragraph(" ".join(texts))]


def _example(command: str, text: str) -> list[str]:
    return [".PP", *_paragraph(text), *_display([f"$ {command}"])]


def _display(lines: Sequence[str]) -> list[str]:
    return [
        ".PP",
        ".RS 4",
        ".EX",
        *(_guard(_literal(line)) for line in textwrap.dedent("\n".join(lines)).splitlines()),
        ".EE",
        ".RE",
    ]


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", ":", "?", "!")) else f"{text}."


def _paragraph(text: str) -> list[str]:
    return [_guard(line) for line in textwrap.wrap(_prose(text), 76, break_long_words=False, break_on_hyphens=False)]


def _prose(text: str) -> str:
    """Running text for troff: quotes stay straight, and names of options and files can be copied."""
    text = " ".join(text.split())
    text = re.sub(r"(?<!\S)[(']*(?:-{1,2}[a-z]|~)[\w/.-]*", lambda match: match[0].replace("-", "\0"), text)
    text = text.replace("\\", "\\e").replace("\0", "\\-").replace("~", "\\(ti").replace("^", "\\(ha").replace("`", "\\(ga")
    return re.sub(r"(?<![^\W\d_])'|'(?![^\W\d_])", r"\\(aq", text)


def _literal(text: str) -> str:
    """What is typed, for troff: every character as it is."""
    for character, name in {"\\": "\\e", "-": "\\-", "'": "\\(aq", "~": "\\(ti", "^": "\\(ha", "`": "\\(ga"}.items():
        text = text.replace(character, name)
    return text


def _guard(line: str) -> str:
    """A line of text that troff does not take for a request."""
    return f"\\&{line}" if line.startswith((".", "'")) else line


# --- files -----------------------------------------------------------------------------------------------------------

COMPLETIONS: dict[str, Callable[[Command], str]] = {
    "completions/bash-completion/completions/foundry": bash,
    "completions/zsh/site-functions/_foundry": zsh,
    "completions/fish/vendor_completions.d/foundry.fish": fish,
    "completions/powershell/foundry.ps1": powershell,
}


def generate() -> dict[str, str]:
    """The text of every generated file, by its path in the repository."""
    root = read_tree()
    pages = {f"man/{_page(command)}.1": manual(command, root) for command in (root, *root.commands)}
    return {path: write(root) for path, write in COMPLETIONS.items()} | pages | field_tables.pages()


def differing(files: dict[str, str], directory: Path) -> list[str]:
    """Which of `files` are missing or different in `directory`, and which are there without being generated any more."""
    found = (*directory.glob("man/**/*"), *directory.glob("docs/*-fields.md"))
    kept = {path.relative_to(directory).as_posix() for path in found if path.is_file()}
    changed = {path for path, text in files.items() if not _holds(directory / path, text)}
    return sorted(changed | (kept - files.keys()))


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the files; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing, fail when a file is not up to date")
    is_check = parser.parse_args(arguments).check
    files = generate()
    changed = differing(files, ROOT)
    if is_check and changed:
        print("Not up to date; run 'python .ci/generate_docs.py':", *changed, sep="\n  ", file=sys.stderr)
        return 1
    for path in changed if not is_check else []:
        if path not in files:
            (ROOT / path).unlink()
            continue
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_bytes(files[path].encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
