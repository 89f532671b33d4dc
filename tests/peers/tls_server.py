"""A server that asks for a client certificate and answers an empty remote read; `/token`, a token.

Arguments: certificate, key, authority of clients. Writes its port, then one line a request.
"""

import http.server
import json
import ssl
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        subject = dict(pair[0] for pair in self.connection.getpeercert()["subject"])
        print(json.dumps({"client": subject["commonName"], "host": self.headers["Host"]}), flush=True)
        kind, body = "application/x-streamed-protobuf", b""
        if self.path == "/token":
            token = {"access_token": "by-tls", "token_type": "Bearer", "expires_in": 3600}
            kind, body = "application/json", json.dumps(token).encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
context.load_verify_locations(sys.argv[3])
context.verify_mode = ssl.CERT_REQUIRED
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
