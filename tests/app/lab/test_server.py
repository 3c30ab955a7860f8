"""`polylogit.app.lab.server` and its guards: only this machine's page is answered, and briefly."""

import socket

import pytest
from fastapi.testclient import TestClient

from polylogit.app.lab import guards, server
from polylogit.errors import OptionError

DIE = {"p": [1, 1], "q": [1, 3]}


@pytest.fixture(scope="module")
def client():
    return TestClient(server.application(), base_url="http://127.0.0.1:8000")


def test_the_page_and_its_parts_are_served(client):
    for path, kind in [("/", "text/html"), ("/main.js", "javascript"), ("/ko.json", "json")]:
        answer = client.get(path)
        assert answer.status_code == 200
        assert kind in answer.headers["content-type"]


def test_numbers_are_answered(client):
    lines = client.post("/api/die", json=DIE).json()["lines"]
    assert lines["q"]["short"] == ["0.2500", "0.7500"]
    about = client.get("/api/about").json()
    assert set(about) == {"polylogit", "torch", "dtype"}


@pytest.mark.parametrize("path", ["/", "/api/about", "/missing", "/api/missing"])
def test_every_answer_carries_the_policy(client, path):
    headers = client.get(path).headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9", "localhost:8000", "[::1]:80"])
def test_this_machine_is_answered(client, host):
    assert client.get("/api/about", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil:80", ""]
)
def test_another_name_for_this_machine_is_not(client, host):
    answer = client.get("/api/about", headers={"host": host})
    assert answer.status_code == 421
    assert "127.0.0.1" in answer.json()["error"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9"])
def test_another_sites_page_is_not_answered(client, origin):
    answer = client.post("/api/die", json=DIE, headers={"origin": origin})
    assert answer.status_code == 403


def test_the_page_itself_is(client):
    headers = {"origin": "http://127.0.0.1:8000"}
    assert client.post("/api/die", json=DIE, headers=headers).status_code == 200


def test_a_body_that_says_it_is_too_large_is_not_read(client):
    answer = client.post("/api/die", content=b"x" * (guards.LARGEST_BODY + 1))
    assert answer.status_code == 413
    assert "8 MiB" in answer.json()["error"]


def test_a_body_is_counted_whatever_it_says():
    small = TestClient(guards.Guards(server.application(), 1000), base_url="http://localhost")
    pieces = (b" " * 400 for _ in range(3))  # in chunks, without a Content-Length
    assert small.post("/api/die", content=pieces).status_code == 413


def test_an_encoded_body_is_not_unpacked(client):
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    assert client.post("/api/die", content=b"\x1f\x8b", headers=headers).status_code == 415


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", "JSON"),
        ('{"p": [NaN, 1], "q": [1, 1]}', "finite"),
        ('{"p": [1, 1e999], "q": [1, 1]}', "p.1"),
        ('{"p": [1, 1], "q": [0, 0]}', "every face of Q"),
        ('{"p": [1], "q": [1]}', "at least 2"),
        ('{"p": "' + "9" * 5000 + '", "q": [1, 1]}', "p: "),
    ],
)
def test_a_bad_question_gets_one_short_sentence(client, body, words):
    answer = client.post("/api/die", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert set(answer.json()) == {"error"}
    assert words in answer.json()["error"]
    assert len(answer.content) < 500


def test_what_is_missing_is_said_the_same_way(client):
    for path in ("/missing", "/api/missing", "/api/die", "/../server.py", "/%2e%2e/__init__.py"):
        answer = client.get(path)
        assert (answer.status_code, set(answer.json())) == (404, {"error"})


def test_training_streams_lines(client):
    question = {"data": "ring", "learning_rate": 0.1, "steps": 3}
    with client.stream("POST", "/api/boundary/train", json=question) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert len(list(answer.iter_lines())) == 4
    refused = client.post("/api/boundary/train", json={**question, "bias": [0.0]})
    assert refused.status_code == 422


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind((server.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OptionError, match=f"--port {port} cannot be used"):
            server.listening(port)


def test_it_listens_on_loopback_alone():
    with server.listening(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        assert listener.proto == socket.IPPROTO_TCP
