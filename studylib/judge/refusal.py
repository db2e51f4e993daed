"""What an endpoint says when it refuses a request, as one short sentence in which the key cannot be read."""

import base64
import contextlib
import html
import json
import re
import urllib.parse

LONGEST_SENTENCE = 300  # characters
LONGEST_PAGE = 2**13  # characters of an HTML page in which tags are looked for
NAMES = ("error", "message", "msg", "detail", "errors", "title")  # under which servers keep a message
TAGS = re.compile(r"(?is)<(script|style)\b.*?</\1>|<!--.*?-->|<[^>]*>")
PIECE = 6  # characters of a key that tell it from other words
KEY = "[key]"


def sentence_of(body: bytes, charset: str = "utf-8") -> str:
    """What the body of a refusal says: the message of a JSON error, the text of a page, or all of it."""
    try:
        text = body.decode(charset, "replace")
    except LookupError:  # no such charset
        text = body.decode("utf-8", "replace")
    with contextlib.suppress(ValueError, RecursionError):
        return _message(json.loads(text)) or text
    return html.unescape(TAGS.sub(" ", text[:LONGEST_PAGE])) if text.lstrip().startswith("<") else text


def _message(content) -> str:
    """The first text below the names under which servers keep it; "" where there is none."""
    while isinstance(content, (dict, list)):
        below = content if isinstance(content, list) else [content.get(name) for name in NAMES]
        content = next((value for value in below if value and isinstance(value, (str, dict, list))), "")
    return content if isinstance(content, str) else ""


def printable(text: str, key: str = "") -> str:
    """A server's text as one short line of printable characters, with [key] for every word that holds part of the key.

    Servers echo keys whole, masked (`sk-ab***yz`), encoded, or within a header. A text that still spells the key, with
    spaces between its letters for instance, is not shown at all.
    """
    kept = "".join(" " if c.isspace() else c for c in text[:4096] if c.isspace() or c.isprintable())
    line = " ".join(kept.split())
    line = _without(line, key) if key else line
    return line if len(line) <= LONGEST_SENTENCE else line[: LONGEST_SENTENCE - 1] + "…"


def _without(line: str, key: str) -> str:
    if len(key) < PIECE:  # "EMPTY" and the like, which may be part of other words
        return re.sub(rf"(?<!\w){re.escape(key)}(?!\w)", KEY, line, flags=re.IGNORECASE)
    pieces = set().union(*map(_pieces, _forms(key)))
    held = {j for i in range(len(line)) if line[i : i + PIECE].lower() in pieces for j in range(i, i + PIECE)}
    marked = "".join("\0" if i in held else c for i, c in enumerate(line))  # a key may have spaces
    words = [KEY if "\0" in word or _masked(word, key) else word for word in marked.split(" ")]
    letters = _letters(key)
    long = max(PIECE, min(2 * PIECE, len(letters)))
    spelt = _pieces(letters, long) & _pieces(_letters("".join(words)), long)
    return "" if spelt else " ".join(words)


def _pieces(text: str, long: int = PIECE) -> set[str]:
    return {text[i : i + long].lower() for i in range(len(text) - long + 1)}


def _letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text)


def _forms(key: str) -> list[str]:
    """The key as it is, and as URLs, base64 (at each of its three places) and hexadecimal digits write it."""
    encoded = [base64.b64encode(b" " * place + key.encode()).decode() for place in range(3)]
    in_urls = [form.replace("+", "-").replace("/", "_") for form in encoded]
    return [key, urllib.parse.quote(key, safe=""), *encoded, *in_urls, key.encode().hex()]


def _masked(word: str, key: str) -> bool:
    """Does it show an end of the key beside what hides the rest?"""
    ends = [_letters(end).lower() for end in re.split(r"[*•…#]+|\.{2,}|x{3,}", word, flags=re.IGNORECASE)]
    return len(ends) > 1 and any(len(end) >= 3 and end in _letters(key).lower() for end in ends)
