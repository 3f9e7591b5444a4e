"""A stand-in for W&B's server on this machine: it accepts runs and keeps what it was told."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class RecordedRun:
    """One run as the server has it.

    Attributes:
        about: what was said of it: `displayName`, `groupName`, `jobType`, `tags`, `config`, ...
        lines: JSON lines by the name of their stream and their number.
        artifacts: names and types.
    """

    about: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    artifacts: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, without W&B's own part."""
        return {
            key: entry["value"]
            for key, entry in json.loads(self.about["config"]).items()
            if key != "_wandb"
        }

    @property
    def mask_classes(self) -> dict[str, dict[str, str]]:
        """Names of the classes of each mask, by its key."""
        found = json.loads(self.about["config"])["_wandb"]["value"]["mask/class_labels"]
        return {key: entry["value"] for key, entry in found.items()}

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows of the curves, media among them."""
        found = self.lines["wandb-history.jsonl"]
        return [json.loads(found[number]) for number in sorted(found)]

    @property
    def summary(self) -> dict[str, Any]:
        """The last summary."""
        found = self.lines["wandb-summary.json"]
        return json.loads(found[max(found)])


class RecordingServer(ThreadingHTTPServer):
    """Listens on a free port of this machine."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: dict[str, RecordedRun] = defaultdict(RecordedRun)
        self.files: dict[str, bytes] = {}
        self.views: list[dict[str, Any]] = []

    @property
    def address(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def environment(self, home: Path) -> dict[str, str]:
        """Return the variables that make W&B's programs talk to this server alone."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        own = {"WANDB_BASE_URL": self.address, "WANDB_API_KEY": "0" * 40, "HOME": str(home)}
        return kept | own | {"WANDB_ERROR_REPORTING": "false", "NO_PROXY": "127.0.0.1"}

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the data of a GraphQL request."""
        if "upsertBucket" in query:
            run = self.runs[variables["name"]]
            run.about |= {key: value for key, value in variables.items() if value is not None}
            project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": "me"}}
            bucket = {"id": "r", "name": variables["name"], "historyLineCount": 0}
            return {"upsertBucket": {"bucket": bucket | {"project": project}, "inserted": True}}
        if "createRunFiles" in query:
            files = [{"name": n, "uploadUrl": f"{self.address}/{n}"} for n in variables["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        if "createArtifact(" in query:
            asked = variables["input"]
            run = self.runs[asked["runName"]]
            run.artifacts[asked["artifactCollectionName"]] = asked["artifactTypeName"]
            known = {"id": "a", "state": "COMMITTED", "artifactSequence": {"latestArtifact": None}}
            return {"createArtifact": {"artifact": known}}
        if "upsertView" in query:
            self.views.append(variables)
            return {
                "upsertView": {"view": {"id": "v", "name": variables["name"]}, "inserted": True}
            }
        if "viewer" in query:
            teams = {"edges": []}
            return {"viewer": {"id": "u", "entity": "me", "username": "me", "teams": teams}}
        return {"serverInfo": {"features": []}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RecordingServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        content = self._content()
        if self.path.startswith("/graphql"):
            asked = json.loads(content)
            variables = asked.get("variables") or {}
            self._reply({"data": self.server.answer(asked["query"], variables)})
            return
        if self.path.endswith("/file_stream"):
            run = self.server.runs[self.path.split("/")[-2]]
            for name, part in json.loads(content).get("files", {}).items():
                for number, line in enumerate(part["content"], part["offset"]):
                    run.lines[name][number] = line
        self._reply({})

    def do_PUT(self) -> None:
        self.server.files[self.path.lstrip("/")] = self._content()
        self._reply({})

    def do_GET(self) -> None:
        self._reply({})

    def _content(self) -> bytes:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        zipped = self.headers.get("Content-Encoding") == "gzip"
        return gzip.decompress(content) if zipped else content

    def _reply(self, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def recording() -> Iterator[RecordingServer]:
    """Run a server while the block runs."""
    server = RecordingServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sync(server: RecordingServer, folders: list[Path], home: Path) -> None:
    """Send offline runs with `wandb sync`, one after the other, as a user would."""
    for folder in folders:
        result = subprocess.run(
            [sys.executable, "-m", "wandb", "sync", str(folder)],
            env=server.environment(home),
            cwd=home,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stdout + result.stderr
