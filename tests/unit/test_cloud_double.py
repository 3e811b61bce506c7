"""The double of Chroma Cloud refuses what Cloud refuses, in Cloud's words, and changes nothing else."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import chromadb
import numpy as np
import pytest

from vecferry.testing import cloud_double
from vecferry.testing.cloud_double import start_cloud_double
from vecferry.testing.cloud_http import Html
from vecferry.testing.cloud_quotas import CloudQuotas, broken
from vecferry.testing.proxy import CutResponse, Delay, Pass, Reset, Throttle

SMALL = CloudQuotas(records_per_write=3, results_per_read=3, collection_records=7)


@pytest.fixture
def double(chroma_server):
    """A double with small quotas, and a tenant of its own, before the session's server."""
    with start_cloud_double(chroma_server, quotas=SMALL) as double:
        yield double


@pytest.fixture
def client(double):
    """Chroma's own client for Cloud, pointed at the double."""
    return chromadb.CloudClient(
        tenant=double.tenant,
        database=double.database,
        api_key=double.token,
        cloud_host="127.0.0.1",
        cloud_port=double.port,
        enable_ssl=False,
    )


@pytest.fixture
def collection(client):
    """An empty collection, by Chroma's own client."""
    return client.create_collection("notes", embedding_function=None)


def ask(double, path, *, method="POST", body=None, headers=None):
    """One request; status, headers and content."""
    request = urllib.request.Request(
        f"{double.http_url}/api/v2/{path}",
        data=None if body is None else json.dumps(body).encode(),
        method=method,
        headers={"content-type": "application/json", **(double.headers if headers is None else headers)},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=120) as answer:
            return answer.status, answer.headers, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def room(double, collection, operation=""):
    tail = f"/{collection.id}/{operation}" if operation else ""
    return f"tenants/{double.tenant}/databases/{double.database}/collections{tail}"


def some(count, *, begin=0):
    """Records by Chroma's `add`."""
    numbers = range(begin, begin + count)
    return {"ids": [f"r{n}" for n in numbers], "embeddings": [[float(n), 1.0] for n in numbers]}


def test_the_vendors_client_reads_and_writes_through_it(double, collection):
    """Records, metadata types and searches are the real server's own."""
    data = {**some(3), "documents": ["a", "b", "c"], "metadatas": [{"n": 1}, {"n": 1.0}, {"n": True, "l": [1, 2]}]}
    collection.upsert(**data)
    got = collection.get(include=["embeddings", "documents", "metadatas"])
    assert (got["ids"], got["documents"], got["metadatas"]) == (data["ids"], data["documents"], data["metadatas"])
    assert [type(metadata["n"]) for metadata in got["metadatas"]] == [int, float, bool]
    assert got["embeddings"].tolist() == data["embeddings"]
    assert collection.query(query_embeddings=[[2.0, 1.0]], n_results=1)["ids"] == [["r2"]]
    assert double.seen.requests["upsert"] == 1
    assert double.seen.largest_write == 3
    assert not double.seen.refused


def test_too_many_records_in_a_write_are_refused_whole(double, collection):
    """The words are Cloud's own, and nothing of the write is stored."""
    quota = r"'Number of records' exceeded quota limit for action 'Upsert': current usage of 4 exceeds limit of 3"
    with pytest.raises(Exception, match=quota):
        collection.upsert(**some(4))
    assert collection.count() == 0
    assert (double.seen.refused[422], double.seen.largest_write) == (1, 4)


def test_quota_answers_have_chromas_form(double, collection):
    """422, JSON, a class and a message."""
    status, headers, body = ask(double, room(double, collection, "add"), body=some(4))
    assert (status, headers["content-type"]) == (422, "application/json")
    assert json.loads(body)["error"] == "ChromaError"
    assert json.loads(body)["message"].startswith("Quota exceeded: 'Number of records' exceeded quota limit for")


def test_a_read_without_limit_is_cut_without_a_word(double, collection):
    """The trap of Cloud: 200, and not everything. A limit above the quota is refused instead."""
    for begin in (0, 3):
        collection.add(**some(3, begin=begin))
    assert collection.get()["ids"] == ["r0", "r1", "r2"]
    assert len(collection.get(ids=[f"r{n}" for n in range(6)])["ids"]) == 3
    assert double.seen.unlimited_reads == 2
    assert collection.get(limit=3, offset=3)["ids"] == ["r3", "r4", "r5"]
    with pytest.raises(Exception, match="'Limit value' exceeded quota limit for action 'Get': current usage of 4"):
        collection.get(limit=4)
    with pytest.raises(Exception, match="'Number of results' exceeded quota limit for action 'Query'"):
        collection.query(query_embeddings=[[0.0, 1.0]], n_results=4)
    assert double.seen.largest_read == 6


def test_a_full_collection_takes_replacements_only(double, collection):
    """The write that does not fit is refused whole; records that are there may be replaced; a larger plan helps."""
    for begin in (0, 3):
        collection.add(**some(3, begin=begin))
    with pytest.raises(
        Exception, match=r"'Collection size \(records\)'.*'Upsert': current usage of 8 exceeds limit of 7"
    ):
        collection.upsert(**some(2, begin=6))
    collection.upsert(**some(3, begin=4))
    assert collection.count() == 7
    collection.upsert(**some(3, begin=4))
    double.quotas = replace(double.quotas, collection_records=5)  # a smaller plan: what is there stays there
    collection.upsert(**some(3, begin=4))
    double.quotas = replace(double.quotas, collection_records=8)
    collection.upsert(**some(2, begin=6))
    assert collection.count() == 8


def test_the_last_place_is_given_once(double, collection, monkeypatch):
    """Writes at the same time do not both take the room that is left for one."""
    double.quotas = replace(double.quotas, collection_records=3)
    counted = double._full

    def counted_slowly(*arguments):
        """The moment between counting and writing, made long enough for everybody to come in."""
        found = counted(*arguments)
        time.sleep(0.02)
        return found

    monkeypatch.setattr(double, "_full", counted_slowly)
    path = room(double, collection, "add")
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda n: ask(double, path, body=some(1, begin=n))[0], range(8)))
    assert sorted(statuses) == [201] * 3 + [422] * 5
    assert collection.count() == 3


@pytest.mark.parametrize(
    "operation, body, words",
    [
        (
            "upsert",
            {"ids": ["x" * 129]},
            "'ID size (bytes)' exceeded quota limit for action 'Upsert': current usage of 129",
        ),
        ("add", {"ids": ["a"], "embeddings": [[0.0] * 4097]}, "'Embedding dimension'"),
        (
            "add",
            {"ids": ["a"], "embeddings": [base64.b64encode(np.zeros(4097, "<f4").tobytes()).decode()]},
            "usage of 4097 exceeds limit of 4096",
        ),
        ("add", {"ids": ["a"], "documents": ["é" * 8193]}, "'Document size (bytes)'"),
        ("add", {"ids": ["a"], "uris": ["u" * 257]}, "'URI size (bytes)'"),
        ("update", {"ids": ["a"], "metadatas": [{"k" * 37: 1}]}, "'Size of metadata dictionary key (bytes)'"),
        ("update", {"ids": ["a"], "metadatas": [{"k": "v" * 8183}]}, "'Size of metadata dictionary value (bytes)'"),
        ("add", {"ids": ["a"], "metadatas": [{f"k{n}": 1 for n in range(33)}]}, "'Number of metadata dictionary keys'"),
        ("get", {"where": {"$or": [{"n": n} for n in range(9)]}}, "'Number of where clause predicates'"),
        ("get", {"where_document": {"$contains": "x" * 257}}, "'Length of where document value'"),
        ("get", {"ids": ["a"] * 1001}, "'Number of IDs to filter by in a query'"),
        ("delete", {"ids": ["a"] * 301}, "'Number of records' exceeded quota limit for action 'Delete'"),
        ("create", {"name": "n" * 129}, "'Name size (bytes)' exceeded quota limit for action 'Create Collection'"),
        ("create", {"name": "n", "metadata": {"k": "v" * 257}}, "'Size of metadata dictionary value (bytes)'"),
    ],
)
def test_each_quota_begins_where_the_page_says(operation, body, words):
    """One more than the published number is refused."""
    assert words in broken(operation, body, CloudQuotas())


@pytest.mark.parametrize(
    "operation, body",
    [
        (
            "upsert",
            {
                "ids": ["x" * 128] * 300,
                "embeddings": [base64.b64encode(np.zeros(4096, "<f4").tobytes()).decode(), [0.0] * 4096, None],
                "documents": ["é" * 8192, None],
                "uris": ["u" * 256],
                "metadatas": [{f"{'k' * 34}{n:02}": "v" * 8182 for n in range(32)}, None],
            },
        ),
        ("get", {"limit": 300, "where": {"$and": [{"n": {"$in": list(range(100))}}] * 8}}),
        ("query", {"n_results": 300, "where_document": {"$contains": "x" * 256}}),
        ("create", {"name": "n" * 128, "metadata": {"k": "v" * 256}, "configuration": {}}),
    ],
)
def test_each_quota_ends_where_the_page_says(operation, body):
    """The published numbers themselves are allowed."""
    assert broken(operation, body, CloudQuotas()) is None


def test_only_the_key_in_its_own_header_opens(double, collection):
    """Bearer is not Cloud's form; the key shows in no representation."""
    path = room(double, collection)
    for headers in ({}, {"x-chroma-token": "other"}, {"authorization": f"Bearer {double.token}"}):
        assert ask(double, path, method="GET", headers=headers)[0] == 401
    assert ask(double, path, method="GET")[0] == 200
    assert ask(double, "heartbeat", method="GET", headers={})[0] == 200
    assert double.token not in repr(double)


def test_other_tenants_and_databases_are_closed(double, chroma_server, collection):
    """The key is for one database of one tenant; the server behind has more, and none of it can be seen."""
    for path in (
        "tenants/default_tenant/databases/default_database/collections",
        f"tenants/{double.tenant}/databases/other/collections",
        "tenants/default_tenant",
    ):
        assert ask(double, path, method="GET")[0] == 403
    assert ask(double, "tenants", body={"name": "mine-too"})[0] == 403
    assert ask(double, "reset")[0] == 403
    assert ask(double, "no/such/path", method="GET")[0] == 404
    assert ask(double, f"tenants/{double.tenant}", method="GET")[2]["name"] == double.tenant
    assert ask(double, "auth/identity", method="GET")[2]["databases"] == [double.database]


def test_a_missing_collection_is_not_found(client):
    """The real server's answer, which is Cloud's."""
    with pytest.raises(chromadb.errors.NotFoundError):
        client.get_collection("missing")


def test_pre_flight_declares_more_than_a_write_may_have(double):
    """As Cloud does: 1000, while 300 is the quota."""
    _, _, checks = ask(double, "pre-flight-checks", method="GET")
    assert checks == {"max_batch_size": 1000, "supports_base64_encoding": True}


def test_sparse_vectors_are_kept(double, collection, chroma_server):
    """Cloud's type goes in and comes out, beside other metadata, merged by updates; unsorted indices are refused."""
    sparse = {"#type": "sparse_vector", "indices": [3, 70_000], "values": [0.1, -2.0]}
    path = room(double, collection, "upsert")
    body = {**some(2), "metadatas": [{"lexical": sparse, "n": 1}, {"n": 2}]}
    assert ask(double, path, body=body)[0] == 200
    assert ask(double, room(double, collection, "get"), body={})[2]["metadatas"] == body["metadatas"]
    collection.update(ids=["r0"], metadatas=[{"n": 7}])
    found = ask(double, room(double, collection, "query"), body={"query_embeddings": [[0.0, 1.0]], "n_results": 1})
    assert found[2]["metadatas"] == [[{"lexical": sparse, "n": 7}]]
    wrong = {**sparse, "indices": [3, 3]}
    status, _, answer = ask(double, path, body={**some(1), "metadatas": [{"lexical": wrong}]})
    assert status == 400
    assert b"ascending" in answer


def test_a_rate_is_kept(double, collection, monkeypatch):
    """Within a second no more than so many; the refusal says when to come back, or does not where told so."""
    double.quotas = replace(double.quotas, requests_per_second=2)
    path = room(double, collection, "count")
    now = time.monotonic() + 10
    monkeypatch.setattr(cloud_double, "time", SimpleNamespace(monotonic=lambda: now))
    answers = [ask(double, path, method="GET") for _ in range(6)]
    assert [status for status, _, _ in answers] == [200] * 2 + [429] * 4
    refused = answers[-1]
    assert refused[1]["retry-after"] == "1"
    assert b"Too many requests" in refused[2]
    double.retry_after = None
    assert ask(double, path, method="GET")[1]["retry-after"] is None
    now += 1
    assert ask(double, path, method="GET")[0] == 200
    double.quotas = replace(double.quotas, requests_per_second=None)
    assert [ask(double, path, method="GET")[0] for _ in range(3)] == [200] * 3


def test_concurrency_is_per_collection_and_kind(double, client, collection):
    """A read too many at the same time is refused at once; writes, and another collection's reads, are not."""
    other = client.create_collection("other", embedding_function=None)
    double.quotas = replace(double.quotas, concurrent_reads=2)
    double.inject(Delay(seconds=30), at="get")
    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(ask, double, room(double, collection, "get"), body={"limit": 1}) for _ in range(2)]
        until(lambda: double.seen.most["read"] == 2)
        assert ask(double, room(double, collection, "count"), method="GET")[0] == 429
        assert ask(double, room(double, other, "count"), method="GET")[0] == 200
        assert ask(double, room(double, collection, "add"), body=some(1))[0] == 201
        double.inject(Pass())
        assert [one.result()[0] for one in held] == [200, 200]
    assert double.seen.most == {"read": 3, "write": 1, "": 1}


def until(true):
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_storm_begins_and_ends_where_told(double, collection):
    """Refused requests reach nobody; `skip` lets the first ones through, `at` leaves other operations alone."""
    double.inject(Throttle(times=2, retry_after=0.25), at="add", skip=1)
    path = room(double, collection, "add")
    answers = [ask(double, path, body=some(1, begin=n)) for n in range(4)]
    assert [status for status, _, _ in answers] == [201, 429, 429, 201]
    assert answers[1][1]["retry-after"] == "0.25"
    assert (collection.get()["ids"], double.fired) == (["r0", "r3"], 2)


def test_server_errors_and_pages_for_people(double, collection):
    """A 5xx in Chroma's form, and HTML as a load balancer sends it."""
    double.inject(Throttle(status=503, retry_after=None, times=1))
    status, headers, body = ask(double, room(double, collection, "count"), method="GET")
    assert (status, headers["retry-after"], json.loads(body)["error"]) == (503, None, "ChromaError")
    double.inject(Html(status=502, times=1))
    status, headers, body = ask(double, room(double, collection, "count"), method="GET")
    assert (status, headers.get_content_type()) == (502, "text/html")
    assert body.startswith(b"<!DOCTYPE html>")


def test_an_answer_breaks_off_in_the_middle(double, collection):
    """The line is reset after so many bytes; the next request is answered whole."""
    collection.add(**some(3))
    path = room(double, collection, "get")
    double.inject(Reset(after=10, times=1), at="get")
    with pytest.raises((ConnectionError, urllib.error.URLError)):
        ask(double, path, body={"limit": 3})
    assert ask(double, path, body={"limit": 3})[2]["ids"] == ["r0", "r1", "r2"]


def test_a_write_whose_answer_is_lost_was_carried_out(double, collection):
    """The case that makes retries dangerous."""
    double.inject(CutResponse(times=1), at="add")
    with pytest.raises((ConnectionError, urllib.error.URLError)):
        ask(double, room(double, collection, "add"), body=some(2))
    assert collection.count() == 2


def test_a_slow_answer_ends_with_the_fault(double, collection):
    """Whoever waits goes on when the test says so."""
    double.inject(Delay(seconds=60), at="count")
    done = threading.Thread(target=collection.count)
    done.start()
    until(lambda: double.fired == 1)
    done.join(0.3)
    assert done.is_alive()
    double.inject(Pass())
    done.join(120)
    assert not done.is_alive()


def test_a_dead_server_breaks_the_line(start_chroma):
    """No made-up answer stands in for a server that is gone, and when it is back the same address works."""
    server = start_chroma()
    with start_cloud_double(server) as double:
        path = f"tenants/{double.tenant}"
        assert ask(double, path, method="GET")[0] == 200
        server.kill()
        with pytest.raises((ConnectionError, urllib.error.URLError)):
            ask(double, path, method="GET")
        server.start()
        assert ask(double, path, method="GET")[0] == 200


def test_an_error_of_the_double_itself_is_not_swallowed(chroma_server, monkeypatch):
    """A test must not pass on a broken double."""

    def broken_double():
        with start_cloud_double(chroma_server) as double:
            monkeypatch.setattr(double, "_own", lambda _: 1 / 0)
            with pytest.raises((ConnectionError, urllib.error.URLError)):
                ask(double, "pre-flight-checks", method="GET")

    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        broken_double()
