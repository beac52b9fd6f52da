"""Makes sentences look as if people had typed them: typos, casing, missing or doubled punctuation."""

from __future__ import annotations

import random

_NEIGHBOURS = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo", "j": "hk",
    "k": "jl", "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "w", "r": "et", "s": "ad", "t": "ry",
    "u": "yi", "v": "cb", "w": "qe", "x": "zc", "y": "tu", "z": "x",
}  # fmt: skip
_SHORT = {
    "you": "u", "please": "pls", "are": "r", "what is": "whats", "how do i": "how 2", "i am": "im", "do not": "dont",
    "cannot": "cant", "models": "modles", "which": "wich", "because": "cause", "want to": "wanna", "is it": "is it",
    "going to": "gonna", "without": "w/o", "with": "w/", "and": "&", "message": "msg", "temperature": "temprature",
    "license": "lisence", "directory": "dir", "environment": "enviroment", "received": "recieved", "to": "2",
    "service": "sevice", "address": "adress", "available": "availible", "delete": "delet", "restart": "re-start",
}  # fmt: skip
_DROPPABLE = {"the", "a", "an", "my", "do", "i", "to", "of", "is", "please", "that", "for", "it", "can", "are", "some"}


_DOUBLED = {"stop", "get", "set", "put", "run", "quit", "let", "shut", "cut", "drop", "skip", "zip", "swap", "begin", "forget",
            "chat", "plan", "swim", "dig", "hug", "hit", "pin", "grab", "submit", "spin", "trim", "knit"}  # fmt: skip


def gerund(phrase: str) -> str:
    """The phrase with its first word, a verb, in the -ing form."""
    verb, _, rest = phrase.strip().partition(" ")
    if verb in _DOUBLED:
        verb += verb[-1]
    elif verb.endswith("e") and not verb.endswith(("ee", "ye", "oe")):
        verb = verb[:-1]
    return f"{verb}ing {rest}".strip()


def _typo(word: str, rng: random.Random) -> str:
    if len(word) < 4 or not word.isalpha():
        return word
    pos = rng.randrange(1, len(word) - 1)
    kind = rng.random()
    if kind < 0.3:
        return word[:pos] + word[pos + 1] + word[pos] + word[pos + 2 :]
    if kind < 0.6:
        return word[:pos] + word[pos + 1 :]
    if kind < 0.8:
        return word[:pos] + word[pos] + word[pos:]
    return word[:pos] + rng.choice(_NEIGHBOURS.get(word[pos].lower(), "e")) + word[pos + 1 :]


def _typos(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    for _ in range(1 if rng.random() < 0.75 else 2):
        index = rng.randrange(len(words))
        words[index] = _typo(words[index], rng)
    return " ".join(words)


def _drop_words(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    kept = [word for word in words if word not in _DROPPABLE or rng.random() < 0.5]
    return " ".join(kept) if len(kept) > 1 else text


def _shorten(text: str, rng: random.Random) -> str:
    for long, short in rng.sample(sorted(_SHORT.items()), len(_SHORT)):
        if f" {long} " in f" {text} ":
            return f" {text} ".replace(f" {long} ", f" {short} ", 1).strip()
    return text


def _casing(text: str, rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.42:
        text = text[:1].upper() + text[1:]
        return text.replace(" i ", " I ").replace(" i'", " I'")
    if kind < 0.50:
        return text.replace(" i ", " I ").replace(" i'", " I'")
    if kind < 0.52:
        return text.upper()
    if kind < 0.535:
        return text.title()
    return text


def _punctuation(text: str, rng: random.Random, question: bool) -> str:
    kind = rng.random()
    if kind < 0.36:
        return text
    if question:
        return text + rng.choice(("?", "?", "?", "?", "?", "?", "??", " ?", ".", "!", "???", "?!"))
    return text + rng.choice((".", ".", "?", "!", "...", "!!", "?"))


def noisy(text: str, rng: random.Random) -> str:
    """Return the sentence with human imperfections."""
    text = " ".join(text.split())
    question = text.split(" ")[0] in {"how", "what", "which", "where", "is", "are", "can", "do", "does", "why", "who"}
    if rng.random() < 0.12:
        text = _drop_words(text, rng)
    if rng.random() < 0.06:
        text = _shorten(text, rng)
    if rng.random() < 0.15:
        text = text.replace("'", "").replace(",", "")
    if rng.random() < 0.17:
        text = _typos(text, rng)
    return _punctuation(_casing(text, rng), rng, question)
