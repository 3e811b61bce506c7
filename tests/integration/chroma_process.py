"""Chroma's own client in a process of its own, commanded by JSON lines.

Apart from this process because two SQLite libraries in one process drop each other's file locks, and because a test
wants to kill it. Run as a script it is the process; imported it is the test's end of the pipe.
"""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np


class ChromaProcess:
    """The test's end. `ask` raises what went wrong at the other end as RuntimeError."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def ask(self, command: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or '{"error": "the process is gone"}')
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]

    def apply(self, path: Path, operations: list[dict[str, Any]], **where: Any) -> None:
        """Apply operations to one collection (made where it is not there), and close the directory."""
        self.ask("apply", path=str(path), operations=operations, **where)

    def dump(self, path: Path, **where: Any) -> list[dict[str, Any]]:
        """What `collection.get` returns, in its order: id, vector, document, uri, metadata."""
        return [{**record, "vector": unpack(record["vector"])} for record in self.ask("dump", path=str(path), **where)]

    def kill(self) -> None:
        """As `kill -9` does."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def pack(vector: Any) -> str:
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()


def unpack(text: str) -> Any:
    return np.frombuffer(base64.b64decode(text), "<f4")


def vector_of(record: Any) -> Any:
    """A record's one vector, as the array that it is."""
    return record.vectors[""]


# --------------------------------------------------------------------------- the other end


def _client(path: str, tenant: str = "default_tenant", database: str = "default_database") -> Any:
    import chromadb
    from chromadb.config import Settings

    settings = Settings(anonymized_telemetry=False, is_persistent=True, persist_directory=path)
    if tenant != "default_tenant" or database != "default_database":
        admin = chromadb.AdminClient(settings)
        for make, names in ((admin.create_tenant, (tenant,)), (admin.create_database, (database, tenant))):
            try:
                make(*names)
            except Exception as error:
                if "exist" not in str(error).lower():
                    raise
    return chromadb.PersistentClient(path, settings=settings, tenant=tenant, database=database)


def apply(path, operations, name="records", configuration=None, metadata=None, **where):
    client = _client(path, **where)
    try:
        try:
            collection = client.get_collection(name, embedding_function=None)
        except Exception:
            collection = client.create_collection(
                name, embedding_function=None, configuration=configuration, metadata=metadata
            )
        for operation in operations:
            arguments = dict(operation)
            method = getattr(collection, arguments.pop("do"))
            if "embeddings" in arguments:
                arguments["embeddings"] = [unpack(text) for text in arguments["embeddings"]]
            method(**arguments)
    finally:
        client.close()


def dump(path, name="records", **where):
    client = _client(path, **where)
    try:
        collection = client.get_collection(name, embedding_function=None)
        found = collection.get(include=["embeddings", "documents", "metadatas", "uris"])
        rows = zip(
            found["ids"], found["embeddings"], found["documents"], found["uris"], found["metadatas"], strict=True
        )
        return [
            {"id": name, "vector": pack(vector), "document": document, "uri": uri, "metadata": metadata}
            for name, vector, document, uri, metadata in rows
        ]
    finally:
        client.close()


def stream(path, name="records", dim=8, batch=20, configuration=None):
    """Write without end; one line to standard output per batch that was confirmed, with its slowest call so far."""
    import time

    client = _client(path)
    collection = client.get_or_create_collection(name, embedding_function=None, configuration=configuration)
    number, slowest = 0, 0.0
    while True:
        ids = [f"r{n:07}" for n in range(number, number + batch)]
        vectors = [np.full(dim, n, np.float32) for n in range(number, number + batch)]
        began = time.monotonic()
        collection.add(
            ids=ids, embeddings=vectors, documents=[f"document of {i}" for i in ids],
            metadatas=[{"n": n, "half": n / 2, "even": n % 2 == 0} for n in range(number, number + batch)],
        )  # fmt: skip
        if number >= 200 and number % 100 == 0:  # the records of a while ago change and go
            old = range(number - 200, number - 180)
            collection.update(
                ids=[f"r{n:07}" for n in old],
                embeddings=[np.full(dim, -n, np.float32) for n in old],
                metadatas=[{"n": -n} for n in old],
            )
            collection.delete(ids=[f"r{n:07}" for n in range(number - 150, number - 145)])
        slowest = max(slowest, time.monotonic() - began)
        number += batch
        print(json.dumps({"value": {"written": number, "slowest": slowest}}), flush=True)


def main() -> None:
    commands: dict[str, Any] = {"apply": apply, "dump": dump, "stream": stream}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"value": commands[request.pop("command")](**request)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
