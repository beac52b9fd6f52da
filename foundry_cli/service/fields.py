"""Fields of request bodies: which one is wrong, and which ones nobody knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from foundry_cli.api.field_notes import Only
from foundry_cli.errors import InvalidRequestError, UnknownFieldError, UnsupportedFieldError
from foundry_cli.service.state import state_of

_LONGEST_VALUE = 80  # characters of a wrong value that are quoted
_LONGEST_NAME = 64
_MOST_NAMES = 20

_WRONG_KIND = {"union_tag_invalid": "type", "unknown_role": "role"}
"""What pydantic reports when it cannot choose among types, and the field by which it chooses."""

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], document: dict[str, Any]) -> Model:
    """`document` as a `model`. Raises `InvalidRequestError` naming the field, `UnsupportedFieldError`."""
    try:
        wire = model.model_validate(document)
    except ValidationError as error:
        raise _field_error(error, document) from None
    _refuse_values(wire)
    return wire


def _refuse_values(model: BaseModel, prefix: str = "") -> None:
    """Raise `UnsupportedFieldError` for a value that its field's note excludes, also in objects that are fields."""
    for name, field in type(model).model_fields.items():
        value, place = getattr(model, name), f"{prefix}{name}"
        for note in field.metadata:
            if isinstance(note, Only) and value is not None and value not in note.values:
                raise UnsupportedFieldError(f"{place}: this value is not supported: {note.reason}.", param=place)
        if isinstance(value, BaseModel):
            _refuse_values(value, f"{place}.")


def refuse_fields(
    model: BaseModel, reasons: Mapping[str, str], is_neutral: Callable[[str, Any], bool] = lambda _name, _value: False
) -> None:
    """Raise `UnsupportedFieldError` for the first of the fields in `reasons` that was given and asks for something.

    `is_neutral` tells of name and value whether it asks for what is done anyway.
    """
    extra = model.model_extra or {}
    for name, reason in reasons.items():
        if extra.get(name) not in (None, [], {}, False) and not is_neutral(name, extra[name]):
            raise UnsupportedFieldError(f"{name}: this field is not supported: {reason}.", param=name)


def renamed(error: InvalidRequestError, names: Mapping[str, str]) -> InvalidRequestError:
    """`error` of the engine, which names fields as chat completions do, with the `names` that they have in an interface."""
    name = names.get(error.param or "")
    if name is None:
        return error
    message = error.message.removeprefix(f"{error.param}: ")
    return type(error)(message if message == error.message else f"{name}: {message}", hint=error.hint, param=name)


def ignored_header(request: Request, names: Sequence[str]) -> dict[str, str]:
    """The response header that tells which fields have no effect: a few, if they fit into a header.

    Where the settings are strict, nothing is ignored: raises `UnknownFieldError` for the first of `names`.
    """
    if names and state_of(request).is_strict:
        name = names[0][:_LONGEST_VALUE]
        raise UnknownFieldError(f"{name}: this field would be ignored, and the settings are strict.", hint=_HINT, param=name)
    safe = [name for name in names if name.isascii() and name.isprintable() and len(name) <= _LONGEST_NAME]
    return {"x-foundry-ignored-fields": ", ".join(safe[:_MOST_NAMES])} if safe else {}


_HINT = "Leave it out, or 'foundry service set --no-strict'."


def _field_error(error: ValidationError, document: dict[str, Any]) -> InvalidRequestError:
    errors = error.errors(include_url=False, include_context=True)
    # Of a value that may be of several types, each type has its complaint: the one that got furthest is meant, and not one
    # that was told another type.
    same = [other for other in errors if other["loc"][:1] == errors[0]["loc"][:1]]
    first = max(same, key=lambda other: (other["type"] in _WRONG_KIND, len(other["loc"]), not other["type"].endswith("_type")))
    field = field_name(first["loc"], document, is_missing=first["type"] in ("missing", "union_tag_not_found"))
    if first["type"] in _WRONG_KIND:
        return _kind_error(field, _WRONG_KIND[first["type"]], first["input"])
    shown = repr(first["input"])
    is_shown = first["type"] != "missing" and len(shown) <= _LONGEST_VALUE
    return InvalidRequestError(f"{field}: {first['msg']}{f' (it is {shown})' if is_shown else ''}.", param=field)


def _kind_error(field: str, key: str, value: object) -> InvalidRequestError:
    """For what nobody knows how to read: its `key` should say."""
    if not isinstance(value, dict):
        return InvalidRequestError(f"{field}: Input should be an object.", param=field)
    field = f"{field}.{key}"
    if value.get(key) is None:
        return InvalidRequestError(f"{field}: Field required.", param=field)
    return UnsupportedFieldError(f"{field}: {str(value[key])[:_LONGEST_VALUE]!r} is not supported here.", param=field)


def field_name(location: Sequence[int | str], document: Any, *, is_missing: bool = False) -> str:
    """`messages[0].content` for a place in `document`, in which pydantic also puts the names of types.

    `is_missing`: the last part is a field that is not there.
    """
    name, value = "", document
    for position, part in enumerate(location):
        if isinstance(part, int):
            name += f"[{part}]"
            value = value[part] if isinstance(value, list) and part < len(value) else None
        elif isinstance(value, dict) and (part in value or (is_missing and position == len(location) - 1)):
            name += f".{part}" if name else part
            value = value.get(part)
    return name or "body"
