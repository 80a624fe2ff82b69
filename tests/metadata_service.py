"""The metadata service of an EC2 instance, as far as a spot machine asks it: a token, and whether it is taken back.

`python metadata_service.py FILE` serves it where instances have it, to a host of the tests: taken back is who has FILE.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOKEN = "a-token"
ADDRESS = "169.254.169.254"


class MetadataService:
    """Answers as an instance's service does: 404 until there is a notice, and nothing without a token."""

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 0), notice: Path | None = None) -> None:
        self.has_notice = False
        self.asked: list[str] = []
        metadata = self

        class Answers(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                metadata.asked.append(self.path)
                self.answer(200, TOKEN)

            def do_GET(self) -> None:
                metadata.asked.append(self.path)
                is_going = metadata.has_notice or (notice is not None and notice.exists())
                if self.headers["X-aws-ec2-metadata-token"] != TOKEN:
                    self.answer(401, "")
                elif not is_going or self.path != "/latest/meta-data/spot/instance-action":
                    self.answer(404, "")
                else:
                    self.answer(200, '{"action": "terminate", "time": "2026-11-25T02:00:00Z"}')

            def answer(self, status: int, said: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(address, Answers)
        self.url = f"http://{address[0]}:{self.server.server_port}"


if __name__ == "__main__":
    MetadataService((ADDRESS, 80), Path(sys.argv[1])).server.serve_forever()
