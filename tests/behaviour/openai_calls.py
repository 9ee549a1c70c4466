"""One call to a scripted provider, as the tests of its answers and of its failures make it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr
from servers.openai_server import OpenAIServer

from rlmwatch.errors import ProviderError
from rlmwatch.models.base import Message, Request
from rlmwatch.models.base import Reply as ModelReply
from rlmwatch.models.openai.dialect import Endpoint
from rlmwatch.models.openai.model import OpenAIModel

KEY = "sk-very-secret-0123456789"
REQUEST = Request("test-model", (Message("user", "hello"),), 50)


def complete(
    server: OpenAIServer,
    request: Request = REQUEST,
    *,
    provider: str = "test",
    on_text: Callable[[str], None] | None = None,
    **options: Any,
) -> ModelReply:
    return ask(Endpoint(provider, server.url, SecretStr(KEY), "TEST_API_KEY"), request, on_text, **options)


def ask(
    endpoint: Endpoint,
    request: Request = REQUEST,
    on_text: Callable[[str], None] | None = None,
    **options: Any,
) -> ModelReply:
    async def one() -> ModelReply:
        model = OpenAIModel(endpoint, **options)
        try:
            return await model.complete(request, on_text=on_text)
        finally:
            await model.aclose()

    return asyncio.run(one())


def failure(server: OpenAIServer, **options: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        complete(server, **options)
    return caught.value
