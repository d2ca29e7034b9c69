"""A Hugging Face hub on localhost that serves one folder to huggingface_hub, and records the requests."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub(folder: Path, repository: str = "someone/model", revisions=(COMMIT, "v1")):
    """Serve `folder` as a repository; yields (address, list of requests: method and file)."""
    requests: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer()

        def do_GET(self):
            self.answer()

        def answer(self):
            owner, _, rest = self.path.partition("/resolve/")
            revision, _, file = rest.partition("/")
            requests.append((self.command, file))
            if owner.strip("/") != repository:
                return self.fail(404, "RepoNotFound", "Repository not found")
            if revision not in revisions:
                return self.fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            if not (folder / file).is_file():
                return self.fail(404, "EntryNotFound", "Entry not found")
            data = (folder / file).read_bytes()
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def fail(self, status, code, message):
            data = json.dumps({"error": message}).encode()
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", message)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
