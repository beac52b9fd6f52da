"""What models of each family write, and what it means: the same however it is cut."""

# ruff: noqa: RUF001 - the bars in the markers of DeepSeek are wide ones

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from foundry_cli.engine.reply_format import ReplyFormat
from foundry_cli.engine.reply_formats import find_reply_format
from tests.engine.replies import TOOLS, Reply, read, together

TEMPLATES = {
    "harmony": "{{ '<|start|>system<|message|>' }}{% if tools %}{{ '<|channel|>' }}{% endif %}",
    "deepseek": "{% if tools %}{% endif %}{{ '<｜tool▁calls▁begin｜>' + 'function' + '```json' }}",
    "deepseek_plain": "{% if tools is not none %}{% endif %}{{ '<｜tool▁calls▁begin｜>' }}{{ '<think>' }}",
    "mistral": "{%- for tool in tools %}[AVAILABLE_TOOLS]{% endfor %}{{ '[TOOL_CALLS] [' }}",
    "mistral_named": "{%- for tool in tools %}{% endfor %}{{ '[TOOL_CALLS]' + name + '[ARGS]' }}",
    "granite": "{%- if tools %}{{ '<|start_of_role|>available_tools<|end_of_role|>' }}{% endif %}",
    "granite_thinking": "{%- if tools %}<|start_of_role|>{% endif %}between <think></think> and <response></response>",
    "granite4": "{%- if tools %}{{ '<|start_of_role|>available_tools' }}<tool_call></tool_call>{% endif %}",
    "phi4": "{% if message['role'] == 'system' and 'tools' in message %}{{ '<|tool|>' + message['tools'] }}{% endif %}",
    "phi4_functools": "{%- if tools %}formatted as functools[{{ t }}]{% endif %}",
    "hermes": "{%- if tools %}{{ '<tool_call>' }}{% endif %}",
    "qwen3": "{%- if tools %}{{ '<tool_call>' }}{% endif %}{{ content.split('</think>') }}",
    "qwen3_coder": "{%- if tools %}<tool_call>\n<function=example_function_name>\n</tool_call>{% endif %}",
    "llama_json": '{%- if tools is not none %}{{ \'{"name": function name, "parameters": …}\' }}{% endif %}<|start_header_id|>',
    "llama_pythonic": "{%- if tools %}[func_name1(params_name1=params_value1)]{% endif %}<|start_header_id|>",
    "generic": "{{ message['content'] }}{{ message['tool_calls'] }}",
    "generic_thinking": "{{ '<｜Assistant｜><think>\\n' }}",
}
W = '{"city": "Paris"}'
WEATHER, TIME = ("get_weather", W), ("get_time", "{}")
HARD = '{"city": "a\\"}]</tool_call><|end|>{[(\\\\"}'
QUOTED = '"{\\"city\\": \\"Paris\\"}"'


def found(name: str) -> ReplyFormat:
    return find_reply_format(TEMPLATES[name], {})


@dataclass(frozen=True)
class Case:
    format: str
    text: str
    reply: Reply
    prompt_end: str = ""


def case(name: str, text: str, *calls: tuple[str, str], answer: str = "", reasoning: str = "", prompt_end: str = "") -> Case:
    return Case(name, text, Reply(answer, reasoning, list(calls)), prompt_end)


def plain(name: str, text: str) -> Case:
    """Text that is no call comes out as it is."""
    return case(name, text, answer=text)


D, DE, DC, DCE, DS = (f"<｜tool▁{name}｜>" for name in ("calls▁begin", "calls▁end", "call▁begin", "call▁end", "sep"))
HERMES = [
    case("hermes", f'<tool_call>\n{{"name": "get_weather", "arguments": {W}}}\n</tool_call>', WEATHER),
    case(
        "hermes",
        f'Let me see.\n<tool_call>{{"name":"get_weather","arguments":{W}}}</tool_call>\n',
        WEATHER,
        answer="Let me see.",
    ),
    case(
        "hermes",
        f'<tool_call>\n{{"name": "get_weather", "arguments": {W}}}\n</tool_call>\n<tool_call>\n'
        '{"name": "get_time", "arguments": {}}\n</tool_call>\nDone. ',
        WEATHER,
        TIME,
        answer="Done. ",
    ),
    case("hermes", f'<tool_call>{{"arguments": {W}, "name": "get_weather"}}</tool_call>', WEATHER),
    case("hermes", f'<tool_call>{{"name": "get_weather", "arguments": {QUOTED}}}</tool_call>', WEATHER),
    case("hermes", f'<tool_call>{{"parameters": {QUOTED}, "name": "get_weather"}}</tool_call>', WEATHER),
    case("hermes", '<tool_call>{"name": "get_time"}</tool_call>', TIME),
    case("hermes", '<tool_call>{"name": "get_time", "arguments": null}</tool_call>', TIME),
    case("hermes", '<tool_call>{"name": "get_time", "arguments": ""}</tool_call>', TIME),
    case("hermes", f'<tool_call>{{"name": "get_weather", "arguments": {HARD}}}</tool_call>', ("get_weather", HARD)),
    case("hermes", f'<tool_call>{{"id": 7, "name": "get\\u005fweather", "arguments": {W}, "x": {{}}}}</tool_call>', WEATHER),
    case(
        "hermes",
        f'<tool_call>{{"type": "function", "function": {{"name": "get_weather", "arguments": {W}}}}}</tool_call>',
        WEATHER,
    ),
    case(
        "hermes",
        f'<tool_call>\n[{{"name": "get_weather", "arguments": {W}}}, {{"name": "get_time"}}]\n</tool_call>',
        WEATHER,
        TIME,
    ),
    case("hermes", f'<tool_call>{{"name": "get_weather", "arguments": {W}}}', WEATHER),
    case("hermes", f'<tool_call>{{"name": "get_weather", "arguments": {W}</tool_call>ok', WEATHER, answer="ok"),
    case("hermes", f'<tool_call>{{"name": "get_weather", "arguments": {W}}} and', WEATHER, answer="and"),
    case("hermes", '<tool_call>{"name": "get_weather", "arguments": {"city": "Pa', ("get_weather", '{"city": "Pa')),
    case("hermes", '<tool_call>{"name": "get_weather", "argu', ("get_weather", "")),
    case("hermes", 'Wait <tool_call>\n{"name": "get_we', answer="Wait"),
    case("hermes", "Wait <tool_call>\n", answer="Wait"),
    plain("hermes", " \n"),
    plain("hermes", "a <tool_call"),
    plain("hermes", "if a < b: <tool>x</tool> <tool_caller> \n <"),
    plain("hermes", 'See <tool_call>{"name": "other", "arguments": {"a": 1}}</tool_call> there'),
    plain("hermes", "See <tool_call>what</tool_call> there"),
    plain("hermes", 'See <tool_call>{"name": 1} there'),
    plain("hermes", "<tool_call></tool_call>"),
    plain("hermes", '<tool_call>{"name": "get_time", "arguments": [1]}</tool_call>'),
    case("hermes", '<tool_call><tool_call>{"name": "get_time"}</tool_call>', TIME, answer="<tool_call>"),
    case("hermes", '<tool_call>{"name": "get_time"}</tool_call>\n</tool_call>x', TIME, answer="</tool_call>x"),
    plain("hermes", "<think>\nhm\n</think>\nno"),
    case("granite4", f'<tool_call>\n{{"name": "get_weather", "arguments": {W}}}\n</tool_call>', WEATHER),
]
THOUGHTS = [
    case(
        "qwen3",
        f'<think>\nI call <tool_call> now.\n</think>\n\n<tool_call>\n{{"name": "get_weather", "arguments": {W}}}\n</tool_call>',
        WEATHER,
        reasoning="I call <tool_call> now.",
    ),
    case("qwen3", "<think>\n\n</think>\n\nHi </think>", answer="Hi </think>"),
    case("qwen3", "\n <think>so </th", reasoning="so </th"),
    case("qwen3", "<think>so", reasoning="so"),
    plain("qwen3", "\n <thin"),
    plain("qwen3", " Hi <think>no</think>"),
    case("qwen3", "so\n</think>\n\nHi", answer="Hi", reasoning="so", prompt_end="<|im_start|>assistant\n<think>\n"),
    case("qwen3", "Hi </think>", answer="Hi </think>", prompt_end="<think>\n\n</think>\n\n"),
    case("deepseek_plain", "a\n\nb\n</think>c", answer="c", reasoning="a\n\nb", prompt_end="<think>"),
    case("generic_thinking", 'so</think>\n{"name": "get_time", "arguments": {}}', TIME, reasoning="so", prompt_end="<think>\n"),
]
GRANITE = [
    case("granite", f'<|tool_call|>[{{"name": "get_weather", "arguments": {W}}}]', WEATHER),
    case(
        "granite",
        f'<|tool_call|>{{"name": "get_weather", "arguments": {W}}}{{"name": "get_time", "arguments": {{}}}}',
        WEATHER,
        TIME,
    ),
    case("granite", f'<tool_call>[{{"name": "get_weather", "arguments": {W}}}, {{"name": "get_time"}}]', WEATHER, TIME),
    case("granite", f'<|tool_call|>{{"type": "function", "function": "get_weather", "arguments": {W}}}', WEATHER),
    plain("granite", "<|tool_call|>[]"),
    case("granite_thinking", "<think>so</think>\n<response> Hi </b> </response>", answer="Hi </b> ", reasoning="so"),
    case("granite_thinking", "<response>Hi </respons", answer="Hi </respons"),
    plain("granite_thinking", " Hi <response></response>"),
    plain("granite_thinking", "<respons"),
]
CODER = [
    case(
        "qwen3_coder",
        "Ok.\n<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n[1, 2]\n"
        "</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=get_time>\n</function>\n</tool_call>\nx",
        ("get_weather", '{"city": "Paris", "days": [1, 2]}'),
        TIME,
        answer="Ok.x",
    ),
    case(
        "qwen3_coder",
        '<tool_call><function=get_weather><parameter=city>a\n"<b>"\n\n</parameter><parameter=city>1</parameter><parameter=x>True</parameter>',
        ("get_weather", '{"city": "a\\n\\"<b>\\"\\n", "city": "1", "x": true'),
    ),
    case("qwen3_coder", "<function=get_time>\n</function>\nok", TIME, answer="ok"),
    case("qwen3_coder", "<tool_call>\n<function=get_time>\n</tool_call>ok", TIME, answer="ok"),
    case("qwen3_coder", "<tool_call>\n<function=get_time>\n<b>ok", TIME, answer="<b>ok"),
    case("qwen3_coder", f'<tool_call>\n{{"name": "get_weather", "arguments": {W}}}\n</tool_call>\nok', WEATHER, answer="ok"),
    case("qwen3_coder", '<tool_call>\n{"name": "get_weather", "argum', ("get_weather", "")),
    case("qwen3_coder", "<tool_call>\n<function=get_weather>\n<parameter=city>\nPar", ("get_weather", "")),
    case("qwen3_coder", "<tool_call>\n<function=get_wea"),
    plain("qwen3_coder", "<tool_call>\n<function=other>\n</function>\n</tool_call>"),
    plain("qwen3_coder", "<tool_call>\nno <function"),
    plain("qwen3_coder", "<tool_call></tool_call>"),
]
PHI = [
    case("phi4", f'<|tool_call|>[{{"name": "get_weather", "arguments": {W}}}]<|/tool_call|>', WEATHER),
    case("phi4", f'Ok<|tool_call|>{{"name": "get_weather", "arguments": {W}}}<|/tool_call|>', WEATHER, answer="Ok"),
    case("phi4", f'functools[{{"name": "get_weather", "arguments": {W}}}]', WEATHER),
    case(
        "phi4_functools",
        f' functools[{{"name": "get_weather", "arguments": {W}}},\n {{"name": "get_time", "arguments": {{}}}}]',
        WEATHER,
        TIME,
    ),
    case("phi4_functools", f'functools[{{"name": "get_weather", "arguments": {W}', WEATHER),
    plain("phi4_functools", "from functools import cache, functools["),
    plain("phi4_functools", "functools[cache]"),
    plain("phi4_functools", 'functools[{"name": "get_we'),
]
LLAMA = [
    case("llama_json", f'{{"name": "get_weather", "parameters": {W}}}', WEATHER),
    case("llama_json", f'<|python_tag|>{{"name": "get_weather", "parameters": {W}}}', WEATHER),
    case(
        "llama_json",
        f'Ok.\n<|python_tag|>{{"type": "function", "name": "get_weather", "parameters": {W}}}',
        WEATHER,
        answer="Ok.",
    ),
    case(
        "llama_json",
        f'\n{{"name": "get_weather", "parameters": {W}}}; {{"name": "get_time", "parameters": {{}}}}',
        WEATHER,
        TIME,
    ),
    case("llama_json", f'[{{"name": "get_weather", "arguments": {W}}}]', WEATHER),
    case("llama_json", f'<|python_start|>{{"name": "get_weather", "parameters": {W}}}<|python_end|>', WEATHER),
    case("llama_json", f'{{"parameters": {QUOTED}, "name": "get_weather"}}', WEATHER),
    case("llama_json", '{"name": "get_weather", "parameters": {"city": "P', ("get_weather", '{"city": "P')),
    plain("llama_json", '{"name": "Bob", "parameters": {"age": 3}}'),
    plain("llama_json", '{"name": "get_time", "age": 3}'),
    plain("llama_json", '{"name": "get_time"}'),
    plain("llama_json", '{"name": "get_time", "parameters": 3}'),
    plain("llama_json", '{"name": "get_ti'),
    plain("llama_json", '\n{"a": {"name": "get_time", "parameters": {}}} '),
    plain("llama_json", "[1, 2, {"),
    plain("llama_json", '{"parameters": {}, "b'),
    plain("llama_json", 'I say {"name": "get_time", "parameters": {}}'),
    plain("llama_json", "<|python_tag|>print(1)"),
]
PYTHONIC = [
    case("llama_pythonic", '[get_weather(city="Paris"), get_time()]', WEATHER, TIME),
    case("llama_pythonic", "\n[get_weather( city = 'Paris' ,)]\n", WEATHER),
    case(
        "llama_pythonic",
        """[get_weather(city='a"),(]\\'', days=[1, 2], unit=None, x={'a': True, "b": (1.5, -2)}, y=false)]""",
        ("get_weather", '{"city": "a\\"),(]\'", "days": [1, 2], "unit": null, "x": {"a": true, "b": [1.5, -2]}, "y": false}'),
    ),
    case(
        "llama_pythonic",
        "[get_weather(city=Paris, a=1e999, b={1})]",
        ("get_weather", '{"city": "Paris", "a": "1e999", "b": "{1}"}'),
    ),
    case("llama_pythonic", f"[get_weather(**{W}), get_time()]", WEATHER, TIME),
    case("llama_pythonic", '<|python_start|>[get_weather(city="Paris")]<|python_end|>ok', WEATHER, answer="ok"),
    case("llama_pythonic", '[get_weather(city="Paris", unit="', ("get_weather", '{"city": "Paris"')),
    case("llama_pythonic", "[get_time()", TIME),
    plain("llama_pythonic", "[1, 2, 3]"),
    plain("llama_pythonic", "[other(a=1)]"),
    plain("llama_pythonic", '[get_weather("Paris")]'),
    plain("llama_pythonic", "[get_weather](https://example.org)"),
    plain("llama_pythonic", "[get_weather"),
    plain("llama_pythonic", "[get_weather(ci"),
    plain("llama_pythonic", "see [get_time()]"),
]
MISTRAL = [
    case("mistral", f'[TOOL_CALLS] [{{"name": "get_weather", "arguments": {W}, "id": "a1b2c3d4e"}}]', WEATHER),
    case(
        "mistral",
        f'[TOOL_CALLS][{{"name": "get_weather", "arguments": {W}}}, {{"name": "get_time", "arguments": {{}}}}]',
        WEATHER,
        TIME,
    ),
    case("mistral", f'Ok [TOOL_CALLS] {{"name": "get_weather", "arguments": {W}}}', WEATHER, answer="Ok"),
    case("mistral_named", f"[TOOL_CALLS]get_weather[ARGS]{W}[TOOL_CALLS]get_time[ARGS]{{}}", WEATHER, TIME),
    case("mistral_named", f"Ok[TOOL_CALLS]get_weather[CALL_ID]a1b2c3d4e[ARGS]{W}", WEATHER, answer="Ok"),
    case("mistral_named", f"[TOOL_CALLS]get_weather{W}", WEATHER),
    case("mistral_named", f"[TOOL_CALLS]get_weather[ARGS]{HARD}", ("get_weather", HARD)),
    case("mistral_named", '[TOOL_CALLS]get_weather[ARGS]{"city', ("get_weather", '{"city')),
    case("mistral_named", "[TOOL_CALLS]get_we"),
    plain("mistral_named", "[TOOL_CALLS]other[ARGS]{}"),
    plain("mistral", 'x [TOOL_CALLS] [{"name": "other"}]'),
    plain("mistral", "[TOOL_CALLS] as, they say [TOOL"),
]
DEEPSEEK = [
    case("deepseek", f"{D}{DC}function{DS}get_weather\n```json\n{W}\n```{DCE}{DE}", WEATHER),
    case(
        "deepseek",
        f"Ok.\n{D}{DC}function{DS}get_weather\n```json\n{W}\n```{DCE}\n{DC}function{DS}get_time\n```json\n{{}}\n```{DCE}{DE}\nx",
        WEATHER,
        TIME,
        answer="Ok.x",
    ),
    case("deepseek_plain", f"{D}{DC}get_weather{DS}{W}{DCE}{DC}get_time{DS}{{}}{DCE}{DE}", WEATHER, TIME),
    case("deepseek_plain", f"<think>a</think>{D}{DC}get_weather{DS}{HARD}{DCE}{DE}", ("get_weather", HARD), reasoning="a"),
    case("deepseek", f"{D}{DC}function{DS}get_weather\n```json\n{W}\n```{DE}ok", WEATHER, answer="ok"),
    case("deepseek", f'{D}{DC}function{DS}get_weather\n```json\n{{"ci', ("get_weather", '{"ci')),
    plain("deepseek", f"{D}{DC}function{DS}other\n```json\n{{}}\n```{DCE}{DE}"),
    plain("deepseek", f"{D}{DC}{'long' * 60}"),
    plain("deepseek", f"{D}nothing"),
]
HARMONY = [
    case("harmony", "<|channel|>final<|message|>Hi <b>", answer="Hi <b>"),
    case(
        "harmony",
        "<|channel|>analysis<|message|>I think.<|end|><|start|>assistant<|channel|>final<|message|>Hi <|en",
        answer="Hi <|en",
        reasoning="I think.",
    ),
    case(
        "harmony",
        "<|channel|>analysis<|message|>Need it.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather "
        f"<|constrain|>json<|message|>{W}<|call|>",
        WEATHER,
        reasoning="Need it.",
    ),
    case(
        "harmony",
        "<|channel|>commentary<|message|>Let me see.<|end|><|start|>assistant to=functions.get_weather<|channel|>commentary "
        f"json<|message|>{W}<|call|><|start|>assistant<|channel|>commentary to=get_time<|message|>",
        WEATHER,
        ("get_time", ""),
        answer="Let me see.",
    ),
    case(
        "harmony",
        "<|channel|>commentary<|message|>One.<|end|><|start|>assistant<|channel|>final<|message|>Two.<|return|>",
        answer="One.\n\nTwo.",
    ),
    case("harmony", "<|channel|>commentary to=functions.get_time<|message|><|call|>", TIME),
    case("harmony", '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"ci', ("get_weather", '{"ci')),
    case("harmony", "<|channel|>commentary to=functions.other<|message|>{}<|call|>", answer="{}"),
    case("harmony", "<|channel|>analysis<|message|>a<|channel|>final<|message|>b", answer="b", reasoning="a"),
    case("harmony", "<|message|>b", answer="b", prompt_end="<|start|>assistant<|channel|>final"),
    case("harmony", "b<|return|>", answer="b", prompt_end="<|start|>assistant<|channel|>final<|message|>"),
    case("harmony", "<|channel|>fin"),
    plain("harmony", "no header"),
]
GENERIC = [
    case("generic", f'{{"name": "get_weather", "arguments": {W}}}', WEATHER),
    case(
        "generic",
        f'Sure:\n{{"name": "get_weather", "arguments": {W}}}\n{{"name": "get_time", "arguments": {{}}}}\nOk',
        WEATHER,
        TIME,
        answer="Sure:Ok",
    ),
    case("generic", f'Sure:\n```json\n{{"name": "get_weather", "arguments": {W}}}\n```\nOk', WEATHER, answer="Sure:Ok"),
    case("generic", f'```\n[{{"name": "get_weather", "arguments": {W}}}]\n```', WEATHER),
    case("generic", f'{{"function": {{"name": "get_weather", "parameters": {W}}}}}', WEATHER),
    plain("generic", '{"name": "Bob", "arguments": {}}'),
    plain("generic", 'Such: {"name": "get_time", "arguments": {}}'),
    plain("generic", 'Such:\n```json\n{"a": 1}\n```\nand\n```python\nx = {}\n```\n'),
    plain("generic", 'A\n\n{\n{"b": [1]}\n[[2]]\n``'),
    plain("generic", '{"name": "get_time", "arguments": "now"}'),
    plain("generic", '{"name": "get_time", "arguments"'),
]
CASES = [*HERMES, *THOUGHTS, *GRANITE, *CODER, *PHI, *LLAMA, *PYTHONIC, *MISTRAL, *DEEPSEEK, *HARMONY, *GENERIC]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.format}-{number}" for number, case in enumerate(CASES)])
def test_a_reply_means_the_same_however_it_is_cut(case: Case) -> None:
    form, text = found(case.format), case.text

    def parsed(*parts: str) -> Reply:
        return read(form, parts, case.prompt_end)

    assert parsed(text) == case.reply
    assert parsed(*text) == case.reply
    for place in range(len(text) + 1):
        assert parsed(text[:place], text[place:]) == case.reply
    for size in (2, 3, 5, 7):
        assert parsed(*(text[start : start + size] for start in range(0, len(text), size))) == case.reply


@pytest.mark.parametrize(("name", "template"), TEMPLATES.items())
def test_the_family_is_found_by_the_template(name: str, template: str) -> None:
    families = {
        "qwen3": "hermes",
        "granite4": "hermes",
        "generic": "generic_json",
        "generic_thinking": "generic_json",
        "qwen3_coder": "qwen3_coder",
    }
    expected = families.get(name, name if name.startswith("llama") else name.partition("_")[0])
    assert find_reply_format(template, {}).name == expected


def test_a_template_without_tools_has_instructions_and_the_others_have_none() -> None:
    for name in TEMPLATES:
        told = found(name).instructions(TOOLS)
        assert (told is not None) == name.startswith("generic")
    assert find_reply_format(None, {}).name == find_reply_format("{{ '<tool_call>' }}", {}).name == "generic_json"


@pytest.mark.parametrize(
    "template",
    [
        "{# tools #} tools: {{ message['content'] }} <tool_call>",
        "{% for message in messages %}{{ message.tool_calls }}<|start_header_id|>{% endfor %}[TOOL_CALLS] tools",
        "{% if tools %}<tool_call>{{ name }}<arg_key>{% endif %}",
        "{% if tools %}<unknown_call>{% endif %}",
        "{%" * 50_000,
    ],
)
def test_other_templates_get_instructions(template: str) -> None:
    assert find_reply_format(template, {"<tool_call>": 3}).name == "generic_json"


def test_the_instructions_tell_of_the_tools_and_of_what_is_wanted() -> None:
    form = found("generic")
    told = form.instructions(TOOLS) or ""
    assert "get_weather" in told
    assert "Tells the time." in told
    assert '"days"' in told
    assert "get_time and nothing else" in (form.instructions(replace(TOOLS, named="get_time")) or "")
    texts = {form.instructions(replace(TOOLS, is_required=a, is_parallel=b)) for a in (True, False) for b in (True, False)}
    assert len(texts) == 4


def test_without_tools_only_thoughts_are_parted() -> None:
    text = 'so</think>\n\n<tool_call>{"name": "get_time"}</tool_call>'
    reply = read(found("qwen3"), text, "<think>\n", tools=None)
    assert reply == Reply('<tool_call>{"name": "get_time"}</tool_call>', "so")
    assert found("hermes").new_parser("", None) is None
    assert read(found("harmony"), "<|channel|>commentary to=functions.get_time<|message|>{}", tools=None) == Reply("{}")


def test_a_thought_is_known_as_such_while_it_comes() -> None:
    parser = found("qwen3").new_parser("", TOOLS)
    assert parser is not None
    states = []
    for part in ("<thi", "nk>", "a", "</think", ">", "b"):
        parser.add(part)
        states.append(parser.is_reasoning)
    assert states == [False, True, True, True, False, False]
    assert found("qwen3").new_parser("<think>\n", None).is_reasoning  # type: ignore[union-attr]


def test_a_control_token_may_tell_that_a_model_thinks() -> None:
    assert find_reply_format("{{ message['content'] }}", {"<think>": 7, "</think>": 8}).new_parser("", None) is not None
    assert find_reply_format("{{ message['content'] }}", {"<|end|>": 7}).new_parser("", None) is None


def test_arguments_come_before_the_call_is_complete() -> None:
    for name, text in (
        ("hermes", '<tool_call>{"name": "get_weather", "arguments": {"city": "Pa'),
        ("deepseek_plain", f'{D}{DC}get_weather{DS}{{"city": "Pa'),
        ("mistral_named", '[TOOL_CALLS]get_weather[ARGS]{"city": "Pa'),
        ("harmony", '<|channel|>commentary to=functions.get_weather<|message|>{"city": "Pa'),
    ):
        parser = found(name).new_parser("", TOOLS)
        assert parser is not None
        assert together(parser.add(text)).calls == [("get_weather", '{"city": "Pa')]


def test_markers_that_may_be_control_tokens_are_visible() -> None:
    assert {"<tool_call>", "</tool_call>", "<think>", "</think>"} == found("qwen3").visible_tokens
    assert {D, DE, DC, DCE, DS} == found("deepseek").visible_tokens
    assert "<|/tool_call|>" in found("phi4").visible_tokens
