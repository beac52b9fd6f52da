"""Chat templates: what real ones need, and what hostile ones must not get."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from typing import Any

import pytest

from foundry_cli.engine.chat_template import ChatTemplate, PromptTemplate
from foundry_cli.errors import InvalidRequestError, ModelInvalidError

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": 'Say "é <b>"'},
]


def render(source: str, messages: list[dict[str, Any]] = MESSAGES, **special_tokens: str) -> str:
    return ChatTemplate(source, special_tokens).render(messages)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% for m in messages %}[{{ m['role'] }}]{{ m.content }}{% endfor %}", '[system]Be brief.[user]Say "é <b>"'),
        ("{{ bos_token }}{{ messages[-1].content }}{{ eos_token }}", '<s>Say "é <b>"</s>'),
        ("{% if add_generation_prompt %}>{% endif %}", ">"),
        ("{{ tools is none }} {{ documents is none }} {{ unknown is defined }}", "True True False"),
        ("{{ messages[1].content | tojson }}", '"Say \\"é <b>\\""'),
        ("{{ {'b': 1, 'a': 'é'} | tojson(True, sort_keys=True, separators=(',', ':')) }}", '{"a":"\\u00e9","b":1}'),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        ("{% for i in 'abcd' %}{% if i == 'b' %}{% continue %}{% endif %}{{ i }}{% endfor %}", "acd"),
        ("{% for i in 'abcd' %}{% if i == 'c' %}{% break %}{% endif %}{{ i }}{% endfor %}", "ab"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2"),
        ("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f('a') }}", "<a>"),
        ("{%- for m in messages %}{% generation %}{{ m.role }} {% endgeneration %}{% endfor %}", "system user "),
        ("    {% if true %}\nx\n    {% endif %}\n", "x\n"),
        ("{{ 'ab' * 3 }} {{ 2 ** 10 }} {{ 2 ** 0.5 > 1 }} {{ 7 * 6 }}", "ababab 1024 True 42"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_templates_use(source: str, expected: str) -> None:
    assert render(source, bos_token="<s>", eos_token="</s>") == expected


def test_the_date_can_be_asked_for() -> None:
    assert render("{{ strftime_now('%Y') }}").isdigit()


def test_a_refusal_is_the_fault_of_the_messages() -> None:
    with pytest.raises(InvalidRequestError, match=r"refuses these messages: roles must alternate") as caught:
        render("{{ raise_exception('roles must alternate') }}")
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    "source",
    ["{% for %}", "{{ x", "{% endif %}", "{{ x | no_such_filter }}", "{% include 'x' %}", "{% import 'x' as y %}",
     "{{ " + "(" * 500 + "1" + ")" * 500 + " }}", "{% for a in [1] %}" * 25 + "{% endfor %}" * 25],
)  # fmt: skip
def test_damaged_templates(source: str) -> None:
    with pytest.raises(ModelInvalidError, match="chat template"):
        render(source)


INJECTIONS = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__']['__mro__'] }}",
    "{{ '' | attr('__class__') | attr('__mro__') }}",
    "{{ ''['__cl' ~ 'ass__'] | attr('__base__') }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context.environment }}",
    "{{ cycler.__init__.__globals__.os.popen('id') }}",
    "{{ lipsum.__globals__['os'].system('id') }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ joiner.__init__.__globals__.__builtins__.open('/etc/passwd').read() }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(cycler) }}",
    "{{ '{a.__class__}'.format_map({'a': ''}) }}",
    "{% set f = '{0.__class__.__mro__}'.format %}{{ f('') }}",
    "{{ ['{0.__class__.__mro__}'] | map('format', '') | list }}{{ ('' | attr('format')).__self__.__class__ }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__globals__['signal'] }}",
    "{{ raise_exception.__code__.co_consts }}",
    "{{ (1).__class__.__base__.__subclasses__() }}",
    "{{ ().__class__.__bases__[0].__subclasses__()[0] }}",
    "{{ messages.append(1) }}",
    "{{ messages.clear() }}",
    "{% set _ = messages[0].update({'content': 'x'}) %}",
    "{{ messages[0].pop('role') }}",
    "{{ messages | map(attribute='__class__.__mro__') | list | first | first }}",
    "{{ config.items() }}",
    "{{ request.application.__globals__ }}",
    "{{ get_flashed_messages.__globals__ }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "{{ (messages | groupby('__class__')) }}{{ messages[0].__class__.__name__ }}",
]


@pytest.mark.parametrize("source", INJECTIONS)
def test_injections_reach_nothing(source: str) -> None:
    messages = [dict(message) for message in MESSAGES]
    text = ""
    with suppress(ModelInvalidError):
        text = render(source, messages)  # such attributes are undefined in the sandbox: nothing of Python's inside shows
    assert not any(word in text for word in ("<class", "built-in", "module", "root:"))
    assert messages == MESSAGES


BOMBS = {
    "concatenation": "{% set ns = namespace(x='aaaa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "sum": "{% set ns = namespace(x='aaaa') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "list": "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "repetition": "{{ 'a' * 900000000 }}",
    "repetition of a list": "{{ [1] * 900000000 }}",
    "repetition from the left": "{{ 900000000 * 'a' }}",
    "power": "{{ 9 ** 99999999 }}",
    "squares": "{% set ns = namespace(x=9) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "replacement": "{% set a = 'a' * 100000 %}{{ a.replace('a', a) }}",
    "joining": "{% set a = 'a' * 100000 %}{{ a | join(a) }}",
    "centre": "{{ 'a' | center(10000000000) }}",
    "constant format": "{{ '%10000000000s' | format('a') }}",
    "format": "{{ '{:>10000000000}'.format(1) }}",
    "justify": "{{ 'a'.ljust(10000000000) }}",
    "bytes": "{{ (5).to_bytes(10000000000, 'big') }}",
    "indent": "{{ [1] | tojson(indent=1000000000) }}",
    "range": "{{ range(1000000000) | list }}",
    "recursion": "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
@pytest.mark.parametrize("source", BOMBS.values(), ids=BOMBS)
def test_bombs_do_not_go_off(source: str) -> None:
    before, limits = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(ModelInvalidError, match="chat template"):
        render(source)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024  # KiB
    assert resource.getrlimit(resource.RLIMIT_AS) == limits


def test_endless_work_ends() -> None:
    source = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"
    with pytest.raises(ModelInvalidError, match=r"longer than 0\.1 s"):
        ChatTemplate(source, {}, seconds=0.1).render(MESSAGES)


def test_a_template_can_be_used_after_it_failed() -> None:
    template = ChatTemplate("{% if messages | length > 2 %}{{ 9 ** 99999999 }}{% endif %}ok", {})
    with pytest.raises(ModelInvalidError):
        template.render([*MESSAGES, *MESSAGES])
    assert template.render(MESSAGES) == "ok"


PROMPT_TEMPLATE = {
    "system": "<|system|>{Content}<|end|>",
    "user": "<|user|>{Content}<|end|>",
    "assistant": "<|assistant|>{Content}<|end|>",
    "prompt": "<|user|>{Content}<|end|><|assistant|>",
}


@pytest.mark.parametrize(
    ("texts", "roles", "expected"),
    [
        (PROMPT_TEMPLATE, ["user"], "<|user|>0<|end|><|assistant|>"),
        (PROMPT_TEMPLATE, ["system", "user"], "<|system|>0<|end|><|user|>1<|end|><|assistant|>"),
        (
            PROMPT_TEMPLATE,
            ["user", "assistant", "user"],
            "<|user|>0<|end|><|assistant|>1<|end|><|user|>2<|end|><|assistant|>",
        ),
        ({"prompt": "{Content}>"}, ["tool", "user"], "01>"),
        ({"system": "x"}, ["system", "user"], "x1"),
    ],
)
def test_prompt_template(texts: dict[str, str], roles: list[str], expected: str) -> None:
    messages = [{"role": role, "content": str(number)} for number, role in enumerate(roles)]
    assert PromptTemplate(texts).render(messages) == expected


def test_prompt_template_takes_content_as_it_is() -> None:
    assert PromptTemplate({"prompt": "[{Content}]"}).render([{"role": "user", "content": "{Content} {x}"}]) == "[{Content} {x}]"
