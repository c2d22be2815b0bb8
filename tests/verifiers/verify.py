"""Verifies captured requests with the official library: one JSON object a line on stdin."""

import json
import sys

from standardwebhooks.webhooks import Webhook

for line in sys.stdin:
    request = json.loads(line)
    data = Webhook(request["secret"]).verify(request["body"], request["headers"])
    assert data["type"] == request["type"], data
    print("verified")
