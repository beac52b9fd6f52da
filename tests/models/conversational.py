"""Scripted models that call tools, answer in JSON and think, written as the Qwen and Hermes families write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .scripted import write_scripted_model

TOOL_TEMPLATE = """\
{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}

{% endif %}You may call these functions:
<tools>
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}</tools>
Write a call as <tool_call>{"name": "...", "arguments": {...}}</tool_call>.<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% elif message.role == 'assistant' %}<|im_start|>assistant
{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}<tool_call>
{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% elif not (tools and loop.first and message.role == 'system') %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""Knows tools, their calls and their results."""

THOUGHT = ("<think>", "</think>")
CALL = ("<tool_call>", "</tool_call>")


def write_calling_model(directory: Path, name: str, tool: str, arguments: dict[str, Any], answer: str) -> Path:
    """A model that calls `tool` first, whatever it is asked, and says `answer` in its second turn, to the result."""
    call = json.dumps({"name": tool, "arguments": arguments})
    first = [CALL[0].encode(), *_bytes(f"\n{call}\n"), CALL[1].encode()]
    return write_scripted_model(
        directory, [first, _bytes(answer)], name=name, chat_template=TOOL_TEMPLATE, context_length=8192, added_tokens=CALL
    )


def write_thinking_model(directory: Path, name: str, thought: str, answer: str) -> Path:
    """A model that thinks before it answers."""
    reply = [THOUGHT[0].encode(), *_bytes(f"\n{thought}\n"), THOUGHT[1].encode(), *_bytes(f"\n\n{answer}")]
    template = TOOL_TEMPLATE + "{# <think> </think> #}"
    return write_scripted_model(
        directory, [reply], name=name, chat_template=template, context_length=8192, added_tokens=THOUGHT
    )


def _bytes(text: str) -> list[bytes]:
    return [bytes([byte]) for byte in text.encode()]
