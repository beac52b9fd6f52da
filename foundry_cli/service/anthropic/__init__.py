"""Anthropic's Messages interface: routes, and the translation to and from the engine's terms."""
