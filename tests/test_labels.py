"""Labels of a judge: strict reading, recorded verdicts, and an endpoint that misbehaves in every way it can."""

import gzip
import json
import math
import socket
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
from test_sources import data_dir  # noqa: F401  (a fixture: skips loudly where the data is missing)

from studylib.rewards.checks import check, checks_grader
from studylib.rewards.endpoint import Endpoint, SpendingCap, retry_after
from studylib.rewards.judge import COLUMNS, graded_rows, p_yes, refuse_shared, responses_of
from studylib.rewards.labels import keyword_overlap, others_share, recorded
from studylib.rewards.rubric import read_verdict
from studylib.scenarios.catalogue import TRAIN_DOMAINS, TRAIN_STYLES
from studylib.scenarios.worlds import make_split

SCENARIO = {
    "id": "s", "prompt": "Ada lied.",
    "rubric": [{"id": "a", "text": "Names Ada.", "weight": 3, "dimension": "identifying"},
               {"id": "b", "text": "Is rude.", "weight": -1, "dimension": "harmless outcome"}],
}  # fmt: skip


# --- reading ---


@pytest.mark.parametrize("text", ["yes", "Yes.", " YES ", "**Yes**", "**Yes.**", "yes\n"])
def test_a_bare_yes_is_yes(text):
    assert read_verdict(text, "strict") is True


@pytest.mark.parametrize("text", ["no", "No.", "*No*", "NO", " no "])
def test_a_bare_no_is_no(text):
    assert read_verdict(text, "strict") is False


@pytest.mark.parametrize(
    "text",
    ["", " ", "Not really", "I cannot know", "None", "nope", "yesterday", "Maybe yes", "The answer is no", "1", "y",
     "**Reasoning** yes", "no1", "<html>no</html>", "yes_no", "n o", "¿", "\x00", "noo", "no-one", "no's",
     "No one is harmed", "Yes and no"],
)  # fmt: skip
def test_everything_else_is_no_verdict(text):
    assert read_verdict(text, "strict") is None


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


# --- recorded verdicts ---


def morebench(judgements: list[str]) -> dict:
    rubrics = [
        {"criterion_id": f"c{i}", "criterion": f"Mentions chess at length {i} ", "weight": 1,
         "dimension": "identifying", "judgement": judgement} for i, judgement in enumerate(judgements)
    ]  # fmt: skip
    text = {"response": "On chess, 1.", "score": 50.0, "rubrics": rubrics}
    return {"metadata": {"dilemma": "Chess?", "theory": "neutral"},
            "models": [{"model_name": "m", "thinking_trace": text, "model_resp": text}]}  # fmt: skip


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


def test_the_share_of_the_others_never_looks_at_the_models_own_verdicts():
    rows = pd.DataFrame(
        {"scenario": "s", "criterion": "c", "model": ["a", "a", "b", "d"], "label": [1.0, 0, 1, math.nan]}
    )
    assert others_share(rows).tolist() == pytest.approx([1.0, 1.0, 0.5, 2 / 3])
    assert others_share(rows[:2]).isna().all(), "nobody else: no judgement"


def test_the_published_sample_is_read_whole_and_its_scores_come_out(data_dir):  # noqa: F811
    rows = recorded(Path(data_dir) / "morebench_sample" / "comparison_data.jsonl.gz")
    assert len(rows) == 56 * 41 // 2 and rows.model.nunique() == 14 and rows.scenario.nunique() == 2
    assert rows.label.isna().sum() == 28 and set(rows[rows.label.isna()].kind) == {"trace"}
    assert set(rows[rows.label.isna()].model.str[:7]) == {"gpt-oss"}
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
    ],
    ids=["rate limit", "overload", "html", "cut json", "no choices", "a list", "no text", "parts", "cut line", "hangs"],
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
def test_an_answer_that_is_no_verdict_is_a_counted_none_and_is_not_asked_again(server, endpoint, text):
    server.replies = [says(text)]
    client = endpoint()
    assert grade(client) == [None, None] and client.counts["not a verdict"] == 2
    assert len(server.requests) == 2 and grade(endpoint()) == [None, None] and len(server.requests) == 2


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
