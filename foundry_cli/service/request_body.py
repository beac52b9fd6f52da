"""Request bodies in the OpenAPI description. The handlers read them themselves, so the framework does not know them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


def request_body(path: str, model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of the route `POST path`, which takes a `model`."""
    place = path.replace("~", "~0").replace("/", "~1")
    parts = f"#/paths/{place}/post/requestBody/content/application~1json/schema/$defs/{{model}}"  # of the whole document
    schema = model.model_json_schema(ref_template=parts)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
