"""An OpenAI-compatible endpoint as a judge: any URL, no call paid twice, nothing guessed.

Every request is a line in a sqlite file: it is the cache, the bill and the record of what failed. An answer that is in
it is never asked for again, also after a crash; the caps hold for the whole file, so a second session does not start
a second budget. What still fails after the retries ends as None and is counted; what was paid for and holds no text,
such as a refusal or reasoning that used up all tokens, is None too and is not asked again.
"""

import http.client
import json
import os
import sqlite3
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from studylib.judge.prompts import context, question
from studylib.judge.refusal import printable, sentence_of
from studylib.judge.replies import (
    LONGEST_WAIT,
    Failed,
    beginning,
    read_completion,
    retry_after,
    sendable,
    whole,
)
from studylib.randomness import generator
from studylib.rewards.rubric import read_met
from studylib.scenarios.rows import digest, rubric_of

RETRIED = (408, 409, 425, 429, 500, 502, 503, 504, *range(520, 525), 529)  # may pass; others are raised at once
OURS = ("model", "messages", "stream")  # of a request; the reply is read whole


class SpendingCap(RuntimeError):
    """The next request would go beyond a cap; what was paid for is in the cache."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected request would carry the key to another host."""

    def redirect_request(self, *args, **kwargs):
        return None


class Endpoint:
    """Grades responses by asking one question per criterion. Call `grade`, the interface of every grader.

    url: up to and with /v1; key_env: the environment variable that holds the key (empty: none is sent); cache: the
    sqlite file; max_requests, max_tokens: caps over the life of that file. counts: what happened since it was made.
    options: more of the request beside temperature 0 and max_tokens 16; None takes one of these out, as models do that
    want `max_completion_tokens` or no temperature.
    timeout: seconds for the connection and for each line of the reply's head, and again for its whole body.
    """

    def __init__(
        self, url: str, model: str, cache: Path, *, key_env: str = "", max_requests: int, max_tokens: int = 10**7,
        retries: int = 5, timeout: float = 60.0, workers: int = 4, sees_scenario: bool = False, sleep=time.sleep,
        options: dict | None = None,
    ):  # fmt: skip
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"endpoint url {url!r} is not allowed: one that begins with http:// or https://")
        if {"@", "?", "#"} & set(url):
            raise ValueError("an endpoint url with a user, a query or a fragment is not allowed: the key is in key_env")
        if key_env and not os.environ.get(key_env):
            raise ValueError(f"the environment variable {key_env!r} holds no key for {url}")
        if key_env and not (os.environ[key_env].isascii() and os.environ[key_env].isprintable()):
            raise ValueError(f"the environment variable {key_env!r} is not a key: it holds a line break or the like")
        self.url, self.model, self.key = url.rstrip("/") + "/chat/completions", model, os.environ.get(key_env, "")
        self.max_requests, self.max_tokens, self.retries = max_requests, max_tokens, retries
        self.timeout, self.workers, self.sees_scenario, self.sleep = timeout, workers, sees_scenario, sleep
        self.options = _given({"temperature": 0, "max_tokens": 16} | (options or {}))
        self.counts, self.lock = Counter(), threading.Lock()
        self.opener = urllib.request.build_opener(_NoRedirect)
        cache.parent.mkdir(parents=True, exist_ok=True)
        self.bill = sqlite3.connect(cache, check_same_thread=False, isolation_level=None)  # a statement is a commit
        self.bill.execute("CREATE TABLE IF NOT EXISTS requests (key TEXT, outcome TEXT, answer TEXT, tokens INTEGER)")
        self.bill.execute("CREATE INDEX IF NOT EXISTS by_key ON requests (key)")

    # --- grading ---

    def grade(self, responses: list[str], scenarios: list[dict]) -> list[list[float | None]]:
        """1.0 or 0.0 for each criterion, None where the answer is neither yes nor no, or none came."""
        prompts = [
            [self._prompt(response, scenario, criterion) for criterion in rubric_of(scenario)]
            for response, scenario in zip(responses, scenarios, strict=True)
        ]
        answers = self.answers([prompt for row in prompts for prompt in row])
        return [[self._met(answers[prompt]) for prompt in row] for row in prompts]

    def _prompt(self, response: str, scenario: dict, criterion: dict) -> str:
        asked = context(response, scenario, self.sees_scenario)
        return sendable(f"{asked}\n{question(criterion)} Answer with one word, yes or no.")

    def _met(self, answer: str | None) -> float | None:
        met = None if answer is None else read_met(answer, "strict")
        self.counts["no answer" if answer is None else "neither yes nor no" if met is None else "graded"] += 1
        return None if met is None else float(met)

    # --- asking ---

    def answers(self, prompts: Sequence[str]) -> dict[str, str | None]:
        """prompt -> answer; equal prompts are asked once. Raises SpendingCap when a cap ends it."""
        stop = threading.Event()

        def ask(prompt: str) -> str | None:
            """Nothing more is sent once a request has failed for good."""
            try:
                return None if stop.is_set() else self._answer(prompt)
            except BaseException:
                stop.set()
                raise

        distinct = list(dict.fromkeys(prompts))
        with ThreadPoolExecutor(self.workers) as pool:
            futures = [pool.submit(ask, prompt) for prompt in distinct]
        error = next((future.exception() for future in futures if future.exception()), None)
        if error:
            raise error
        return {prompt: future.result() for prompt, future in zip(distinct, futures, strict=True)}

    def _answer(self, prompt: str) -> str | None:
        key = digest(self.url, self.model, self.options, prompt)
        with self.lock:
            kept = self.bill.execute("SELECT answer FROM requests WHERE key = ? AND outcome = 'answer'", (key,))
            row = kept.fetchone()
        if row:
            self._count("from the cache")
            return row[0]
        for attempt in range(self.retries + 1):
            self._reserve(key)
            answer, tokens = self._request(prompt)
            if not isinstance(answer, Failed):
                self._book(key, "answer", answer, tokens)
                return answer
            self._book(key, answer.reason, None, tokens)
            if attempt < self.retries:
                self.sleep(answer.wait if answer.wait is not None else self._back_off(key, attempt))
        return None

    def _back_off(self, key: str, attempt: int) -> float:
        """1, 2, 4, ... seconds, spread by up to a half, so that workers do not come back together."""
        return min(LONGEST_WAIT, 2.0**attempt * (1 + generator(int(key, 16), "endpoint/wait", attempt).random() / 2))

    def _reserve(self, key: str) -> None:
        """Book the request before it is sent: one that breaks off may have been paid for."""
        with self.lock:
            sent, tokens = self.bill.execute("SELECT COUNT(*), COALESCE(SUM(tokens), 0) FROM requests").fetchone()
            if sent >= self.max_requests or tokens >= self.max_tokens:
                capped = f"{sent} of {self.max_requests} requests and {tokens} of {self.max_tokens} tokens"
                raise SpendingCap(f"spending cap reached ({capped}); answers so far are kept: raise a cap and go on")
            self.bill.execute("INSERT INTO requests VALUES (?, 'sent', NULL, 0)", (key,))

    def _book(self, key: str, outcome: str, answer: str | None, tokens: int) -> None:
        with self.lock:
            sent = "SELECT rowid FROM requests WHERE key = ? AND outcome = 'sent' LIMIT 1"
            change = f"UPDATE requests SET outcome = ?, answer = ?, tokens = ? WHERE rowid = ({sent})"
            self.bill.execute(change, (outcome, answer, tokens, key))
        self._count("answered" if answer is not None else f"failed: {outcome}")
        if answer is not None and not tokens:
            self._count("tokens not reported")  # so the cap on tokens does not see this answer

    def _count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def _request(self, prompt: str) -> tuple[str | Failed, int]:
        """(answer, tokens paid) or (Failed, tokens paid) of one request. Raises ValueError when it cannot ever work."""
        body = {"model": self.model, "messages": [{"role": "user", "content": prompt}]} | self.options
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        try:
            with self.opener.open(request, timeout=self.timeout) as reply:
                body = whole(reply, time.monotonic() + self.timeout)
                return read_completion(body) if body is not None else (Failed("reply too long"), 0)
        except urllib.error.HTTPError as error:
            if error.code not in RETRIED:
                raise ValueError(self._refusal(error)) from None
            return Failed(f"status {error.code}", retry_after(error.headers.get("Retry-After"))), 0
        except (urllib.error.URLError, TimeoutError) as error:
            slow = isinstance(getattr(error, "reason", error), TimeoutError)
            return Failed("timeout" if slow else "no connection"), 0
        except (OSError, http.client.HTTPException):
            return Failed("line cut"), 0

    def _refusal(self, error: urllib.error.HTTPError) -> str:
        """One sentence: what was asked, the status, and what the server says of it, without the key."""
        with error:
            body = beginning(error.fp, time.monotonic() + self.timeout)
        sentence = printable(sentence_of(body, error.headers.get_content_charset("utf-8")), self.key)
        reason = printable(str(error.reason), self.key)  # it is the server's too
        answered = f"{self.url} answered {error.code} {reason} to model {self.model!r}"
        return f"{answered}: {sentence}" if sentence else answered


def _given(options: dict) -> dict:
    """The options that are not None; refuses those that the endpoint sets itself."""
    ours = sorted(set(options) & set(OURS))
    if ours:
        raise ValueError(f"endpoint option {ours[0]!r} is not allowed: any but {', '.join(OURS)}")
    return {name: value for name, value in options.items() if value is not None}


def read_options(text: str) -> dict:
    """Options of an endpoint from a parameter: a JSON object, in which null takes a default out; "" is none."""
    try:
        options = json.loads(text or "{}")
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise ValueError(f'endpoint options {text!r} are not allowed: a JSON object such as {{"max_tokens": null}}')
    _given(options)
    return options
