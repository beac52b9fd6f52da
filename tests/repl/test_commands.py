"""What typed text means, and the parameters of `/set`."""

from __future__ import annotations

import pytest

from foundry_cli.errors import InvalidRequestError
from foundry_cli.repl.commands import COMMANDS, Call, Question, describe_commands, is_open, parse_input
from foundry_cli.repl.settings import PARAMETERS, ChatSettings, describe_parameters, set_parameter, value_text


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("hello", "hello"),
        ("  hello  ", "hello"),
        ("two\nlines", "two\nlines"),
        ("//etc/hosts?", "/etc/hosts?"),
        ('"""one\ntwo"""', "one\ntwo"),
        ('"""\none\n"""', "one"),
        ('"""open', "open"),
        ("a / b", "a / b"),
    ],
)
def test_questions(text: str, question: str) -> None:
    assert parse_input(text) == Question(question)


@pytest.mark.parametrize("text", ["", "  ", "\n", '""""""', '"""\n"""'])
def test_nothing(text: str) -> None:
    assert parse_input(text) is None


@pytest.mark.parametrize(
    ("text", "name", "argument"),
    [
        ("/help", "help", ""),
        ("/?", "help", ""),
        ("/EXIT", "exit", ""),
        ("/quit", "exit", ""),
        ("/bye", "exit", ""),
        ("/set temperature 0.5", "set", "temperature 0.5"),
        ("/system  You are\nkind.", "system", "You are\nkind."),
        ("/save my talk.json", "save", "my talk.json"),
    ],
)
def test_commands(text: str, name: str, argument: str) -> None:
    entry = parse_input(text)
    assert isinstance(entry, Call)
    assert (entry.command.name, entry.argument) == (name, argument)


@pytest.mark.parametrize(
    ("text", "hint"), [("/hepl", "Did you mean /help?"), ("/xyzzy", "Type /help"), ("/", "Type /help"), ("/ a", "Type")]
)
def test_unknown_commands(text: str, hint: str) -> None:
    with pytest.raises(InvalidRequestError, match="Unknown command") as caught:
        parse_input(text)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"""', True),
        ('"""a\nb', True),
        ('"""a"""', False),
        ('""""""', False),
        ('"""""', True),
        ('/system """a', True),
        ('/system """a"""', False),
        ('//"""', False),
        ('a """', False),
        ("", False),
        ("/", False),
    ],
)
def test_open_blocks(text: str, expected: bool) -> None:
    assert is_open(text) is expected


def test_every_command_is_described() -> None:
    assert [call.split()[0].strip("/,") for call, _ in describe_commands()] == [command.name for command in COMMANDS]


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("temperature 0.5", "temperature", 0.5),
        ("temperature 2", "temperature", 2),
        ("top_p 0", "top_p", 0),
        ("Top-P  1", "top_p", 1),
        ("top_k 40", "top_k", 40),
        ("max_tokens 5", "max_tokens", 5),
        ("seed 7", "seed", 7),
        ("ttl 60", "ttl", 60),
        ("repetition_penalty 1.1", "repetition_penalty", 1.1),
        ("stop END", "stop", ("END",)),
        ('stop "\\n"', "stop", ("\n",)),
        ('stop ["a", "b"]', "stop", ("a", "b")),
        ("stop a b", "stop", ("a b",)),
        ("verbose on", "verbose", True),
        ("verbose off", "verbose", False),
    ],
)
def test_set(argument: str, name: str, value: object) -> None:
    settings = set_parameter(ChatSettings(), argument)
    assert getattr(settings, name) == value
    assert set_parameter(settings, f"{name} default") == ChatSettings()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("temperature 2.1", "temperature cannot be '2.1'; it is a number from 0 to 2."),
        ("temperature -1", "temperature cannot be"),
        ("temperature nan", "temperature cannot be"),
        ("temperature inf", "temperature cannot be"),
        ("temperature warm", "temperature cannot be"),
        ("temperature ", "temperature cannot be ''"),
        ("top_p 1.01", "from 0 to 1"),
        ("max_tokens 0", "a whole number from 1 to 10000000"),
        ("max_tokens 1.5", "max_tokens cannot be"),
        ("seed 1" + "0" * 5000, "seed cannot be"),
        ("verbose maybe", "on or off"),
        ("stop ", "stop is a text"),
        ("stop []", "up to 16 texts"),
        ("stop [1]", "up to 16 texts"),
        ('stop "', "not correct JSON"),
        ("temprature 1", "no parameter 'temprature'"),
    ],
)
def test_set_refuses(argument: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"parameter|cannot be|stop") as caught:
        set_parameter(ChatSettings(), argument)
    assert message in caught.value.message


def test_near_names_are_suggested() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        set_parameter(ChatSettings(), "temprature 1")
    assert caught.value.hint == "Did you mean 'temperature'?"


def test_every_setting_can_be_set_and_is_described() -> None:
    names = set(vars(ChatSettings())) - {"system"}
    assert {parameter.name for parameter in PARAMETERS} == names
    assert len(describe_parameters(ChatSettings())) == len(names)
    assert value_text(ChatSettings(stop=("a",)), PARAMETERS[-3]) == '["a"]'


def test_only_what_is_set_goes_with_a_request() -> None:
    assert ChatSettings(system="x", verbose=True).request_parameters() == {}
    assert ChatSettings(temperature=0, stop=("a",)).request_parameters() == {"temperature": 0, "stop": ["a"]}
