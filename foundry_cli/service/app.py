"""The application: routes and layers, wired together."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware import Middleware

from foundry_cli import __version__
from foundry_cli.service import cache, downloads, errors, loading, management, model_lists, status, warming
from foundry_cli.service.access_log import AccessLog
from foundry_cli.service.anthropic import messages
from foundry_cli.service.description import DescribedApp
from foundry_cli.service.errors import CatchUnexpected
from foundry_cli.service.external import routes as external
from foundry_cli.service.external.forwarding import Forwarding
from foundry_cli.service.guard import Access, Guard
from foundry_cli.service.idle import NoteActivity
from foundry_cli.service.limits import BodyLimits, HeaderLimits
from foundry_cli.service.openai import chat, completions, embeddings, models, responses, tokens
from foundry_cli.service.request_id import RequestIds
from foundry_cli.service.state import ServiceState


def create_app(state: ServiceState, access: Access) -> FastAPI:
    """The service as an ASGI application, for `state` and for the callers that `access` admits."""
    app = DescribedApp(
        title="foundry",
        version=__version__,
        description="Local inference service with OpenAI's interface.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(RequestIds),
            Middleware(AccessLog),
            Middleware(NoteActivity, activity=state.activity),
            Middleware(CatchUnexpected),
            Middleware(HeaderLimits),
            Middleware(Guard, access=access),
            Middleware(BodyLimits),
            Middleware(Forwarding, models=state.external),
        ],
    )
    app.state.service = state
    errors.install(app)
    for routes in (status, loading, model_lists, management, external, cache, downloads, warming):
        app.serve(routes.router)
    for routes in (chat, completions, embeddings, models, responses, tokens, messages):
        app.serve(routes.router)
    return app
