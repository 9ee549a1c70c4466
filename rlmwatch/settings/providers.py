"""
The providers that are known by name: where each one is, and which variable usually holds its key.

Pure. A `[providers.NAME]` table of the user's own configuration lies over what is here, or adds a provider.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from urllib.parse import urlsplit

OPENROUTER_KEY = "OPENROUTER_API_KEY"
OPENAI_KEY = "OPENAI_API_KEY"
SEARCH_KEY = "EXA_API_KEY"


@dataclass(frozen=True, slots=True)
class Shipped:
    """
    What is known of a provider before anybody says anything of it.

    Attributes:
        base_url: Up to and with `/v1`; None for Azure, where everybody has an address of their own.
        key: The variable that usually holds its key.
        model: Model of runs that name none; None for the first that it lists. None of them reasons: with 300 tokens a
            call, all of them must be answer.
        needs_key: Whether it answers nobody without one.
        key_header: The header that carries the key; in `Authorization` it stands after `Bearer`.
    """

    base_url: str | None
    key: str | None
    model: str | None = None
    needs_key: bool = True
    key_header: str = "Authorization"


# The addresses are those of each provider's page on OpenAI compatibility; a test holds them against genai-prices.
SHIPPED = MappingProxyType(
    {
        "openrouter": Shipped("https://openrouter.ai/api/v1", OPENROUTER_KEY, "openai/gpt-4.1-mini"),
        "openai": Shipped("https://api.openai.com/v1", OPENAI_KEY, "gpt-4.1-mini"),
        "anthropic": Shipped("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", "claude-haiku-4-5"),
        "gemini": Shipped(
            "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY", "gemini-2.5-flash-lite"
        ),
        "mistral": Shipped("https://api.mistral.ai/v1", "MISTRAL_API_KEY", "mistral-small-latest"),
        "groq": Shipped("https://api.groq.com/openai/v1", "GROQ_API_KEY", "llama-3.3-70b-versatile"),
        "deepseek": Shipped("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", "deepseek-chat"),
        "together": Shipped(
            "https://api.together.xyz/v1", "TOGETHER_API_KEY", "meta-llama/Llama-3.3-70B-Instruct-Turbo"
        ),
        "fireworks": Shipped(
            "https://api.fireworks.ai/inference/v1",
            "FIREWORKS_API_KEY",
            "accounts/fireworks/models/deepseek-v4-flash",
        ),
        "xai": Shipped("https://api.x.ai/v1", "XAI_API_KEY", "grok-4-1-fast-non-reasoning"),
        "azure": Shipped(None, "AZURE_OPENAI_API_KEY", key_header="api-key"),
        "ollama": Shipped("http://127.0.0.1:11434/v1", None, needs_key=False),
        "llama.cpp": Shipped("http://127.0.0.1:8080/v1", "LLAMA_API_KEY", needs_key=False),
        "vllm": Shipped("http://127.0.0.1:8000/v1", "VLLM_API_KEY", needs_key=False),
        "lmstudio": Shipped("http://127.0.0.1:1234/v1", "LM_API_TOKEN", needs_key=False),
    }
)
"""In the order in which a set variable is looked for."""

LOCAL, EMBEDDED, SCRIPTED = "local", "embedded", "scripted"
BUILT_IN = (LOCAL, EMBEDDED, SCRIPTED)
"""What `provider` may say beside: whatever server is found on this machine, the small model, a file of replies."""

MODEL_KEYS = tuple(known.key for known in SHIPPED.values() if known.key is not None)

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
"""A provider's name: in small letters, as it stands in a table's head and in variables."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}\Z")
_PREFIXES = (
    "sk-",
    "sk_",
    "gsk_",
    "AIza",
    "xai-",
    "fw_",
    "tgp_",
    "pplx-",
    "hf_",
    "r8_",
    "key-",
    "csk-",
    "nvapi-",
    "ghp_",
)
"""How the keys of well-known providers begin."""
_LONG_WORD = 16
"""Letters and digits in a row from which on a word is looked at as one that nobody made up by hand."""
_MANY_DIGITS = 3


def is_variable_name(text: str) -> bool:
    """
    Whether *text* is the name of a variable, credential or keyring entry, and does not look like a key itself.

    It looks like one when it

    1. holds anything but letters, digits and `_`, or begins with a digit;
    2. begins as the keys of well-known providers do;
    3. has a word of 16 or more letters and digits with three digits in it, or with a digit and letters of both cases.
    """
    if not _VARIABLE.match(text) or text.startswith(_PREFIXES):
        return False
    for word in text.split("_"):
        digits = sum(letter.isdigit() for letter in word)
        mixed = word != word.upper() and word != word.lower()
        if len(word) >= _LONG_WORD and (digits >= _MANY_DIGITS or (digits and mixed)):
            return False
    return True


def shipped_at(base_url: str) -> str | None:
    """Return the name of the shipped provider that *base_url* belongs to by its host; None for a stranger's."""
    host = (urlsplit(base_url).hostname or "").rstrip(".")
    for name, known in SHIPPED.items():
        theirs = urlsplit(known.base_url).hostname if known.base_url and known.needs_key else None
        if theirs is None:
            continue
        domain = theirs.removeprefix("api.")
        if name == "gemini":  # googleapis.com is Google's whole house, and not this provider's alone
            domain = theirs
        if host in (theirs, domain) or host.endswith(f".{domain}"):
            return name
    return (
        "azure"
        if host.endswith((".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com"))
        else None
    )


def names(tables: Iterable[str]) -> tuple[str, ...]:
    """Return what `provider` may say, with the user's own *tables*."""
    return tuple(dict.fromkeys((*SHIPPED, *BUILT_IN, *tables)))


def no_such(provider: str, there: Iterable[str]) -> str:
    """Return, in words, that *provider* is none of those that are *there*, and which one may be meant."""
    close = get_close_matches(provider, list(there), n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(there)}"
    return f"{json.dumps(provider)} is not a provider: {hint} (your own are [providers.NAME] in your config.toml)"


def closed(provider: str, there: Iterable[str]) -> str:
    """Return why a workspace may not choose *provider*, and what the user would write to let it."""
    if provider not in there:
        return f"a workspace may not set this: {no_such(provider, there)}"
    return (
        f"a workspace may not set this to {provider}, since its files may come from elsewhere; to let it, write into "
        f"your own config.toml: [providers.{_toml_key(provider)}] and below it: workspaces = true"
    )


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)
