"""Runs the Python of docs/verifying.md on jobs, one JSON object a line on stdin.

The folder with the extracted code is the first argument.
"""

import json
import sys

sys.path.insert(0, sys.argv[1])
import webhooks as w  # noqa: E402

CHECKS = {
    "standard": lambda j, b: w.verify_standard(b, j["headers"], j["secret"], j["now"]),
    "ed25519": lambda j, b: w.verify_standard_ed25519(b, j["headers"], j["secret"], j["now"]),
    "stripe": lambda j, b: w.verify_stripe(b, j["headers"], j["secret"], j["now"]),
    "github": lambda j, b: w.verify_github(b, j["headers"], j["secret"]),
    "shopify": lambda j, b: w.verify_shopify(b, j["headers"], j["secret"]),
    "sprusify": lambda j, b: w.verify_sprusify(b, j["headers"], j["secret"]),
    "rebusai_header": lambda j, b: w.verify_rebusai_header(b, j["headers"], j["secret"]),
    "rebusai_body": lambda j, b: w.verify_rebusai_body(b, j["secret"]),
    "saasquatch": lambda j, b: w.verify_saasquatch(b, j["headers"], j["secret"]),
    "sparkloop": lambda j, b: w.verify_sparkloop(j["headers"], j["secret"]),
}

for line in sys.stdin:
    job = json.loads(line)
    try:
        CHECKS[job["check"]](job, job["body"].encode())
        print("ok")
    except w.BadSignature as error:
        print(f"refused: {error}")
    except Exception as error:
        print(f"crashed: {error!r}")
