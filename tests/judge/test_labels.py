"""Labels of a judge: strict reading, recorded judgements, and an endpoint that misbehaves in every way it can."""

import base64
import contextlib
import csv
import gzip
import html
import json
import math
import os
import re
import socket
import sqlite3
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
from published import morebench

from studylib.judge.endpoint import Endpoint, SpendingCap, read_options
from studylib.judge.labels import for_a_judge, held_out, keyword_overlap, others_share, recorded, rescored
from studylib.judge.prompts import COLUMNS, graded_rows, p_yes, refuse_shared, responses_of
from studylib.judge.replies import LONGEST_BODY, retry_after
from studylib.names import TRAIN_DOMAINS, TRAIN_STYLES
from studylib.rewards.checks import check, checks_grader
from studylib.rewards.rubric import read_met
from studylib.scenarios.rows import digest
from studylib.scenarios.sources import load_source
from studylib.scenarios.sources.morebench import COLUMNS as COLUMNS_OF_MOREBENCH
from studylib.scenarios.worlds import make_split

SCENARIO = {
    "id": "s", "prompt": "Ada lied.",
    "rubric": [{"id": "a", "text": "Names Ada.", "weight": 3, "dimension": "identifying"},
               {"id": "b", "text": "Is rude.", "weight": -1, "dimension": "harmless outcome"}],
}  # fmt: skip


# --- reading ---


@pytest.mark.parametrize("text", ["yes", "Yes.", " YES ", "**Yes**", "**Yes.**", "yes\n"])
def test_a_bare_yes_is_yes(text):
    assert read_met(text, "strict") is True


@pytest.mark.parametrize("text", ["no", "No.", "*No*", "NO", " no "])
def test_a_bare_no_is_no(text):
    assert read_met(text, "strict") is False


@pytest.mark.parametrize(
    "text",
    ["", " ", "Not really", "I cannot know", "None", "nope", "yesterday", "Maybe yes", "The answer is no", "1", "y",
     "**Reasoning** yes", "no1", "<html>no</html>", "yes_no", "n o", "¿", "\x00", "noo", "no-one", "no's",
     "No one is harmed", "Yes and no"],
)  # fmt: skip
def test_everything_else_is_neither(text):
    assert read_met(text, "strict") is None


def test_the_probability_is_that_of_the_two_tokens_and_what_is_no_number_is_none():
    assert p_yes(2.0, 0.0) == pytest.approx(math.exp(2) / (math.exp(2) + 1))
    assert p_yes(-900.0, 900.0) == 0.0 and p_yes(900.0, -900.0) == 1.0, "no overflow"
    assert p_yes(math.inf, 0.0) == 1.0 and p_yes(-math.inf, 0.0) == 0.0
    for yes, no in ((math.nan, 0.0), (0.0, math.nan), (math.inf, math.inf), (-math.inf, -math.inf)):
        assert p_yes(yes, no) is None


# --- rows and splits ---


def test_the_checkers_label_every_criterion_of_an_embedded_scenario():
    rows = make_split("local_norms", "held_out", 4, 0, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES,
                      frameworks=("kantian_deontology",))  # fmt: skip
    responses = [f"<think>It matters.</think><answer>{row['answer']}</answer>" for row in rows]
    labels = checks_grader(responses, rows)
    for response, row, grades in zip(responses, rows, labels, strict=True):
        assert grades == [float(check(criterion["id"], response, row)) for criterion in row["rubric"]]
    table = graded_rows(responses, rows, ["m"] * 4, labels)
    assert list(table) == COLUMNS and len(table) == sum(len(row["rubric"]) for row in rows)
    assert (table[table.criterion == "right_verdict"].label == 1).all()


def test_labelled_rows_become_responses_with_their_rubrics_again():
    said, labels = ["b", "a"], [[1.0, None], [0.0, 1.0]]
    table = graded_rows(said, [SCENARIO] * 2, ["m", "n"], labels)
    responses, scenarios, found = responses_of(table.sample(frac=1, random_state=0).sort_values("model"))
    assert (responses, found) == (said, labels)
    assert scenarios[0] == {"id": "s", "prompt": "", "rubric": SCENARIO["rubric"]}


def test_a_scenario_without_a_rubric_is_refused():
    with pytest.raises(ValueError, match="scenario s has no rubric"):
        checks_grader(["x"], [{**SCENARIO, "rubric": None}])


def test_a_scenario_that_trained_the_judge_is_refused_for_a_policy():
    refuse_shared(["a", "b"], [{"id": "c"}], "train a policy")
    with pytest.raises(ValueError, match="scenario a and 1 more trained the judge and may not train a policy"):
        refuse_shared(["b", "a"], [{"id": "a"}, {"id": "c"}, {"id": "b"}], "train a policy")


# --- recorded judgements ---


@pytest.mark.parametrize("packed", [False, True])
def test_recorded_verdicts_are_read_strictly(tmp_path, packed):
    path = tmp_path / ("x.jsonl.gz" if packed else "x.jsonl")
    text = json.dumps(morebench(["Yes.", "no", "**Reasoning** not", ""]))
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    rows = recorded(path)
    assert rows.label[:4].tolist()[:2] == [1.0, 0.0] and rows.label[2:4].isna().all()
    assert rows.kind.unique().tolist() == ["trace", "answer"] and rows.text[0] == "Mentions chess at length 0"
    overlap = keyword_overlap(rows)
    assert overlap[0] == pytest.approx(1 / 3), "of 'mentions', 'chess' and 'length' the response has one"


def test_a_dilemma_of_recorded_verdicts_is_known_again_among_the_rows_of_a_policy(tmp_path):
    """Whatever its theory and its white space: a judge that learnt it is refused for that policy."""
    (tmp_path / "morebench").mkdir()
    rubric = repr([{"id": "1", "title": "Names her.", "weight": 2, "annotations": {"rubric_dimension": "identifying"}}])
    for source, theory in (("morebench_public", "neutral"), ("morebench_theory", "Kantian Deontology")):
        with (tmp_path / f"morebench/{source}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS_OF_MOREBENCH)
            writer.writerows([f"May  Ada\nlie {i}?", "a", "b", theory, rubric, "c", "d"] for i in range(30))
        rows = [row for split in ("train", "held_out", "judge") for row in load_source(source, split, str(tmp_path))]
        path = tmp_path / "verdicts.jsonl"
        told = [json.dumps(morebench(["yes"], f" May Ada lie {i}? ", theory)) for i in range(30)]
        path.write_text("\n".join(told))
        verdicts = recorded(path)
        assert set(verdicts.scenario) == {row["id"] for row in rows}
        aside = for_a_judge(verdicts)
        assert set(aside.scenario) == {row["id"] for row in rows if row["split"] == "judge"}
        with pytest.raises(ValueError, match="trained the judge and may not train a policy"):
            refuse_shared(list(verdicts.scenario), [row for row in rows if row["split"] == "train"], "train a policy")


def test_verdicts_on_dilemmas_of_policies_alone_train_no_judge():
    rows = pd.DataFrame(
        {"scenario": ["a", "b", "c"], "part": ["train", "held_out", "judge"], "label": [1.0, 0, math.nan]}
    )
    with pytest.raises(ValueError, match=r"no dilemma in the file is set aside for a judge; .* 'train': 1"):
        for_a_judge(rows)


def test_one_scenario_in_five_is_held_out_whole():
    rows = pd.DataFrame({"scenario": [f"s{i % 10}" for i in range(60)]})
    learnt, rest = held_out(rows)
    assert rest.scenario.nunique() == 2 and learnt.scenario.nunique() == 8 and len(learnt) + len(rest) == 60
    with pytest.raises(ValueError, match="a judge needs at least two scenarios"):
        held_out(rows[rows.scenario == "s1"])


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"), (b" \n", "is empty"), (b"<html>", "line 1: '<html>'"),
        (b"[1]", r"line 1: '\[1\]'"), (b"\xff\xfe", "line 1: it is UTF-16"),
        (b"{}\n\xff", "line 2: invalid start byte"),
        (b"{}", "line 1 is not a published comparison .KeyError: 'metadata'"), (b"[" * 100_000, r"line 1: '\[\[\["),
        (b'{"metadata": {"dilemma": "x", "theory": "Stoic"}, "models": [{}]}', "line 1 is not a published comparison"),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_verdicts_is_refused_by_name_and_line(tmp_path, content, message):
    path = tmp_path / "verdicts.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"verdicts.jsonl.* {message}|verdicts.jsonl, {message}"):
        recorded(path)
    packed = tmp_path / "cut.jsonl.gz"
    packed.write_bytes(gzip.compress(b"{}" * 500)[:20])
    with pytest.raises(ValueError, match="cut.jsonl.gz is not a complete gzip file"):
        recorded(packed)


def changed(field: str, value) -> dict:
    """A published comparison in which one field is not what it should be."""
    entry = morebench(["yes", "no"])
    text = entry["models"][0]["model_resp"]
    places = {"dilemma": entry["metadata"], "model_name": entry["models"][0], "response": text, "score": text}
    places.get(field, text["rubrics"][1])[field] = value
    return entry


@pytest.mark.parametrize(
    "field, value, problem",
    [
        ("judgement", 1, "judgement is 1, not text"),
        ("judgement", None, "judgement is None, not text"),
        ("response", ["On chess."], "response is .'On chess.'., not text"),
        ("dilemma", 7, "dilemma is 7, not text"),
        ("model_name", None, "model_name is None, not text"),
        ("criterion", True, "criterion is True, not text"),
        ("weight", 2.5, "weight 2.5 is not allowed"),
        ("weight", "2", "weight '2' is not allowed"),
        ("weight", True, "weight True is not allowed"),
        ("score", "50", "score '50' is not allowed"),
        ("score", 101, "score 101 is not allowed"),
    ],
)
def test_a_published_field_of_another_kind_is_refused_and_not_turned_into_text(tmp_path, field, value, problem):
    path = tmp_path / "verdicts.jsonl"
    path.write_text("\n".join(json.dumps(entry) for entry in (morebench(["yes"]), changed(field, value))))
    with pytest.raises(ValueError, match=f"verdicts.jsonl, line 2 is not a published comparison .*{problem}"):
        recorded(path)


def test_the_share_of_the_others_never_looks_at_the_models_own_verdicts():
    rows = pd.DataFrame(
        {"scenario": "s", "criterion": "c", "model": ["a", "a", "b", "d"], "label": [1.0, 0, 1, math.nan]}
    )
    assert others_share(rows).tolist() == pytest.approx([1.0, 1.0, 0.5, 2 / 3])
    assert others_share(rows[:2]).isna().all(), "nobody else: no judgement"


def test_the_published_sample_is_read_whole_and_its_scores_come_out(data_dir):
    rows = recorded(Path(data_dir) / "morebench_sample" / "comparison_data.jsonl.gz")
    assert len(rows) == 56 * 41 // 2 and rows.model.nunique() == 14 and rows.scenario.nunique() == 2
    assert rows.label.isna().sum() == 28 and set(rows[rows.label.isna()].kind) == {"trace"}
    assert set(rows[rows.label.isna()].model.str[:7]) == {"gpt-oss"}
    scores = rescored(rows)
    assert ((scores.official - scores.published).abs() <= 0.02).all() and len(scores) == 56
    assert ((scores.strict - scores.published).abs() <= 0.02).sum() == 53 and scores.strict.isna().sum() == 3
    exact = 0
    for _, text in rows.groupby(["scenario", "model", "kind"]):
        credit = text.weight.abs() * ((text.weight > 0) == (text.label == 1))
        exact += abs(100 * credit.sum() / text.weight.abs().sum() - text.score.iloc[0]) < 0.02
    assert exact == 54, "the published rule, with 'no verdict' as anything but yes, gives 54 of 56 published scores"


# --- an endpoint ---


class Server:
    """An endpoint on this machine that replies what it is told: (status, headers, body) per request, last one again."""

    def __init__(self):
        self.replies, self.requests = [], []
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.asked = json.loads(body)
                served.requests.append((dict(self.headers), self.asked))
                reply = served.replies.pop(0) if len(served.replies) > 1 else served.replies[0]
                reply(self) if callable(reply) else send(self, *reply)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


def send(handler, status: int, headers: dict, body: bytes, length: int | None = None) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body) if length is None else length), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def says(text, tokens=7):
    reply = {"choices": [{"message": {"content": text}}], "usage": {"total_tokens": tokens}}
    return 200, {}, json.dumps(reply).encode()


def asked(handler) -> str:
    return handler.asked["messages"][0]["content"]


def cut_line(handler):
    send(handler, 200, {}, b'{"choices": [', length=500)
    handler.connection.shutdown(socket.SHUT_RDWR)


def hang(handler):
    threading.Event().wait(0.6)


def drip(handler):
    """A byte now and then: no single wait is too long."""
    send(handler, 200, {}, b"{", length=500)
    for _ in range(8):
        threading.Event().wait(0.1)
        with contextlib.suppress(OSError):
            handler.wfile.write(b" ")


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def endpoint(server, tmp_path):
    def make(**given) -> Endpoint:
        waits = []
        more = {"max_requests": 100, "retries": 2, "timeout": 0.3, "workers": 1, "sleep": waits.append} | given
        made = Endpoint(server.url, "judge-model", tmp_path / "cache.sqlite", **more)
        made.waits = waits
        return made

    return make


def grade(endpoint) -> list[float | None]:
    return endpoint.grade(["Ada did it."], [SCENARIO])[0]


def test_one_question_per_criterion_and_no_answer_is_paid_twice(server, endpoint):
    server.replies = [says("Yes."), says("no")]
    client = endpoint()
    assert grade(client) == [1.0, 0.0]
    (_, first), (_, second) = server.requests
    prompt = first["messages"][0]["content"]
    assert prompt.index("Ada did it.") < prompt.index("Names Ada.") and "Is rude." not in prompt
    assert "Is rude." in second["messages"][0]["content"] and "Ada lied." not in prompt, "the scenario is not shown"
    assert first["model"] == "judge-model" and first["temperature"] == 0
    again = endpoint()
    assert grade(again) == [1.0, 0.0] and len(server.requests) == 2
    assert again.counts["from the cache"] == 2 and again.counts["answered"] == 0


def test_equal_questions_are_asked_once_and_many_workers_keep_the_order(server, endpoint):
    server.replies = [lambda handler: send(handler, *says("yes" if "it: b" in asked(handler) else "no"))]
    client = endpoint(workers=4)
    assert client.grade(["it: a", "it: b", "it: a"], [SCENARIO] * 3) == [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "reply, reason",
    [
        ((429, {}, b"slow down"), "failed: status 429"),
        ((503, {}, b"<html>busy</html>"), "failed: status 503"),
        ((200, {}, b"<html><body>no</body></html>"), "failed: not a chat completion"),
        ((200, {}, b'{"choices": [{"message": {"content": "no'), "failed: not a chat completion"),
        ((200, {}, b"{}"), "failed: not a chat completion"),
        ((200, {}, b"[]"), "failed: not a chat completion"),
        ((200, {}, b"\xff\xfe"), "failed: not a chat completion"),
        ((200, {}, b'{"choices": [{"message": {"content": ["no"]}}]}'), "failed: not a chat completion"),
        (cut_line, "failed: line cut"),
        (hang, "failed: timeout"),
        (drip, "failed: timeout"),
        ((200, {}, b"[" * 200_000), "failed: not a chat completion"),
        ((200, {}, b" " * (LONGEST_BODY + 1)), "failed: reply too long"),
        ((522, {}, b"<html>"), "failed: status 522"),
    ],
    ids=["rate limit", "overload", "html", "cut json", "no choices", "a list", "no text", "parts", "cut line", "hangs",
         "drips", "deep", "endless", "proxy"],
)  # fmt: skip
def test_what_fails_every_time_ends_as_a_counted_none(server, endpoint, reply, reason):
    server.replies = [reply]
    client = endpoint()
    assert grade(client) == [None, None], "never a silent no"
    assert client.counts[reason] == 6 and client.counts["no answer"] == 2, "two questions, each with two retries"
    assert len(client.waits) == 4 and client.waits[0] < client.waits[1]


def test_what_passes_is_tried_again_with_longer_waits_and_as_the_server_asks(server, endpoint):
    server.replies = [(500, {}, b""), (429, {"Retry-After": "17"}, b""), says("yes")]
    client = endpoint()
    assert grade(client) == [1.0, 1.0]
    assert 1 <= client.waits[0] <= 1.5 and client.waits[1] == 17.0
    assert client.counts["failed: status 500"] == client.counts["failed: status 429"] == 1


def test_a_server_that_is_not_there_is_a_counted_none(server, endpoint):
    client = endpoint()
    client.url = "http://127.0.0.1:1/v1/chat/completions"
    assert grade(client) == [None, None] and client.counts["failed: no connection"] == 6


@pytest.mark.parametrize("text", ["Not sure", "", None, "I cannot know.", "<think>no</think> yes"])
def test_an_answer_that_is_neither_yes_nor_no_is_a_counted_none_and_is_not_asked_again(server, endpoint, text):
    server.replies = [says(text)]
    client = endpoint()
    assert grade(client) == [None, None] and client.counts["neither yes nor no"] == 2
    assert len(server.requests) == 2 and grade(endpoint()) == [None, None] and len(server.requests) == 2


@pytest.mark.parametrize(
    "content, verdict",
    [
        ([{"type": "text", "text": "yes"}], 1.0),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "no"}]}, {"type": "text", "text": "yes"}], 1.0),
        ([{"type": "reasoning", "text": "yes, because"}, {"type": "output_text", "text": "no"}], 0.0),
        ([{"type": "text", "text": "y"}, {"type": "text", "text": "es"}], 1.0),
        ([{"text": "No."}], 0.0),
        ([{"type": "redacted_thinking", "data": "yes"}], None),
        ([{"type": "refusal", "refusal": "no"}], None),
        ([{"type": "text", "text": None}, {"type": "image_url", "image_url": {"url": "yes"}}], None),
        ([], None),
    ],
)  # fmt: skip
def test_the_text_parts_of_a_content_in_parts_are_the_answer(server, endpoint, content, verdict):
    server.replies = [says(content)]
    client = endpoint()
    assert grade(client) == [verdict] * 2 and len(server.requests) == 2, "no reply is paid for twice"
    assert grade(endpoint()) == [verdict] * 2 and len(server.requests) == 2
    assert client.bill.execute("SELECT tokens FROM requests").fetchall() == [(7,)] * 2


@pytest.mark.parametrize(
    "choice",
    [
        {"message": {"content": None, "refusal": "No."}, "finish_reason": "stop"},
        {"message": {"refusal": "No."}, "finish_reason": "stop"},
        {"message": {"content": ""}, "finish_reason": "length"},
        {"message": {"role": "assistant", "reasoning_content": "No, I think"}, "finish_reason": "length"},
        {"message": {"content": None, "tool_calls": []}, "finish_reason": "tool_calls"},
        {"message": None, "finish_reason": "content_filter"},
        {"finish_reason": "content_filter"},
        {"message": {"content": {"type": "text", "text": "no"}}, "finish_reason": "stop"},
        {"message": {"content": 0.5}, "finish_reason": "stop"},
    ],
    ids=[
        "refusal",
        "refusal alone",
        "length",
        "reasoning alone",
        "tools",
        "filtered",
        "no message",
        "object",
        "number",
    ],
)
def test_a_reply_that_was_paid_for_and_holds_no_text_is_none_and_not_asked_again(server, endpoint, choice):
    server.replies = [(200, {}, json.dumps({"choices": [choice], "usage": {"total_tokens": 2016}}).encode())]
    client = endpoint()
    assert grade(client) == [None, None] and client.counts["neither yes nor no"] == 2
    assert len(server.requests) == 2 and grade(endpoint()) == [None, None] and len(server.requests) == 2
    assert client.bill.execute("SELECT SUM(tokens) FROM requests").fetchone() == (4032,)


@pytest.mark.parametrize(
    "usage, billed",
    [
        ({"prompt_tokens": 40, "completion_tokens": 2}, 42),
        ({"input_tokens": 40, "output_tokens": 2, "total_tokens": None}, 42),
        ({"prompt_tokens": 40, "completion_tokens": "2"}, 40),
        ({"prompt_tokens": 10**30, "completion_tokens": -5}, 2**40),
        ({"prompt_tokens": 40, "total_tokens": 90}, 90),
        ({}, 0), (None, 0), ([7], 0), ("7", 0),
    ],
)  # fmt: skip
def test_tokens_are_summed_where_no_total_is_told_and_what_is_not_told_is_counted(server, endpoint, usage, billed):
    reply = {"choices": [{"message": {"content": "yes"}}]} | ({} if usage is None else {"usage": usage})
    server.replies = [(200, {}, json.dumps(reply).encode())]
    client = endpoint(max_tokens=2**50)
    assert grade(client) == [1.0, 1.0]
    assert client.bill.execute("SELECT tokens FROM requests").fetchall() == [(billed,)] * 2
    assert client.counts["tokens not reported"] == (0 if billed else 2)


@pytest.mark.parametrize(
    "options, sent",
    [
        (None, {"temperature": 0, "max_tokens": 16}),
        ({"max_tokens": None}, {"temperature": 0}),
        ({"max_tokens": None, "temperature": None, "max_completion_tokens": 2000}, {"max_completion_tokens": 2000}),
        ({"temperature": None, "reasoning_effort": "low"}, {"max_tokens": 16, "reasoning_effort": "low"}),
        ({"top_p": None, "seed": 0}, {"temperature": 0, "max_tokens": 16, "seed": 0}),
    ],
)
def test_an_option_of_none_is_left_out_of_the_request(server, endpoint, options, sent):
    server.replies = [says("yes")]
    assert grade(endpoint(options=options)) == [1.0, 1.0]
    body = server.requests[0][1]
    assert {name: value for name, value in body.items() if name not in ("model", "messages")} == sent


def test_answers_that_were_kept_before_options_could_be_taken_out_are_found_again(server, endpoint):
    key = digest(f"{server.url}/chat/completions", "judge-model", {"temperature": 0, "max_tokens": 16}, "Met?")
    endpoint().bill.execute("INSERT INTO requests VALUES (?, 'answer', 'no', 7)", (key,))
    for options in (None, {}, {"seed": None}):
        assert endpoint(options=options).answers(["Met?"]) == {"Met?": "no"} and not server.requests


@pytest.mark.parametrize("name", ["model", "messages", "stream"])
def test_what_the_endpoint_sets_itself_is_no_option(endpoint, name):
    with pytest.raises(ValueError, match=f"endpoint option '{name}' is not allowed: any but model, messages, stream"):
        endpoint(options={name: None})


def test_options_are_read_from_a_json_object():
    assert read_options("") == {} and read_options("{}") == {}
    assert read_options('{"max_tokens": null, "seed": 1}') == {"max_tokens": None, "seed": 1}
    for text in ("max_tokens=null", "[]", "null", "3", '{"seed": ', '"seed"'):
        with pytest.raises(ValueError, match="endpoint options .* are not allowed: a JSON object such as"):
            read_options(text)
    with pytest.raises(ValueError, match="endpoint option 'stream' is not allowed"):
        read_options('{"stream": true}')


WORDS = "this model knows no max_tokens"


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"error": {"message": WORDS, "type": "invalid_request_error", "code": 400}}).encode(),
        json.dumps({"error": WORDS}).encode(),
        json.dumps({"message": WORDS, "request_id": 7}).encode(),
        json.dumps({"object": "error", "message": WORDS, "code": 400}).encode(),
        json.dumps({"detail": WORDS}).encode(),
        json.dumps({"detail": [{"loc": ["body", "max_tokens"], "msg": WORDS}]}).encode(),
        json.dumps([{"error": {"code": 400, "message": WORDS}}]).encode(),
        json.dumps({"error": True, "errors": [WORDS]}).encode(),
        json.dumps(WORDS).encode(),
        WORDS.encode(),
        f"<html><head><style>p {{}}</style></head><body><h1>\n this&#32;model </h1>{WORDS[11:]}</body></html>".encode(),
        f"\x1b\u200b{WORDS}\r\n".encode(),
    ],
)
def test_a_refusal_shows_the_servers_own_sentence_on_one_line(server, endpoint, body):
    server.replies = [(400, {}, body)]
    with pytest.raises(ValueError) as error:
        grade(endpoint())
    assert str(error.value) == f"{server.url}/chat/completions answered 400 Bad Request to model 'judge-model': {WORDS}"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "headers, body, end",
    [
        ({}, "Schlüssel".encode("latin-1"), ": Schl�ssel"),
        ({"Content-Type": "text/plain; charset=latin-1"}, "Schlüssel".encode("latin-1"), ": Schlüssel"),
        ({"Content-Type": "text/plain; charset=klingon"}, "Schlüssel".encode(), ": Schlüssel"),
        ({}, b"", "'judge-model'"),
        ({}, b"\x00\x01\x02", "'judge-model'"),
        ({}, b'{"error": {"type": "x"}}', ': {"error": {"type": "x"}}'),
        ({}, b"[" * 100_000, ": " + "[" * 299 + "…"),
        ({}, json.dumps({"error": {"message": "no " * 20_000}}).encode(), " no no…"),
        ({}, b"<script" * 50_000, "…"),
        ({}, "ß".encode() * 40_000, "ß…"),
    ],
    ids=["latin", "charset", "no charset", "empty", "binary", "no message", "deep", "huge", "slow page", "cut letter"],
)  # fmt: skip
def test_a_refusal_in_any_form_is_one_short_line(server, endpoint, headers, body, end):
    server.replies = [(403, headers, body)]
    with pytest.raises(ValueError) as error:
        grade(endpoint(timeout=2.0))
    assert str(error.value).endswith(end) and len(str(error.value)) < 420 and "\n" not in str(error.value)


def drip_refusal(handler):
    send(handler, 400, {}, b"no max", length=500)
    for _ in range(12):
        threading.Event().wait(0.1)
        with contextlib.suppress(OSError):
            handler.wfile.write(b".")


def cut_refusal(handler):
    send(handler, 400, {}, b"no max_", length=500)
    handler.connection.shutdown(socket.SHUT_RDWR)


def silent_refusal(handler):
    send(handler, 400, {}, b"no max", length=500)
    threading.Event().wait(0.6)


@pytest.mark.parametrize("reply", [drip_refusal, cut_refusal, silent_refusal])
def test_a_refusal_that_comes_slowly_or_breaks_off_is_shown_as_far_as_it_came(server, endpoint, reply):
    server.replies = [reply]
    began = time.monotonic()
    with pytest.raises(ValueError, match="answered 400 Bad Request to model 'judge-model': no max"):
        grade(endpoint())
    assert time.monotonic() - began < 1.0 and len(server.requests) == 1


SECRET = "sk-Proj-4fG7hJ2kL9mN+pQ/rS1tU="  # no key of anyone


@pytest.mark.parametrize(
    "echo",
    [
        SECRET, SECRET.lower(), SECRET.upper(), f"Authorization: Bearer {SECRET}", f"'{SECRET}'", f"key={SECRET}&x=1",
        SECRET[:9] + "*" * 12 + SECRET[-4:], SECRET[:4] + "..." + SECRET[-4:], SECRET[:5] + "…", "***" + SECRET[-4:],
        SECRET[:15], SECRET[9:], SECRET[:9] + "\n" + SECRET[9:], "\u200b".join(SECRET), " ".join(SECRET),
        "-".join(SECRET), urllib.parse.quote(SECRET, safe=""), base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"Bearer {SECRET}".encode()).decode(), SECRET.encode().hex(),
        base64.urlsafe_b64encode(f"u:{SECRET}".encode()).decode(),
        SECRET.replace("/", "\\/"), html.escape(SECRET).replace("-", "&#45;"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["json", "text", "page"])
def test_no_form_of_the_key_is_ever_shown(server, endpoint, monkeypatch, echo, form):
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    told = f"Incorrect API key provided: {echo} (see the manual)"
    forms = {"json": json.dumps({"error": {"message": told}}), "text": told, "page": f"<p>{told}</p>"}
    server.replies = [(401, {}, forms[form].encode())]
    with pytest.raises(ValueError, match="answered 401 Unauthorized to model 'judge-model'") as error:
        grade(endpoint(key_env="JUDGE_KEY"))
    shown = re.sub(r"[\W_]", "", str(error.value).split("'judge-model'")[1]).lower()
    for part in (SECRET[:9], SECRET[-5:], SECRET[9:15], SECRET.encode().hex()[:8], echo):
        assert re.sub(r"[\W_]", "", part).lower() not in shown


def test_what_is_not_the_key_is_shown_beside_it(server, endpoint, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    server.replies = [(400, {}, f"your project may not ask for max_tokens with {SECRET}, but for 3...5".encode())]
    with pytest.raises(ValueError, match=r": your project may not ask for max_tokens with \[key\] but for 3\.\.\.5$"):
        grade(endpoint(key_env="JUDGE_KEY"))


@pytest.mark.parametrize("key, told", [("EMPTY", "[key] is an EMPTYING key"), ("x", "[key] is an EMPTYING key")])
def test_a_key_that_is_none_is_hidden_as_a_word(server, endpoint, monkeypatch, key, told):
    monkeypatch.setenv("JUDGE_KEY", key)
    server.replies = [(400, {}, f"{key} is an EMPTYING key".encode())]
    with pytest.raises(ValueError) as error:
        grade(endpoint(key_env="JUDGE_KEY"))
    assert str(error.value).endswith(told)


def reason_with_the_key(handler):
    handler.send_response(401, "what is secret-key?")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def test_a_status_line_that_holds_the_key_does_not_show_it(server, endpoint, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "secret-key")
    server.replies = [reason_with_the_key]
    with pytest.raises(ValueError, match=r"answered 401 what is \[key\] to model 'judge-model'$"):
        grade(endpoint(key_env="JUDGE_KEY"))


@pytest.mark.parametrize("url", ["http://me:pw@127.0.0.1/v1", "http://127.0.0.1/v1?key=abc", "http://127.0.0.1/v1#abc"])
def test_an_address_that_holds_a_key_is_refused_without_being_shown(tmp_path, url):
    with pytest.raises(ValueError, match="an endpoint url with a user, a query or a fragment is not allowed") as error:
        Endpoint(url, "m", tmp_path / "c", max_requests=1)
    assert "pw" not in str(error.value) and "abc" not in str(error.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 302, 307])
def test_a_refusal_that_cannot_pass_is_one_sentence_without_the_key(server, endpoint, monkeypatch, status):
    monkeypatch.setenv("JUDGE_KEY", "secret-key")
    server.replies = [(status, {"Location": "http://127.0.0.1:1/"}, b"secret-key")]
    with pytest.raises(ValueError, match=rf"chat/completions answered {status} .* to model 'judge-model'") as error:
        grade(endpoint(key_env="JUDGE_KEY"))
    assert "secret-key" not in str(error.value)
    assert server.requests[0][0]["Authorization"] == "Bearer secret-key"
    assert len(server.requests) == 1, "neither repeated nor redirected"


def test_a_missing_key_and_a_bad_url_are_refused_at_once(endpoint, tmp_path, monkeypatch):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(ValueError, match="the environment variable 'JUDGE_KEY' holds no key"):
        endpoint(key_env="JUDGE_KEY")
    with pytest.raises(ValueError, match="'file:///etc' is not allowed: one that begins with http"):
        Endpoint("file:///etc", "m", tmp_path / "c", max_requests=1)


def test_the_cap_ends_in_one_sentence_and_what_was_paid_is_kept(server, endpoint):
    server.replies = [says("yes")]
    with pytest.raises(SpendingCap, match=r"spending cap reached \(1 of 1 requests and 7 of 10000000 tokens\)"):
        grade(endpoint(max_requests=1))
    assert len(server.requests) == 1
    with pytest.raises(SpendingCap):
        grade(endpoint(max_requests=1))
    assert len(server.requests) == 1, "a second session has no second budget"
    assert grade(endpoint(max_requests=2)) == [1.0, 1.0] and len(server.requests) == 2


def test_tokens_are_capped_too_and_failures_count_as_requests(server, endpoint):
    server.replies = [says("yes", tokens=50)]
    with pytest.raises(SpendingCap, match="and 50 of 40 tokens"):
        grade(endpoint(max_tokens=40))
    server.replies = [(500, {}, b"")]
    with pytest.raises(SpendingCap, match="3 of 3 requests"):
        endpoint(max_requests=3).grade(["Another."], [SCENARIO])


@pytest.mark.parametrize("tokens, billed", [(10**30, 2**40), (-1_000_000, 0), (True, 1), (1.5, 0), ("7", 0), (None, 0)])
def test_a_bill_that_is_no_number_of_tokens_neither_ends_the_run_nor_lowers_the_bill(server, endpoint, tokens, billed):
    server.replies = [says("yes", tokens=tokens)]
    client = endpoint(max_tokens=2**50)
    assert grade(client) == [1.0, 1.0]
    assert client.bill.execute("SELECT tokens FROM requests").fetchall() == [(billed,)] * 2


def test_half_a_surrogate_pair_is_asked_and_answered_once(server, endpoint):
    server.replies = [says("\ud800")]
    for _ in range(2):
        assert endpoint().grade(["Ada \udfff did it."], [SCENARIO]) == [[None, None]]
    assert len(server.requests) == 2, "paid once for each criterion"


@pytest.mark.parametrize("key", ["secret-key\n", "geheim-schlüssel", "a\x00b"])
def test_a_key_that_no_header_takes_is_refused_without_being_shown(endpoint, monkeypatch, key):
    monkeypatch.setattr("os.environ", {**os.environ, "JUDGE_KEY": key})
    with pytest.raises(ValueError, match="'JUDGE_KEY' is not a key: it holds a line break") as error:
        endpoint(key_env="JUDGE_KEY")
    assert "secret" not in str(error.value) and "geheim" not in str(error.value)


def test_the_bill_holds_every_request(server, endpoint, tmp_path):
    server.replies = [(500, {}, b""), says("yes")]
    grade(endpoint())
    bill = sqlite3.connect(tmp_path / "cache.sqlite").execute("SELECT outcome, answer, tokens FROM requests").fetchall()
    assert bill == [("status 500", None, 0), ("answer", "yes", 7), ("answer", "yes", 7)]


def test_retry_after_is_read_in_seconds_or_as_a_date_and_never_waits_for_ever():
    assert retry_after(None) is None and retry_after("soon") is None and retry_after("nan") is None
    assert retry_after("3") == 3.0 and retry_after("-5") == 0.0
    assert retry_after("inf") == retry_after("99999") == 120.0
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
