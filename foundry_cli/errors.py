"""Every error a person or a client may meet, as one tree.

An error carries a message (one line, says what happened), an optional hint (what to do about it) and, for wrong
input, the name of the field. `code` travels over HTTP, so that the client raises the same class as the service did.
Sentences for the terminal and exit codes are made in `cli/errors.py`, HTTP statuses in `service/errors.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar


class FoundryError(Exception):
    """Root of all errors that are shown to people; anything else that escapes is a defect."""

    code: ClassVar[str] = "failed"

    def __init__(self, message: str, *, hint: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.param = param


class InvalidRequestError(FoundryError):
    """A field of the request has a value that cannot be used; `param` names it."""

    code = "invalid_value"


class UnsupportedFieldError(InvalidRequestError):
    """A known field that would change the answer and is not supported yet."""

    code = "unsupported_parameter"


class UnknownFieldError(InvalidRequestError):
    """A field that nobody here knows; an error only where the settings are strict."""

    code = "unknown_parameter"


class UnenforceableSchemaError(InvalidRequestError):
    """A JSON schema uses what no grammar can enforce, so nothing is promised for it."""

    code = "unenforceable_schema"


class ContextLengthError(InvalidRequestError):
    """Prompt plus answer do not fit into the context of the model."""

    code = "context_length_exceeded"


class ForbiddenError(FoundryError):
    """The caller may not do this: foreign web page, other user, or a route of the local socket only."""

    code = "forbidden"


class UnauthorizedError(FoundryError):
    """The API key is missing or wrong."""

    code = "invalid_api_key"


class ModelNotFoundError(FoundryError):
    """No model answers to that name."""

    code = "model_not_found"

    @classmethod
    def named(cls, name: str, suggestions: Iterable[str] = ()) -> ModelNotFoundError:
        """The usual case: `name` as typed, and near names that exist."""
        near = list(suggestions)
        hint = "Run 'foundry model list' to see the models that can be used."
        if near:
            hint = f"Did you mean {' or '.join(repr(s) for s in near)}? {hint}"
        return cls(f"Model {name!r} was not found in the catalog or in the local cache.", hint=hint, param="model")


class ModelInvalidError(FoundryError):
    """The files of a model are missing, damaged or of a kind that cannot be run."""

    code = "model_invalid"


class TemplateTimeoutError(ModelInvalidError):
    """The chat template ran for too long; so it will with other messages, and nobody need wait for that again."""

    code = "template_timeout"


class ModelInUseError(FoundryError):
    """The model is loaded or answering, so it cannot be removed or unloaded now."""

    code = "model_in_use"


class BundledModelError(FoundryError):
    """The model is part of the program."""

    code = "model_is_bundled"


class InsufficientMemoryError(FoundryError):
    """The model or the request needs more memory than the machine has free."""

    code = "insufficient_memory"


class EngineError(FoundryError):
    """The engine worker could not do its work; the message says what it reported."""

    code = "engine_error"


class EngineDiedError(EngineError):
    """The engine worker ended while it was needed."""

    code = "engine_died"


class ModelUnloadedError(EngineError):
    """Somebody unloaded the model, by force, while it was needed."""

    code = "model_unloaded"


class StructuredOutputError(EngineError):
    """The model's answer is complete and not what the request demanded of its form."""

    code = "structured_output_failed"


class ClientTooSlowError(FoundryError):
    """The client does not read its answer, of which too much has been written."""

    code = "client_too_slow"


class QueueFullError(FoundryError):
    """Too many requests are waiting already. `retry_seconds`: when it may be different."""

    code = "queue_full"

    def __init__(
        self, message: str, *, hint: str | None = None, param: str | None = None, retry_seconds: int | None = None
    ) -> None:
        super().__init__(message, hint=hint, param=param)
        self.retry_seconds = retry_seconds


class ServiceStoppingError(FoundryError):
    """The service is shutting down and takes no new work."""

    code = "service_stopping"


class ServiceOutdatedError(FoundryError):
    """The program was updated while its service was running, and only a restart brings them together."""

    code = "service_outdated"


class ServiceUnreachableError(FoundryError):
    """The service does not answer."""

    code = "service_unreachable"


class ServiceStartError(FoundryError):
    """The service could not be started."""

    code = "service_start_failed"


class ConfigError(FoundryError):
    """The configuration file or an environment variable holds something that cannot be used."""

    code = "config_invalid"


class CacheError(FoundryError):
    """The cache directory cannot be read or written."""

    code = "cache_unavailable"


class UnsuitableModelError(FoundryError):
    """The model would not run on this machine: a device, a provider or memory is missing."""

    code = "model_unsuitable"


class LicenseNotAcceptedError(FoundryError):
    """The source gives the model only to those who accept its licence."""

    code = "license_not_accepted"


class ProviderUnreachableError(FoundryError):
    """The server that runs an external model does not answer, or not in HTTP; the message names it."""

    code = "provider_unreachable"


class DownloadError(FoundryError):
    """A model could not be fetched; what has arrived is kept."""

    code = "download_failed"


class SourceUnreachableError(DownloadError):
    """A server of a catalog or a model does not answer; the message names it."""

    code = "source_unreachable"


class OfflineError(SourceUnreachableError):
    """The network may not be used: `FOUNDRY_OFFLINE` or the settings say so."""

    code = "offline"


class SourceError(DownloadError):
    """A server of a catalog or a model answers with something that cannot be used."""

    code = "source_error"


class IntegrityError(DownloadError):
    """The bytes are not those that the source promised."""

    code = "hash_mismatch"


class DiskFullError(DownloadError):
    """There is no room for the files."""

    code = "disk_full"


class DownloadCancelledError(DownloadError):
    """The download was ended from outside; what has arrived is kept."""

    code = "download_cancelled"


def _tree(root: type[FoundryError]) -> Iterator[type[FoundryError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def error_for_code(code: str | None) -> type[FoundryError]:
    """The class whose `code` this is, or the root: how a client turns a wire error back into an exception."""
    return next((cls for cls in _tree(FoundryError) if cls.code == code), FoundryError)
