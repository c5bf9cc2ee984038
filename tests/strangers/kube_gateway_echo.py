"""Stands for a cluster's API: a WebSocket that says again what it hears (RFC 6455), and headers for plain requests."""

import base64
import hashlib
import json
import socketserver
import threading

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Echo(socketserver.ThreadingTCPServer):
    """On a free port, in threads of this process; `seen` is (path, headers) of every request."""

    allow_reuse_address = daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Connection)
        self.port = self.server_address[1]
        self.seen = []

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class _Connection(socketserver.StreamRequestHandler):
    def handle(self):
        path = self.rfile.readline().decode().split(" ")[1]
        headers = {}
        while line := self.rfile.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        self.server.seen.append((path, headers))
        if headers.get("upgrade", "").lower() != "websocket":
            body = json.dumps({"path": path, "headers": headers}).encode()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            return
        accept = base64.b64encode(hashlib.sha1(headers["sec-websocket-key"].encode() + MAGIC).digest())
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        self.wfile.write(b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept)
        while (frame := self.rfile.read(2)) and len(frame) == 2:
            length = frame[1] & 0x7F
            if length == 126:
                length = int.from_bytes(self.rfile.read(2), "big")
            mask = self.rfile.read(4)
            payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(length)))
            if frame[0] & 0x0F == 8:
                self.wfile.write(b"\x88\x00")
                return
            head = bytes([frame[0], len(payload)]) if len(payload) < 126 else bytes([frame[0], 126]) + len(payload).to_bytes(2, "big")
            self.wfile.write(head + payload)
