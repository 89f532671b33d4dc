"""Computes the AWS signature of a request with botocore: a signer that is not ours.

Reads one JSON object from standard input, writes the signature.
"""

import base64
import json
import sys

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

given = json.load(sys.stdin)
request = AWSRequest(
    method=given["method"],
    url=given["url"],
    headers=given["headers"],
    data=base64.b64decode(given["body"]),
)
request.context["timestamp"] = given["headers"]["x-amz-date"]
keys = Credentials(given["id"], given["secret"], given.get("token"))
signer = SigV4Auth(keys, given["service"], given["region"])
canonical = signer.canonical_request(request)
print(signer.signature(signer.string_to_sign(request, canonical), request))
