"""One connection to the API server that stays open: a request has no handshake in it."""

import http.client
import json
import ssl
import threading
import time

from world import Wrong


class Api:
    def __init__(self, plane):
        tls = ssl.create_default_context(cafile=plane.path("pki", "ca.crt"))
        tls.load_cert_chain(plane.path("pki", "admin.crt"), plane.path("pki", "admin.key"))
        port = plane.ports["apiserver"]
        self.connection = http.client.HTTPSConnection(plane.host(), port, timeout=30, context=tls)

    def call(self, method, path, body=None):
        """The answer; an error of the server is Wrong."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        try:
            text = None if body is None else json.dumps(body)
            self.connection.request(method, path, text, {"Content-Type": kind})
            answer = self.connection.getresponse()
            status, text = answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            raise Wrong(f"{method} {path}: {error}") from None
        if status not in (200, 201):
            raise Wrong(f"{method} {path}: {status} {text[:300]}")
        return json.loads(text)


class Slices:
    """Every slice that was written since it began: (when it was seen, its namespace, its Service, its version)."""

    def __init__(self, plane):
        self.seen = []
        self.connection = Api(plane).connection
        self.connection.timeout = None
        path = "/apis/discovery.k8s.io/v1/endpointslices?watch=true&resourceVersion=0"
        self.connection.request("GET", path)
        self.stream = self.connection.getresponse()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.stream:
            now, meta = time.monotonic(), json.loads(line)["object"]["metadata"]
            service = meta["labels"]["kubernetes.io/service-name"]
            self.seen.append((now, meta["namespace"], service, int(meta["resourceVersion"])))

    def versions(self, since, namespace, service):
        """Of the slice of a Service, in order."""
        return [one[3] for one in self.seen if one[0] >= since and one[1:3] == (namespace, service)]
