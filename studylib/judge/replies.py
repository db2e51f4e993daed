"""What an endpoint answers: the body within its limits, the answer of a chat completion, and what it bills."""

import contextlib
import email.utils
import http.client
import json
import time
from typing import NamedTuple

LONGEST_WAIT = 120.0  # seconds, whatever Retry-After says
LONGEST_BODY = 2**22  # bytes; a completion of 16 tokens has some hundred
LONGEST_REFUSAL = 2**16  # bytes of a refusal that are read
TEXT_PARTS = ("text", "output_text")  # kinds of content; others, such as thinking, do not count
MOST_TOKENS = 2**40  # that one reply may bill; a server that claims more has reached every cap


class Failed(NamedTuple):
    """One request without an answer."""

    reason: str
    wait: float | None = None  # seconds that the server asks for


# --- the body --------------------------------------------------------------------------------------------------------


def whole(reply: http.client.HTTPResponse, deadline: float) -> bytes | None:
    """The body; None when it is too long. The socket's timeout is for each read: one byte at a time never ends it."""
    body = b""
    while part := reply.read1(2**16):
        body += part
        if len(body) > LONGEST_BODY:
            return None
        if time.monotonic() > deadline:
            raise TimeoutError
    if reply.length:  # what was promised and did not come
        raise http.client.IncompleteRead(body, reply.length)
    return body


def sendable(text: str) -> str:
    """Half a surrogate pair, which no encoding takes, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def beginning(reply: http.client.HTTPResponse, deadline: float) -> bytes:
    """The beginning of a body: what came before the deadline, the longest length or the end of the line."""
    body = b""
    with contextlib.suppress(OSError, http.client.HTTPException):
        while len(body) < LONGEST_REFUSAL and time.monotonic() < deadline and (part := reply.read1(2**16)):
            body += part
    return body[:LONGEST_REFUSAL]


# --- its content -----------------------------------------------------------------------------------------------------


def read_completion(body: bytes) -> tuple[str | Failed, int]:
    """(answer, tokens) of a chat completion; an answer without text is "", which was paid for."""
    try:
        reply = json.loads(body)
        choice = reply["choices"][0]
        content = _content(choice["message"] if choice.get("message") or not choice.get("finish_reason") else {})
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return Failed("not a chat completion"), 0
    tokens = _tokens(reply.get("usage"))
    if content is None:
        return ("" if tokens else Failed("not a chat completion")), tokens
    return sendable(content), tokens


def _content(message: dict) -> str | None:
    """The text of a message: its content, or its text parts where it is a list; None where it is neither.

    A refusal has none, and nor has an answer that ended while the model still reasoned.
    """
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        return None
    texts = [part.get("text") for part in content if part.get("type", "text") in TEXT_PARTS]
    return "".join(text for text in texts if isinstance(text, str))


def _tokens(usage) -> int:
    """Tokens that a reply bills: the total, or the sum of its parts; 0 where it reports neither."""
    if not isinstance(usage, dict):
        return 0
    both = [usage.get(name) for name in ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")]
    billed = [usage["total_tokens"]] if isinstance(usage.get("total_tokens"), int) else both
    return sum(min(max(int(part), 0), MOST_TOKENS) for part in billed if isinstance(part, int))


def retry_after(header: str | None) -> float | None:
    """Seconds to wait, from a Retry-After header in seconds or as a date; None when there is none that can be read."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT) if seconds == seconds else None
