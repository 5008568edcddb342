"""The HTTP side: one route per operation, NDJSON progress, problem+json refusals, an id on every answer."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import traceback
from collections.abc import AsyncIterator
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from banger.daemon.background import in_thread
from banger.daemon.context import OperationContext, OperationRecord, current_op
from banger.daemon.leases import HeldLease, LeasedResponse
from banger.daemon.openapi import describe
from banger.daemon.services import Services
from banger.errors import BangerError, NotFoundError, StaleDaemonError, UsageError
from banger.host.caller import take_logins, take_sent
from banger.host.command import cancelled_operation
from banger.model.command import Operation
from banger.model.name import unknown_hint
from banger.model.validation import describe_refusal

log = logging.getLogger(__name__)

#: Bytes of a request's body; parameters are small, streams do not pass here.
BODY_LIMIT = 1024 * 1024
#: Seconds for all of it to come.
_BODY_SECONDS = 10.0
#: Bytes of a larger one that are read and dropped, so that the client is done sending and hears why it is refused.
_DRAIN_LIMIT = 16 * BODY_LIMIT


def make_app(services: Services) -> Starlette:
    """Return the ASGI application."""

    async def call(request: Request) -> Response:
        return await _call(services, request)

    async def openapi(_: Request) -> Response:
        record = services.operations.begin("openapi")
        record.finish(result={})
        return JSONResponse(describe(services.registries.operations), headers={"Banger-Op-Id": record.id})

    async def refuse(_: Request, error: Exception) -> Response:
        return _refuse_route(services, error)

    routes = [Route("/v1/openapi.json", openapi), Route("/v1/{name}", call, methods=["POST"])]
    return Starlette(routes=routes, exception_handlers={HTTPException: refuse})


class _Json(JSONResponse):
    """JSON in ASCII: names that are no UTF-8 come in as lone surrogates, and have to go out in error messages."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode("ascii")


def _refuse_route(services: Services, error: Exception) -> Response:
    """Return the answer for a path or method that is no operation's; an id on this one too."""
    assert isinstance(error, HTTPException)
    refusal: BangerError = NotFoundError(
        "there is nothing at this path", hint="POST /v1/<operation>; see /v1/openapi.json"
    )
    if error.status_code == 405:
        refusal = UsageError("operations are called with POST", hint="see /v1/openapi.json")
    record = services.operations.begin("none")
    record.finish(error={**to_problem(refusal, record.id), "status": error.status_code})
    return _answer(record, {**(error.headers or {}), "Banger-Op-Id": record.id})


async def _call(services: Services, request: Request) -> Response:
    name = request.path_params["name"]
    record = services.operations.begin(name)
    token = current_op.set(record.id)
    headers = {"Banger-Op-Id": record.id}
    try:
        notice = _check_fingerprint(services, request, record)
        if notice:
            headers["Banger-Notice"] = notice
        if (problem := services.settings.problem) is not None and name != "doctor":  # which has a line on it
            line = " ".join(problem.message.split())
            headers["Banger-Warning"] = line.encode("ascii", "backslashreplace").decode()
        operation = _resolve(services, name)
        take_sent(request.headers.get("banger-caller"))
        take_logins(request.headers.get("banger-logins"))
        params = await _read_params(request, operation)
        task = asyncio.create_task(_run(services, operation, params, record))
        services.tasks.add(task)
        task.add_done_callback(services.tasks.discard)
        if "respond-async" in request.headers.get("prefer", ""):
            return JSONResponse({"op_id": record.id, "name": name}, 202, headers)
        if "application/x-ndjson" in request.headers.get("accept", ""):
            return _follow(services, operation, params, record, headers)
        await asyncio.shield(task)
        return _answer(record, headers)
    except Exception as error:
        record.finish(error=to_problem(error, record.id))
        return _answer(record, headers)
    finally:
        current_op.reset(token)


def _check_fingerprint(services: Services, request: Request, record: OperationRecord) -> str | None:
    """Let a stale daemon end when it is idle; else return what to tell the client."""
    if services.stopping.is_set():
        raise StaleDaemonError("the daemon is ending", hint="run the command again")
    theirs = request.headers.get("banger-fingerprint")
    if theirs is None or theirs == services.fingerprint_digest:
        return None
    if record.name == "daemon.stop":
        return None
    others = [other for other in services.operations.running() if other is not record]
    held = [lease.record for lease in services.leases.values()]
    if not (others or held or services.background or services.streams.waiting()):
        services.stopping.set()
        raise StaleDaemonError(
            "the daemon was started from another version or configuration", hint="run the command again"
        )
    what = ", ".join(sorted({other.name for other in (*others, *held)})) or "clean-up"
    return (
        f"the daemon runs an older version or configuration and is busy with {what}; it restarts when it is idle, "
        "or at once: banger daemon stop --force (VMs go on)"
    )


def _resolve(services: Services, name: str) -> Operation:
    if name not in services.registries.operations:
        raise NotFoundError(
            f"there is no operation '{name[:80]}'",
            hint=unknown_hint(name, services.registries.operations, "see /v1/openapi.json"),
        )
    return services.registries.operations[name]


async def _read_params(request: Request, operation: Operation) -> BaseModel:
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            body, size = await _read_body(request)
    except TimeoutError as error:
        raise UsageError(f"the rest of the request did not come within {_BODY_SECONDS:.0f} s") from error
    if size > BODY_LIMIT:
        raise UsageError(f"the request is larger than {BODY_LIMIT} bytes", hint="send less")
    try:
        return operation.params.model_validate(json.loads(body or b"{}"))
    except ValidationError as error:
        raise _problem_of(error, operation.name) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the request is not JSON: {error}") from error


async def _read_body(request: Request) -> tuple[bytes, int]:
    """Return the body, cut at the limit, and how long it was."""
    body, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= BODY_LIMIT:
            body += chunk
        elif size > _DRAIN_LIMIT:
            break
    return bytes(body), size


async def _run(services: Services, operation: Operation, params: BaseModel, record: OperationRecord) -> None:
    context = OperationContext(services, record)
    cancelled_operation.set(record.cancel.is_set)  # this task's own context
    try:
        if inspect.iscoroutinefunction(operation.run):
            result = await operation.run(context, params)
        else:
            result = await in_thread(services, operation.run, context, params)
        record.finish(result=result.model_dump(mode="json"))
        log.info("%s done", operation.name)
    except (Exception, SystemExit) as error:
        record.finish(error=to_problem(error, record.id))


async def run_for_service(services: Services, name: str, params: dict[str, Any]) -> dict[str, Any]:
    """Run an operation that a plugin's service asks for, to its end; raise what it failed with."""
    operation = _resolve(services, name)
    record = services.operations.begin(name)
    task = asyncio.create_task(_run(services, operation, operation.params.model_validate(params), record))
    services.tasks.add(task)
    task.add_done_callback(services.tasks.discard)
    await asyncio.shield(task)
    if record.error is not None:
        raise BangerError(str(record.error["detail"]), hint=record.error.get("hint"))
    return record.result or {}


def to_problem(error: BaseException, op_id: str) -> dict[str, Any]:
    """Return problem+json for any exception; what is no BangerError is a bug and is logged with its traceback."""
    original = error
    while isinstance(original, BaseExceptionGroup):
        original = original.exceptions[0]
    if isinstance(original, BangerError):
        original.op_id = op_id
        problem = original.to_problem()
        log.info("failed: %s", original.message)
    else:
        log.error("internal error: %s", "".join(traceback.format_exception(original)))
        problem = {
            "type": "banger:internal",
            "title": type(original).__name__,
            "status": 500,
            "detail": f"internal error: {type(original).__name__}: {str(original)[:300]}",
            "hint": "the whole story: banger daemon logs",
            "op_id": op_id,
        }
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) > 1:
        rest = "; ".join(str(other) for other in error.exceptions[1:])
        problem["detail"] += f" (and while cleaning up: {rest[:500]})"
    return problem


def _answer(record: OperationRecord, headers: dict[str, str]) -> Response:
    if record.error is not None:
        status = int(record.error.get("status", 500))
        return _Json(record.error, status, headers, media_type="application/problem+json")
    return _Json(record.result, 200, headers)


def _follow(
    services: Services,
    operation: Operation,
    params: BaseModel,
    record: OperationRecord,
    headers: dict[str, str],
) -> StreamingResponse:
    lease, events, media_type = operation.lease, _stream(record), "application/x-ndjson"
    if lease is not None and lease.wanted(params):
        return LeasedResponse(HeldLease(services, record, lease.end), events, headers, media_type)
    return StreamingResponse(events, media_type=media_type, headers=headers)


async def _stream(record: OperationRecord) -> AsyncIterator[bytes]:
    """Yield an operation as NDJSON: its id, its events as they come, its outcome."""
    yield _line({"event": "operation", "op_id": record.id, "name": record.name})
    async for event in record.follow():
        yield _line(event)
    if record.error is not None:
        yield _line({"event": "error", "error": record.error})
    else:
        yield _line({"event": "result", "result": record.result})


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def _problem_of(error: ValidationError, operation: str) -> BangerError:
    """Return the error for parameters that do not fit an operation's model: the first one, with its path."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, BangerError):
        return cause
    path = ".".join(str(part) for part in first["loc"]) or "parameters"
    command = " ".join(operation.split(".")[:2])
    return UsageError(f"{path} {describe_refusal(first)}", hint=f"banger {command} --help")
