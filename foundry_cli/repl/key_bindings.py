"""Keys of the prompt that differ from prompt_toolkit's own."""

from __future__ import annotations

from prompt_toolkit.application import get_app
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from foundry_cli.repl.commands import is_open


@Condition
def _has_text() -> bool:
    return bool(get_app().current_buffer.text)


def chat_key_bindings() -> KeyBindings:
    """Enter sends unless a block is open, Alt-Enter begins a line, Ctrl-C clears what was typed."""
    bindings = KeyBindings()
    at_prompt = has_focus(DEFAULT_BUFFER)

    @bindings.add("enter", filter=at_prompt)
    def _enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if is_open(buffer.text):
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter", filter=at_prompt)
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    @bindings.add("c-c", filter=at_prompt & _has_text)
    @bindings.add("<sigint>", filter=at_prompt & _has_text)
    def _clear(event: KeyPressEvent) -> None:
        event.current_buffer.reset()

    return bindings
