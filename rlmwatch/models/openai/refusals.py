r"""
What a refusal is about, in each server's words.

Pure. The same status means different things to different servers, so codes and words go before it. They come from the
servers' sources and from reports of other clients. For example:

- too long: `context_length_exceeded` (OpenAI, Groq); `exceed_context_size_error` with `n_ctx` and `n_prompt_tokens`
  (llama.cpp); "prompt is too long: 210000 tokens > 200000 maximum" (Anthropic); "The input token count (N) exceeds the
  maximum number of tokens allowed (M)" (Gemini); "Trying to keep the first N tokens when context the overflows …
  context length of only M tokens" (LM Studio, lmstudio-bug-tracker#237); "`inputs` tokens + `max_new_tokens` must be
  <= M. Given: N" (TGI, Together); "The input (N tokens) is longer than the model's context length (M)" (SGLang);
- an unknown model: "Invalid model name passed in model=x" (LiteLLM, 400); "x is not a valid model ID" (OpenRouter,
  400); "Model Not Exist" (DeepSeek, 400); "model 'x' not found" (Ollama); "Project … does not have access to model"
  (OpenAI, 403); "No available channel for model" (one-api, 503);
- an unknown address: "Unexpected endpoint or method" (LM Studio, with status 200); "Unknown request URL" (OpenAI);
- content or region: "Content violates usage guidelines" (xAI, 403); `metadata.reasons` (OpenRouter, 403);
  `unsupported_country_region_territory` (OpenAI, 403); "Moderation Block" (MiMo);
- money: `insufficient_quota` (OpenAI, 429); "Insufficient Balance" (DeepSeek, 402); "credit balance is too low"
  (Anthropic, 400).
"""

from __future__ import annotations

import re
from enum import Enum

_FLAGS = re.IGNORECASE | re.VERBOSE


class About(Enum):
    """What a refusal is about."""

    TOO_LONG = "too long"
    MODEL = "model"
    ADDRESS = "address"
    CONTENT = "content"
    MONEY = "money"


_CODES: dict[About, str] = {
    About.TOO_LONG: """
        context_length_exceeded exceed_context_size_error context_window_exceeded model_max_prompt_tokens_exceeded
        tokens_limit_reached string_above_max_length request_too_large contextwindowexceedederror prompt_too_long
        input_too_long context_too_long max_context_length_exceeded
    """,
    About.MODEL: """
        model_not_found model_not_exist invalid_model unknown_model model_decommissioned model_deprecated modelnotfound
        model_not_supported model_not_available deploymentnotfound model_does_not_exist model_terms_required
        model_permission_blocked_org model_permission_blocked_project
    """,
    About.ADDRESS: "unknown_url invalid_url route_not_found",
    About.CONTENT: """
        content_policy_violation content_filter contentfilter content_filtered responsibleaipolicyviolation
        moderation_blocked data_inspection_failed datainspectionfailed unsupported_country_region_territory
        request_forbidden invalid_prompt cyber_policy_violation
    """,
    About.MONEY: """
        insufficient_quota billing_hard_limit_reached billing_not_active insufficient_balance insufficient_credits
        quota_exhausted billing_error arrearage access_terminated account_deactivated insufficient_funds
    """,
}
_ABOUT_CODE = {code: about for about, codes in _CODES.items() for code in codes.split()}

_WORDS: tuple[tuple[About, re.Pattern[str]], ...] = (
    (
        About.TOO_LONG,
        re.compile(
            r"""
              (maximum|max|model'?s?|available|the)\ (context|prompt)\ (length|size|window)
            | context[\ _](length|size|window)\b.{0,60}(exceed|overflow|reached|too\ (small|short)|limit)
            | (exceed|overflow|beyond|larger\ than|longer\ than|reached)\w*\ .{0,60}context[\ _-]?(length|size|window)
            | context\ the\ overflows | context\ overflow | \bn_ctx\b
            | (prompt|input|request|message|conversation|chat)s?\b.{0,40}\ (is|are|was)?\ ?too\ (long|large)\b
            | too\ large\ for\ .{0,80}(model|context) | too\ many\ (input\ |prompt\ )?tokens
            | (token\ count|number\ of\ tokens|length\ of\ (the\ )?(input|prompt|messages)|prompt|input)\b.{0,40}
              \b(exceeds?|exceeded)\b.{0,60}(max|limit|token|length)
            | exceeded\ (the\ )?(model|max\w*)\ (token|context|input|prompt)\w*\ ?(limit|length)?
            | tokens`?\ \+\ `?max_new_tokens`?\ must\ be | must\ have\ less\ than\ \d+\ tokens
            | range\ of\ input\ length\ should\ be | prompt\ exceeds\ max\ length
            | reduce\ the\ length\ of\ the\ (messages|prompt|input)
            """,
            _FLAGS,
        ),
    ),
    (
        About.CONTENT,
        re.compile(
            r"""
              (country|region|territory|location)\b.{0,40}\ (is\ )?not\ (supported|available|allowed)
            | (not\ (supported|available|allowed)|unsupported)\ in\ (your|this)\ (country|region|location|territory)
            """,
            _FLAGS,
        ),
    ),
    (
        About.MODEL,
        re.compile(
            r"""
              (unknown|invalid|unsupported|unrecogni[sz]ed|no\ such|non-?existent)\ model\b(?!\ (output|response|reply))
            | \bmodel\b[^\n]{0,160}?\b(
                does\ ?n[o']t\ exist | not\ exist | not\ (be\ )?found | is\ unknown
              | is\ not\ (a\ valid|valid|available|deployed|loaded|recogni[sz]ed|supported|a\ supported|served)
              | (has\ been|is|was)\ (deprecated|decommissioned|retired|removed|discontinued)
              | no\ longer\ (available|supported|exists)
              | identifier\ is\ invalid
              )\b
            | not\ a\ (valid|known)\ model | (no|not\ have|without)\ access\ to\ (the\ |this\ )?model
            | (not\ (authori[sz]ed|allowed|permitted)|permission|denied)\ to\ (access|use)\ .{0,20}\bmodel\b
            | \bmodel\ access\ (is\ )?denied | 模型不存在
            | not\ found\ the\ model | no\ (allowed\ )?(endpoints|providers)\ (found|are\ available)\ for
            | unable\ to\ access\ model | no\ available\ channels?\ for\ model | no\ models?\ (is\ |are\ )?loaded
            | \bmodels/\S+\ is\ not\ found | deployment\ .{0,80}does\ not\ exist | \bmodel\ not\ found
            """,
            _FLAGS,
        ),
    ),
    (
        About.ADDRESS,
        re.compile(
            r"""
              unexpected\ endpoint | (unknown|invalid)\ (request\ )?(url|path|endpoint|route|uri)
            | no\ route\b | route\ not\ found | cannot\ (post|get)\ / | no\ (such\ )?(endpoint|path)\b(?!s)
            """,
            _FLAGS,
        ),
    ),
    (
        About.MONEY,
        re.compile(
            r"""
              insufficient\ (balance|quota|credits?|funds?) | credit\ balance\ is\ too\ low | out\ of\ credits?
            | (exceeded|exceeds)\ your\ current\ quota,?\ please\ check\ your\ plan
            | billing\ (hard\ limit|is\ not\ active)
            | (requires|need)\ more\ credits | payment\ required | account\ is\ (not\ active|suspended|overdue|disabled)
            | no\ (remaining|more)\ (credits?|balance) | insufficient[_ ]user[_ ]quota
            """,
            _FLAGS,
        ),
    ),
    (
        About.CONTENT,
        re.compile(
            r"""
              moderation | \bflagged\b | content\ (policy|filter|management|violat)
            | usage\ (policies|policy|guidelines)
            | violat\w+\ .{0,40}(policy|policies|guidelines|terms) | prohibited\ (content|use)
            | (inappropriate|harmful|sensitive|unsafe)\ (content|prompt|input|text)
            | safety\ (system|filter|check|reason|setting)\w* | guardrail | high\ risk
            """,
            _FLAGS,
        ),
    ),
)

_NUMBERS: tuple[re.Pattern[str], ...] = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        r"requested about (?P<asked>\d{1,12}) tokens",
        r"you requested (?:a total of )?(?P<asked>\d{1,12})(?: output)? tokens",
        r"messages resulted in (?P<asked>\d{1,12}) tokens",
        r"your request has (?P<asked>\d{1,12}) input tokens",
        r"prompt contains (?:at least )?(?P<asked>\d{1,12})",
        r"too long: (?P<asked>\d{1,12})(?: tokens)?(?: > |, model maximum context length: )(?P<limit>\d{1,12})",
        r"token count \(?(?P<asked>\d{1,12})\)? exceeds the maximum number of tokens allowed \(?(?P<limit>\d{1,12})",
        r"request (?:contains|has|\()\s*(?P<asked>\d{1,12}) tokens",
        r"(?:input|prompt|request)\s*\((?P<asked>\d{1,12}) tokens\)",
        r"keep the first (?P<asked>\d{1,12}) tokens",
        r"requested tokens \((?P<asked>\d{1,12})\)",
        r"given: (?P<asked>\d{1,12})",
        r"current length is (?P<asked>\d{1,12}) while limit is (?P<limit>\d{1,12})",
        r"limit (?P<limit>\d{1,12}), requested (?P<asked>\d{1,12})",
        r"cannot exceed (?P<limit>\d{1,12}) - received (?P<asked>\d{1,12})",
        r"requested: (?P<asked>\d{1,12})",
        r"maximum (?:context|prompt|input) length (?:is|of|:) (?P<limit>\d{1,12})",
        r"with (?P<limit>\d{1,12}) maximum context length",
        r"context (?:length|size|window)(?: of)?(?: only)? \(?(?P<limit>\d{1,12})(?: tokens)?\)?",
        r"must be <= (?P<limit>\d{1,12})",
        r"less than (?P<limit>\d{1,12}) tokens",
        r"token limit: (?P<limit>\d{1,12})",
        r"limit of (?P<limit>\d{1,12}) tokens",
        r"max(?:imum)? size: (?P<limit>\d{1,12}) tokens",
        r"input length should be \[\d+, (?P<limit>\d{1,12})\]",
        r"n_ctx\D{0,5}(?P<limit>\d{1,12})",
        r"n_prompt_tokens\D{0,5}(?P<asked>\d{1,12})",
    )
)


_WAIT = re.compile(
    r"(?:retry|try again) (?:in|after) (?:(\d+)h)?(?:(\d+)m(?!s))? ?"
    r"(?:(\d+(?:\.\d+)?) ?s)?(?:(\d+(?:\.\d+)?) ?ms)?",
    re.IGNORECASE,
)


def about(codes: tuple[str, ...], words: str) -> About | None:
    """Return what a refusal with *codes* (its `code`, `type`, `status`) and *words* is about; None where unclear."""
    for code in codes:
        known = _ABOUT_CODE.get(code.lower())
        if known is not None:
            return known
    return next((what for what, pattern in _WORDS if pattern.search(words)), None)


def numbers(words: str) -> tuple[int | None, int | None]:
    """Return (window, tokens asked for) as far as *words*, a refusal for its length, names them."""
    plain = re.sub(r"(?<=\d)[,_](?=\d{3})", "", words)
    found: dict[str, int] = {}
    for pattern in _NUMBERS:
        match = pattern.search(plain)
        for name, number in (match.groupdict() if match is not None else {}).items():
            found.setdefault(name, int(number))
    return found.get("limit"), found.get("asked")


def wait_in(words: str) -> float | None:
    """Return the seconds after which *words* say to try again ("Please retry in 34.07s", "try again in 1m2s")."""
    match = _WAIT.search(words)
    if match is None or not any(match.groups()):
        return None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
