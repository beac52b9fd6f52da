"""Which tokens are told with a piece of the answer: those that its text is made of, not those of the format around it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from foundry_cli.engine.request import TokenText


def split_told(text: str, tokens: Sequence[TokenText]) -> tuple[list[TokenText], list[TokenText]]:
    """Those of `tokens` that `text` is made of, and those behind it, whose text is still held back.

    What is before it was swallowed by the format. Where their texts do not have `text` in them, because some bytes are
    not known or the text of a token depends on its neighbours, all count as told.
    """
    data, wanted = [token.data or b"" for token in tokens], text.encode("utf-8", "replace")
    whole = b"".join(data)
    # Text goes on where the last one ended; after a marker it is what came last, as letters of it may be in the marker, too.
    start = 0 if whole.startswith(wanted) else whole.rfind(wanted)
    if start < 0:
        return list(tokens), []
    ends = list(accumulate(map(len, data)))
    placed = [(token, end - len(own), end) for token, own, end in zip(tokens, data, ends, strict=True)]
    told = [token for token, begin, end in placed if begin < start + len(wanted) and end > start and begin < end]
    return told, [token for token, begin, _ in placed if begin >= start + len(wanted)]
