"""
What stands in an error's body, in every provider's shape.

Pure. Bodies are JSON values, or the text that they are; they come from strangers.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping

_ERROR_STATUSES = range(400, 600)
_PAGE = re.compile(r"<(!doctype|html|head|body|title|h\d|p|div|pre|center|span|br|hr)\b", re.IGNORECASE)

_STATUS_OF_CODE = {
    name: status
    for status, names in {
        400: """context_length_exceeded exceed_context_size_error invalid_request_error content_policy_violation
            badrequesterror bad_request invalid_argument failed_precondition out_of_range content_filter
            invalidparameter invalid_parameter unsupported_value unsupported_parameter""",
        401: "invalid_api_key authentication_error authenticationerror unauthenticated unauthorized invalidapikey",
        402: "insufficient_quota billing_error payment_required insufficient_balance",
        403: "permission_error permissiondeniederror permission_denied request_forbidden forbidden accessdenied",
        404: "model_not_found not_found_error notfounderror not_found",
        408: "request_timeout",
        413: "request_too_large",
        422: "unprocessableentityerror unprocessable_entity validation_error",
        429: """rate_limit_exceeded rate_limit_error ratelimiterror resource_exhausted too_many_requests throttling
            throttlingexception rate_limited""",
        500: "server_error api_error internal_error internal internalservererror internal_server_error",
        503: "overloaded_error unavailable service_unavailable serviceunavailable overloaded",
        504: "deadline_exceeded timeout timeout_error gateway_timeout",
    }.items()
    for name in names.split()
}
"""Codes and types that stand in an error inside a stream, where there is no HTTP status, in lower case."""

_CODE_KEYS = ("code", "status", "type", "status_code", "http_code", "http_status", "error_code", "object")
_WORDS_KEYS = ("message", "detail", "error_msg", "error_message", "msg", "status_msg", "title", "faultstring", "error")


def words_of(payload: object) -> str:
    """
    Return what *payload*, an error's body as JSON values or as text, says to a person.

    Understands the shapes `{"error": {"message": …}}` (OpenAI), the same in a list (Gemini), with `metadata.raw`
    (OpenRouter: the words of the provider behind it) or `metadata.reasons`, `{"error": "…"}` (Ollama),
    `{"errors": [{"message": …}]}` (Cloudflare), `{"message": …}`, `{"detail": …}` and the like, and JSON inside of a
    string (gateways). HTML loses its markup.
    """
    return _words_of(payload, 8)


def _words_of(payload: object, depth: int) -> str:
    if isinstance(payload, str):
        inner = json_in(payload) if depth else None
        return _without_markup(payload) if inner is None else _words_of(inner, depth - 1)
    if isinstance(payload, list) and payload and isinstance(payload[0], Mapping) and depth and _has_words(payload[0]):
        return _words_of(payload[0], depth - 1)
    if not isinstance(payload, Mapping) or not depth:
        return as_json(payload)
    for key in ("error", "errors", "fault", "base_resp"):
        inner = payload.get(key)
        if isinstance(inner, (Mapping, list)) and inner:
            inside = _words_of(inner, depth - 1)
            return as_json(payload) if inside.startswith("[") else inside
    return _told(payload, depth)


def _told(payload: Mapping[str, object], depth: int) -> str:
    said = next((payload[key] for key in _WORDS_KEYS if payload.get(key)), None)
    if said is None:
        return as_json(payload)
    text = _words_of(said, depth - 1) if isinstance(said, (str, Mapping)) else as_json(said)
    more = _behind(payload.get("metadata"), depth)
    return f"{text} ({more})" if more else text


def as_json(payload: object) -> str:
    """Return *payload* as JSON, for a person."""
    try:
        return json.dumps(payload, ensure_ascii=False, default=str)
    except RecursionError:
        return "nested too deeply"


def _without_markup(text: str) -> str:
    if not _PAGE.search(text):
        return text
    without_code = re.sub(r"(?s)<(script|style)\b.*?(</\1>|\Z)|<!--.*?(-->|\Z)", " ", text)
    return html.unescape(re.sub(r"<[a-zA-Z/!][^<>]*>", " ", without_code))


def _behind(metadata: object, depth: int) -> str:
    """Return what OpenRouter says of the provider behind it, or why it moderated."""
    if not isinstance(metadata, Mapping):
        return ""
    raw, reasons = metadata.get("raw"), metadata.get("reasons")
    if isinstance(raw, str) and raw:
        return _words_of(raw, depth - 1).strip()
    return ", ".join(map(str, reasons)) if isinstance(reasons, list) else ""


def _has_words(payload: Mapping[str, object]) -> bool:
    return any(payload.get(key) for key in (*_WORDS_KEYS, "errors", "fault"))


def json_in(text: str) -> object:
    """Return the JSON object or list that *text* is; None where it is another text."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found


def error_in(chunk: object) -> object | None:
    """
    Return the error that *chunk*, a JSON value of an answer with status 200, is or holds; None where it is none.

    The shapes: `error`, `errors` or `fault` with something in it, at the top, in a choice or in its delta; what calls
    itself one (`"object": "error"`, vLLM; `"type": "error"`); a list of one (Gemini); `base_resp` with a status other
    than 0 (MiniMax); and words with a code but neither choices nor usage (DashScope, Baidu, FastAPI).
    """
    if isinstance(chunk, list):
        chunk = chunk[0] if chunk else None
    if not isinstance(chunk, dict):
        return None
    choices = chunk.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    for part in (chunk, first, first.get("delta"), first.get("message")):
        found = _named_in(part)
        if found is not None:
            return found
    calls_itself_one = "error" in (chunk.get("object"), chunk.get("type"), chunk.get("status"))
    is_refusal = choices is None and "usage" not in chunk and _is_refusal(chunk)
    return chunk if calls_itself_one or is_refusal else None


def _named_in(part: object) -> object | None:
    if not isinstance(part, dict):
        return None
    for key in ("error", "errors", "fault"):
        if part.get(key):
            return {"error": part[key]} if isinstance(part[key], list) else part[key]
    base = part.get("base_resp")
    return base if isinstance(base, dict) and base.get("status_code") else None


def _is_refusal(chunk: Mapping[str, object]) -> bool:
    told = any(isinstance(chunk.get(key), str) and chunk.get(key) for key in _WORDS_KEYS)
    coded = any(chunk.get(key) for key in ("code", "status_code", "http_code", "error_code", "statusCode"))
    return (told and coded) or bool(chunk.get("detail") or chunk.get("error_msg") or chunk.get("error_message"))


def status_of(error: object) -> int | None:
    """Return the HTTP status that an error inside a stream stands for; None where it does not say."""
    if not isinstance(error, Mapping):
        return None
    for name in map(error.get, _CODE_KEYS):
        if isinstance(name, int) and name in _ERROR_STATUSES:
            return name
        if isinstance(name, str):
            if re.fullmatch(r"[45]\d\d", name):
                return int(name)
            if name.lower() in _STATUS_OF_CODE:
                return _STATUS_OF_CODE[name.lower()]
    inner = error.get("error")
    return status_of(inner[0] if isinstance(inner, list) and inner else inner)


def codes_of(payload: object) -> tuple[str, ...]:
    """Return the codes and types that stand in *payload*, an error's body or the error itself."""
    found: list[str] = []
    level: object = payload
    for _ in range(4):
        if isinstance(level, list):
            level = level[0] if level else None
        if not isinstance(level, Mapping):
            break
        found += [name for name in map(level.get, _CODE_KEYS) if isinstance(name, str)]
        level = level.get("error") or level.get("errors")
    return tuple(found)
