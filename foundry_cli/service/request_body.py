"""Request bodies in the OpenAPI description. The handlers read them themselves, so the framework does not know them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.routing import BaseRoute

_ATTRIBUTE = "request_model"

Handler = TypeVar("Handler", bound=Callable[..., Any])


def takes(model: type[BaseModel]) -> Callable[[Handler], Handler]:
    """Say of the handler of a POST route which body it reads. The schema is made when somebody asks for the description."""

    def mark(handler: Handler) -> Handler:
        setattr(handler, _ATTRIBUTE, model)
        return handler

    return mark


def add_request_bodies(document: dict[str, Any], routes: Sequence[BaseRoute]) -> None:
    """Describe in `document` the bodies that the handlers of `routes` read."""
    for route in routes:
        model = getattr(route.endpoint, _ATTRIBUTE, None) if isinstance(route, APIRoute) else None
        if model is not None:
            assert isinstance(route, APIRoute)
            document["paths"][route.path_format]["post"]["requestBody"] = _request_body(route.path_format, model)


def _request_body(path: str, model: type[BaseModel]) -> dict[str, Any]:
    place = path.replace("~", "~0").replace("/", "~1")
    parts = f"#/paths/{place}/post/requestBody/content/application~1json/schema/$defs/{{model}}"  # of the whole document
    schema = model.model_json_schema(ref_template=parts)
    return {"required": True, "content": {"application/json": {"schema": schema}}}
