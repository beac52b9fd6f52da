"""The interactive chat: its parts, sessions over a pipe, and sessions in a real terminal."""
