"""Lets a client of Google Cloud Storage's XML API use fake-gcs-server, which takes uploads by its
JSON API only ("invalid uploadType"): a PUT goes on as a multipart upload with the same condition,
everything else as it is, under the name by which the emulator knows the XML API. The emulator alone
decides whether a condition holds. It lists from the start whatever it is asked, so what a list has
before `start-after` is taken out here.

Arguments: the port to listen at, the emulator's port.
"""

import html
import http.client
import http.server
import json
import re
import sys
import urllib.parse

HOP = {"host", "connection", "content-length", "transfer-encoding", "accept-encoding"}


def behind(item, after):
    key = re.search(rb"<Key>(.*?)</Key>", item)[1].decode()
    return item if html.unescape(key) > after else b""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer in one piece: a head that waits for its acknowledgement costs 40 ms.
    disable_nagle_algorithm = True
    wbufsize = -1

    def go_on(self, method, target, headers, body):
        upstream = http.client.HTTPConnection("127.0.0.1", int(sys.argv[2]), timeout=60)
        upstream.request(method, target, body, headers)
        answer = upstream.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()

    def tell(self, status, headers, body):
        self.send_response(status)
        length = str(len(body))
        for name, value in headers.items():
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in HOP and name.lower() != "date":
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body)

    def relay(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {n: v for n, v in self.headers.items() if n.lower() not in HOP}
        if self.command != "PUT":
            parts = urllib.parse.urlsplit(self.path)
            if not parts.path.startswith("/storage/"):
                headers["Host"] = "storage.googleapis.com"
            status, told, answer = self.go_on(self.command, self.path, headers, body or None)
            after = urllib.parse.parse_qs(parts.query).get("start-after", [""])[0]
            if after and status == 200:
                answer = re.sub(rb"<Contents>.*?</Contents>", lambda m: behind(m[0], after), answer)
            return self.tell(status, told, answer)
        bucket, _, key = self.path.lstrip("/").partition("/")
        query = {"uploadType": "multipart"}
        if condition := self.headers.get("x-goog-if-generation-match"):
            query["ifGenerationMatch"] = condition
        cut = "cut-0b7c2d54f1"
        while cut.encode() in body:
            cut += "x"
        name = json.dumps({"name": urllib.parse.unquote(key)})
        whole = (
            f"--{cut}\r\nContent-Type: application/json\r\n\r\n{name}\r\n"
            f"--{cut}\r\nContent-Type: application/octet-stream\r\n\r\n"
        ).encode() + body + f"\r\n--{cut}--\r\n".encode()
        target = f"/upload/storage/v1/b/{bucket}/o?{urllib.parse.urlencode(query)}"
        kind = {"Content-Type": f"multipart/related; boundary={cut}"}
        status, _, answer = self.go_on("POST", target, kind, whole)
        if status != 200:
            return self.tell(status, {"Content-Type": "application/json"}, answer)
        told = json.loads(answer)
        made = {"ETag": f'"{told["etag"]}"', "x-goog-generation": told["generation"]}
        return self.tell(200, made, b"")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = relay

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
