"""Requests with an `Idempotency-Key`: done once, however often they are sent.

Invariant: an answer is given again only to the same subject, for the same request. What was refused or
failed is not kept, so that it can be put right and asked again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from celery_app.api.problems import Refusal
from celery_app.store.request_keys import KeptAnswer, RequestKeyStore

__all__ = ["HEADER", "answer_once"]

HEADER = "Idempotency-Key"
_LONGEST_KEY = 255

Answer = Callable[[Request], Awaitable[Response]]


async def answer_once(store: RequestKeyStore, request: Request, answer: Answer) -> Response:
    """Answer a request, or give the answer that it had before.

    Raises:
        Refusal: The key was used for another request (422), or is being answered (409).
    """
    key = request.headers.get(HEADER)
    if key is None:
        return await answer(request)
    if not key.strip() or len(key) > _LONGEST_KEY or not key.isprintable():
        raise Refusal(422, "InvalidKey", f"{HEADER}: give 1 to {_LONGEST_KEY} printable characters")
    subject = await run_in_threadpool(lambda: request.state.desk.permissions.name)
    digest = await _digest(request)
    known = await run_in_threadpool(store.begin, subject, key, digest)
    if known is not None:
        return _again(known, digest)
    try:
        response = await answer(request)
    except BaseException:
        await run_in_threadpool(store.forget, subject, key)
        raise
    body = json.loads(bytes(response.body)) if response.body else None
    await run_in_threadpool(store.keep, subject, key, response.status_code, body)
    return response


def _again(known: KeptAnswer, digest: str) -> Response:
    if known.digest != digest:
        words = f"{HEADER}: this key was used for another request: choose a new one"
        raise Refusal(422, "KeyReused", words)
    if known.status is None:
        words = f"{HEADER}: the first request with this key is being answered: ask again"
        raise Refusal(409, "KeyInUse", words, {"Retry-After": "1"})
    headers = {"Idempotency-Replayed": "true"}
    if known.body is None:
        return Response(status_code=known.status, headers=headers)
    body = json.dumps(known.body, ensure_ascii=False)
    return Response(body, known.status, headers, media_type="application/json")


async def _digest(request: Request) -> str:
    body = await request.body()
    head = f"{request.method} {request.url.path}?{request.url.query}\n"
    return hashlib.sha256(head.encode() + body).hexdigest()
