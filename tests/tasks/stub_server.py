"""A server on this machine that behaves as it is told: it fails, stays silent, or answers something else."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, str]
Behaviour = Callable[[str, str], Answer | None]  # of method and path; None: it says nothing until it ends


@contextmanager
def stub_server(behave: Behaviour) -> Iterator[str]:
    """Its address, for the length of a `with` block."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found = behave(self.command, self.path)
            if found is None:
                ended.wait(90)
                return
            status, body = found
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if body.startswith("{") else "text/html")
            self.send_header("Content-Length", str(len(body)))
            if status in (429, 503):
                self.send_header("Retry-After", "3600")
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = do_PUT = do_PATCH = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


def healthy(answer: Answer | None) -> Behaviour:
    """A server that is well, and answers everything else in one way."""
    return lambda _, path: (200, "OK") if path == "/health" else answer


def error(status: int, code: str, message: str) -> Answer:
    """An error as MLflow's server words it."""
    return status, json.dumps({"error_code": code, "message": message})
