"""Get the result of a recipe: from the cache, or by rendering it once while other requests for it wait."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import IO, Any

import structlog
from django.core.cache import cache as memory

from rendering import errors, pool
from rendering.cache import CachedRender, RenderName, renders, reopened
from rendering.errors import RenderTimeout, RenderTooSlow, UnreadableSource
from rendering.resolve import Recipe
from rokka.core import failpoints
from rokka.core.connections import release_connection
from rokka.core.errors import DomainError
from rokka.core.locks import try_lock
from sourceimages import stored_files
from sourceimages.models import StoredFile

WAIT_SECONDS = 25  # that a request waits for a render of another request
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.25  # seconds between two looks into the cache
FAILURE_SECONDS = 60  # that a failure is remembered
INTERRUPTED_SECONDS = 30  # likewise, if the workers died or took too long
WORKER_ERRORS = {
    error.reason: error
    for error in (
        errors.FormatUnavailable,
        errors.InvalidOperation,
        errors.InvalidStackOption,
        errors.OperationUnavailable,
        errors.RenderTooLarge,
        errors.UnreadableSource,
    )
}
REMEMBERED: dict[str, type[Exception]] = {
    **WORKER_ERRORS,
    "interrupted": pool.RenderInterrupted,
    "too_slow": RenderTooSlow,
}

log = structlog.get_logger()


def rendered(
    recipe: Recipe,
    name: RenderName,
    files: Mapping[str, StoredFile],
    *,
    cached: bool = True,
    admission_seconds: float = 0,
) -> CachedRender:
    """The result of the recipe. `files` are the sources by content hash; without `cached`, it is always rendered.

    If too many requests are rendering, it waits for `admission_seconds` until one has finished.
    Raises RenderQueueFull, RenderTimeout, RenderInterrupted, OriginalMissing, and the errors of WORKER_ERRORS.
    """
    release_connection()
    if not cached:
        with pool.admission(admission_seconds):
            return _render(recipe, name, files, cached=False)
    if hit := renders().find(name, recipe.formats):
        return hit
    _raise_remembered(name.key)
    with pool.admission(admission_seconds):
        for pause in _pauses():
            with try_lock(f"render-{name.key}") as acquired:
                if hit := renders().find(name, recipe.formats):
                    return hit
                _raise_remembered(name.key)
                if acquired:
                    return _render(recipe, name, files, cached=True)
            time.sleep(pause)
    raise RenderTimeout(f"The image was not rendered within {WAIT_SECONDS} seconds. Try again later.")


def _pauses() -> Iterator[float]:
    """Growing pauses until WAIT_SECONDS have passed."""
    deadline, pause = time.monotonic() + WAIT_SECONDS, FIRST_PAUSE
    while time.monotonic() < deadline:
        yield pause
        pause = min(pause * 2, LONGEST_PAUSE)


def _render(recipe: Recipe, name: RenderName, files: Mapping[str, StoredFile], *, cached: bool) -> CachedRender:
    failpoints.failpoint("render.locked")
    started = time.perf_counter()
    with ExitStack() as stack, renders().draft() as draft:
        used = _content_hashes(recipe.body)
        paths = {key: str(stack.enter_context(stored_files.local_file(files[key]))) for key in used}
        answer, result = _call_worker(recipe, _with_paths(recipe.body, paths), name.key, draft)
        failpoints.failpoint("render.drafted")
        log.info(
            "render",
            key=name.key,
            format=answer["format"],
            size=answer["bytes"],
            milliseconds=round((time.perf_counter() - started) * 1000),
        )
        if cached:
            return renders().put(name, answer["format"], result)
        return reopened(result, answer["format"], answer["bytes"])


def _call_worker(
    recipe: Recipe, body: Mapping[str, Any], key: str, draft: IO[bytes]
) -> tuple[dict[str, Any], IO[bytes]]:
    """The answer of the worker, and the result.

    Failures are remembered, so that a broken image does not keep workers busy.
    """
    try:
        answer, result = pool.render(body, draft, heavy=recipe.heavy)
        if "error" in answer:
            raise WORKER_ERRORS.get(answer["error"], UnreadableSource)(answer["message"])
    except pool.RenderInterrupted as error:
        memory.set(_failure_key(key), ("interrupted", str(error)), INTERRUPTED_SECONDS)
        raise
    except RenderTooSlow as error:
        memory.set(_failure_key(key), ("too_slow", error.message), INTERRUPTED_SECONDS)
        raise
    except DomainError as error:
        if error.reason in WORKER_ERRORS:
            memory.set(_failure_key(key), (error.reason, error.message), FAILURE_SECONDS)
        raise
    return answer, result


def _raise_remembered(key: str) -> None:
    """Raise the error with which this render has failed recently, if it has."""
    match memory.get(_failure_key(key)):
        case (str(reason), str(message)):
            raise REMEMBERED[reason](message)


def _failure_key(key: str) -> str:
    return f"render-failure:{key}"


def _with_paths(part: Any, paths: Mapping[str, str]) -> Any:
    """The recipe with a path in place of each content hash."""
    if isinstance(part, Mapping):
        return {
            "path" if name == "file" else name: paths[value] if name == "file" else _with_paths(value, paths)
            for name, value in part.items()
        }
    return [_with_paths(item, paths) for item in part] if isinstance(part, list) else part


def _content_hashes(part: Any) -> set[str]:
    """The content hashes of all sources in a recipe."""
    if isinstance(part, Mapping):
        own = {part["file"]} if "file" in part else set()
        return own.union(*(_content_hashes(value) for value in part.values()))
    return set().union(*(_content_hashes(item) for item in part)) if isinstance(part, list) else set()
