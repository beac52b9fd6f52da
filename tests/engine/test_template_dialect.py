"""Earlier calls in the words of templates: each one here does what decides in a published template, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from foundry_cli.engine.chat_template import ChatTemplate, Message
from foundry_cli.engine.request import Tool, ToolUse
from foundry_cli.engine.template_dialect import JinjaDialect, PromptOptions
from foundry_cli.errors import InvalidRequestError, ModelInvalidError, UnsupportedFieldError

USE = ToolUse((Tool("look"), Tool("hear")))


class Counting(ChatTemplate):
    """Counts how often it was written with."""

    count = 0

    def render(self, *arguments: Any) -> str:
        """As the base class."""
        self.count += 1
        return super().render(*arguments)


@pytest.mark.parametrize("condition", ["true", "messages | length > 1"], ids=["always", "calls"])
def test_an_endless_template_is_tried_once(condition: str) -> None:
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    told = "{% for m in messages %}{{ m.content }}{% endfor %}"
    template = Counting(f"{{% if {condition} %}}{endless}{{% endif %}}{told}", {}, seconds=0.05)
    dialect = JinjaDialect(template, "")
    for count in (1, 2):
        before = template.count
        with pytest.raises(ModelInvalidError, match="ran longer than"):
            dialect.render([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], None)
        assert template.count - before <= (1 if condition == "true" else 2), count


# Mistral Nemo and Small: turns alternate, calls and results aside; identifiers have nine characters; a call is written whole.
MISTRAL = """\
{%- set ns = namespace(turn=0) %}
{%- for m in messages if m.role != 'tool' and m.tool_calls is not defined %}
  {%- if (m.role == 'user') != (ns.turn % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
  {%- set ns.turn = ns.turn + 1 %}
{%- endfor %}
{%- for m in messages %}
  {%- if m.role == 'user' %}[INST]{{ m.content }}[/INST]
  {%- elif m.tool_calls is defined %}[TOOL_CALLS][
    {%- for call in m.tool_calls %}
      {%- if call.id|length != 9 %}{{ raise_exception('nine characters') }}{% endif %}
      {{- (call.function|tojson)[:-1] }}, "id": "{{ call.id }}"}{{ ', ' if not loop.last }}
    {%- endfor %}]</s>
  {%- elif m.role == 'tool' %}
    {%- if m.tool_call_id|length != 9 %}{{ raise_exception('nine characters') }}{% endif %}
    {{- '[TOOL_RESULTS]{"content": ' + m.content + ', "call_id": "' + m.tool_call_id + '"}' }}
  {%- else %}{{ m.content }}</s>
  {%- endif %}
{%- endfor %}"""

# gpt-oss: the first call of a message only; results are of the call before them; thoughts are in `thinking`, or the content.
GPT_OSS = """\
{%- set last = namespace(name=none) %}
{%- for m in messages %}
  {%- if m.role == 'assistant' and 'tool_calls' in m %}
    {%- set call = m.tool_calls[0].function %}
    {%- if m.content and m.thinking %}{{ raise_exception('not both') }}{% endif %}
    {%- if m.content or m.thinking %}<analysis>{{ m.content or m.thinking }}<end>{% endif %}
    {{- '<to functions.' + call.name + '>' + call.arguments|tojson + '<call>' }}
    {%- set last.name = call.name %}
  {%- elif m.role == 'tool' %}
    {%- if last.name is none %}{{ raise_exception('no call before the result') }}{% endif %}
    {{- '<functions.' + last.name + '>' + m.content + '<end>' }}
  {%- else %}<{{ m.role }}>{{ m.content }}<end>
  {%- endif %}
{%- endfor %}"""

# Llama 3.1 to 3.3: exactly one call in a message.
LLAMA = """\
{%- for m in messages %}
  {%- if 'tool_calls' in m %}
    {%- if m.tool_calls|length != 1 %}{{ raise_exception('This model only supports single tool-calls at once!') }}{% endif %}
    {%- set call = m.tool_calls[0].function %}
    {{- '<a>{"name": "' + call.name + '", "parameters": ' + call.arguments|tojson + '}' }}
  {%- elif m.role == 'tool' %}<ipython>{{ m.content|tojson }}
  {%- else %}<{{ m.role }}>{{ m.content }}
  {%- endif %}
{%- endfor %}"""

# Llama again, where a call may only follow a user: there is no way to write two calls of one answer.
ONE_CALL = "{%- set ns = namespace(last='') %}" + LLAMA.replace(
    "{%- if 'tool_calls' in m %}",
    "{%- if 'tool_calls' in m and ns.last == 'tool' %}{{ raise_exception('a call after a result') }}{% endif %}"
    "{%- set ns.last = m.role %}{%- if 'tool_calls' in m %}",
)

# DeepSeek R1: calls only where the content is null, their arguments a text that is appended.
DEEPSEEK = """\
{%- for m in messages %}
  {%- if m.role == 'user' %}<U>{{ m.content }}
  {%- elif m.role == 'assistant' and m.content is none %}<A>
    {%- for call in m.tool_calls %}{{ '<call>' + call.function.name + '\n' + call.function.arguments }}{% endfor %}<end>
  {%- elif m.role == 'assistant' %}<A>{{ m.content }}<end>
  {%- elif m.role == 'tool' %}<out>{{ m.content }}
  {%- endif %}
{%- endfor %}"""

# The same, of a kind that asks whether there is content at all.
ABSENT = DEEPSEEK.replace("m.content is none", "'content' not in m").replace(
    "+ call.function.arguments", "+ call.function.arguments|tojson"
)

# Qwen2.5 and 3 (and Hermes before them): all calls, between markers.
QWEN = """\
{%- for m in messages %}
  {%- if m.role == 'tool' %}<response>{{ m.content }}
  {%- else %}<{{ m.role }}>{{ m.content }}
    {%- for call in m.tool_calls or [] %}
      {{- '<tool_call>{"name": "' + call.function.name + '", "arguments": ' }}
      {{- call.function.arguments if call.function.arguments is string else call.function.arguments|tojson }}}
    {%- endfor %}
  {%- endif %}
{%- endfor %}"""

# Qwen3-Coder: arguments are no JSON, each one has its own lines.
CODER = """\
{%- for m in messages %}<{{ m.role }}>{{ m.content }}
  {%- for call in m.tool_calls or [] %}<function={{ call.function.name }}>
    {%- for name, value in call.function.arguments|items %}<parameter={{ name }}>{{ value }}</parameter>{% endfor %}
  {%- endfor %}
{%- endfor %}"""

# Granite 3.x and Phi-4-mini: role and content, whatever else a message has.
GRANITE = "{% if tools %}<tools>{{ tools|tojson }}{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"

# Gemma and others to which somebody has added tools, but no role for their results; turns alternate.
TWO_ROLES = """\
{%- if tools %}<tools>{% endif %}
{%- for m in messages %}
  {%- if m.role not in ('user', 'assistant') %}{{ raise_exception('only user and assistant') }}{% endif %}
  {%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
  {{- '<' + m.role + '>' + m.content }}
  {%- for call in m.tool_calls or [] %}<call>{{ call.function|tojson }}{% endfor %}
{%- endfor %}"""


def call(identity: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(identity: str, name: str, content: str) -> Message:
    return {"role": "tool", "tool_call_id": identity, "name": name, "content": content}


LOOK, HEAR = call("call_1", "look", {"at": "sky"}), call("call_2", "hear", {"it": [1]})
LOOKED, HEARD = result("call_1", "look", "blue"), result("call_2", "hear", "wind")
USER: Message = {"role": "user", "content": "Q"}


def turn(*calls: dict[str, Any], content: str = "", **fields: Any) -> Message:
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **fields}


def written(source: str, *messages: Message) -> str:
    return JinjaDialect(ChatTemplate(source, {}), source).render([USER, *messages], USE)


PARTS = "{% for part in message.content %}{{ part.text }}{% endfor %}"


def in_parts(condition: str) -> str:
    text = f"{{% if {condition} %}}{PARTS}{{% else %}}{{{{ message.content }}}}{{% endif %}}"
    return "{% for message in messages %}[{{ message.role }}]" + text + "{% endfor %}"


@pytest.mark.parametrize("condition", ["true", "message.role == 'user'", "false", "message.content is not string"])
def test_texts_in_the_form_that_the_template_takes(condition: str) -> None:
    source = in_parts(condition)
    messages = [{"role": role, "content": f"said by {role}"} for role in ("system", "user", "assistant", "user")]
    text = JinjaDialect(ChatTemplate(source, {}), source).render(messages, None)
    assert text == "".join(f"[{message['role']}]{message['content']}" for message in messages)


def test_a_template_that_refuses_texts_and_system_messages() -> None:
    source = "{% if messages[0].role == 'system' or messages[0].content is string %}{{ raise_exception('no') }}{% endif %}"
    source += in_parts("true")
    assert JinjaDialect(ChatTemplate(source, {}), source).render([USER], None) == "[user]Q"


def test_tools_are_written_once_by_a_template_that_reads_them_in_two_places() -> None:
    source = (
        "{% if tools %}{{ tools | tojson }}{% endif %}{% for message in messages %}{{ message.tools }}{{ message.content }}"
    )
    source += "{% endfor %}"
    text = JinjaDialect(ChatTemplate(source, {}), source).render([{"role": "system", "content": "S"}, USER], USE)
    assert text.count('"name": "look"') == 1


def test_names_that_the_request_gives() -> None:
    source = "{{ bos_token }}{% if enable_thinking is defined and not enable_thinking %}quick{% else %}slow{% endif %}"
    dialect = JinjaDialect(ChatTemplate(source, {"bos_token": "<s>"}), source)
    assert dialect.render([USER], None) == "<s>slow"
    assert dialect.render([USER], None, PromptOptions(names={"enable_thinking": False, "bos_token": "x"})) == "<s>quick"
    assert dialect.render([USER], None, PromptOptions("none", names={"enable_thinking": True})) == "<s>quick"


def test_the_usual_effort_is_never_refused() -> None:
    dialect = JinjaDialect(ChatTemplate("{{ messages[0].content }}", {}), "")
    assert dialect.render([USER], None, PromptOptions("high", "high")) == dialect.render([USER], None)
    with pytest.raises(UnsupportedFieldError, match="no setting for 'high'"):
        dialect.render([USER], None, PromptOptions("high"))


def test_another_template_for_conversations_with_tools() -> None:
    other = JinjaDialect(ChatTemplate(QWEN, {}), QWEN)
    dialect = JinjaDialect(ChatTemplate("plain", {}), "plain", other)
    assert dialect.render([USER], None) == "plain"
    assert dialect.render([USER], USE) == other.render([USER], USE)
    assert dialect.render([USER, turn(LOOK), LOOKED], None) == "plain"


def test_arguments_are_encoded_once_where_turns_alternate() -> None:
    text = written(MISTRAL, turn(LOOK, HEAR), LOOKED, HEARD)
    calls = json.loads(text.split("[TOOL_CALLS]")[1].split("</s>")[0])
    assert [made["arguments"] for made in calls] == [{"at": "sky"}, {"it": [1]}]
    assert {len(made["id"]) for made in calls} == {9}
    assert [f'"call_id": "{made["id"]}"' in text for made in calls] == [True, True]


def test_a_template_that_has_one_call_in_a_message_gets_one_message_for_each() -> None:
    expected = '<to functions.look>{"at": "sky"}<call><functions.look>blue<end>'
    expected += '<to functions.hear>{"it": [1]}<call><functions.hear>wind<end>'
    assert written(GPT_OSS, turn(LOOK, HEAR), HEARD, LOOKED) == "<user>Q<end>" + expected


def test_a_call_that_was_not_answered_and_an_answer_to_no_call() -> None:
    other = result("call_9", "look", "?")
    expected = '<to functions.look>{"at": "sky"}<call><to functions.hear>{"it": [1]}<call><functions.hear>?<end>'
    assert written(GPT_OSS, turn(LOOK, HEAR), other) == "<user>Q<end>" + expected


def test_calls_with_the_same_identifier_are_answered_in_order() -> None:
    again = {**HEAR, "id": "call_1"}
    text = written(GPT_OSS, turn(LOOK, again), LOOKED, {**HEARD, "tool_call_id": "call_1"})
    assert "<functions.look>blue" in text
    assert "<functions.hear>wind" in text


@pytest.mark.parametrize(("content", "analysis"), [("", "Hm"), ("I look.", "Hm\n\nI look.")])
def test_thoughts_have_the_name_that_the_template_reads(content: str, analysis: str) -> None:
    text = written(GPT_OSS, turn(LOOK, HEAR, content=content, reasoning_content="Hm"), LOOKED, HEARD)
    assert text.startswith(f"<user>Q<end><analysis>{analysis}<end><to functions.look>")
    assert text.count("<analysis>") == 1


def test_a_template_that_refuses_two_calls_gets_them_one_by_one() -> None:
    expected = '<user>Q<a>{"name": "look", "parameters": {"at": "sky"}}<ipython>"blue"'
    expected += '<a>{"name": "hear", "parameters": {"it": [1]}}<ipython>"wind"<user>And?'
    assert written(LLAMA, turn(LOOK, HEAR), HEARD, LOOKED, {"role": "user", "content": "And?"}) == expected


def test_calls_that_can_be_written_in_no_way_are_an_error_of_the_request() -> None:
    assert '"parameters": {"at": "sky"}}<ipython>"blue"' in written(ONE_CALL, turn(LOOK), LOOKED)
    with pytest.raises(InvalidRequestError, match="several tool calls") as error:
        written(ONE_CALL, turn(LOOK, HEAR), LOOKED, HEARD)
    assert error.value.param == "messages"


def test_calls_that_are_written_only_without_content() -> None:
    expected = '<call>look\n{"at": "sky"}<call>hear\n{"it": [1]}<end><out>blue<out>wind'
    for source in (DEEPSEEK, ABSENT):
        assert written(source, turn(LOOK, HEAR), LOOKED, HEARD) == "<U>Q<A>" + expected
        assert written(source, turn(LOOK, HEAR, content="So."), LOOKED, HEARD) == "<U>Q<A>So.<end><A>" + expected


def test_a_template_that_writes_all_calls_gets_them_together() -> None:
    expected = '<tool_call>{"name": "look", "arguments": {"at": "sky"}}<tool_call>{"name": "hear", "arguments": {"it": [1]}}'
    text = written(QWEN, turn(LOOK, HEAR, content="So."), HEARD, LOOKED)
    assert text == f"<user>Q<assistant>So.{expected}<response>blue<response>wind"


def test_arguments_that_are_not_written_as_json_stay_an_object() -> None:
    text = written(CODER, turn(LOOK, HEAR), LOOKED, HEARD)
    assert "<function=look><parameter=at>sky</parameter><function=hear><parameter=it>[1]</parameter>" in text


def test_calls_that_a_template_does_not_write_are_told() -> None:
    text = written(GRANITE, turn(LOOK, content="So."), LOOKED)
    assert text.endswith('<assistant>So.\n{"name":"look","arguments":{"at":"sky"}}<user>Result of look: blue')


def test_results_without_a_role_for_them_are_one_turn_of_the_user() -> None:
    text = written(TWO_ROLES, turn(LOOK, HEAR), LOOKED, HEARD, {"role": "user", "content": "And?"})
    calls = '{"name":"look","arguments":{"at":"sky"}}\n{"name":"hear","arguments":{"it":[1]}}'
    assert text == f"<tools><user>Q<assistant>{calls}<user>Result of look: blue\nResult of hear: wind\nAnd?"


@pytest.mark.parametrize("source", [MISTRAL, GPT_OSS, LLAMA, DEEPSEEK, QWEN, CODER])
def test_a_conversation_without_calls_is_not_changed(source: str) -> None:
    answer = {"role": "assistant", "content": "A", "reasoning_content": "Hm"}
    last = {"role": "user", "content": "And?"}
    assert written(source, answer, last) == ChatTemplate(source, {}).render([USER, answer, last])


class CountingTemplate(ChatTemplate):
    """A template that knows how often it was used."""

    used = 0

    def render(self, *arguments: Any, **named: Any) -> str:
        self.used += 1
        return super().render(*arguments, **named)


def test_the_template_is_tried_once_and_for_calls_only_when_there_are_any() -> None:
    template = CountingTemplate(QWEN, {})
    dialect = JinjaDialect(template, QWEN)
    dialect.render([USER], USE)
    assert template.used == 3  # twice for the form of texts
    dialect.render([USER], USE)
    assert template.used == 4
    dialect.render([USER, turn(LOOK), LOOKED], USE)
    tried = template.used
    assert 6 < tried < 24
    dialect.render([USER, turn(LOOK), LOOKED], USE)
    assert template.used == tried + 1
