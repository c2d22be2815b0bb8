"""Runs a platform's own Python library on jobs, one JSON object a line on stdin.

The library is the first argument.
"""

import datetime
import json
import sys
import time

import standardwebhooks.webhooks
import stripe
import svix.webhooks

now = 0


class Clock(datetime.datetime):
    """What the libraries take for the clock, so that a job can have its own time."""

    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(now, tz)


standardwebhooks.webhooks.datetime = Clock
time.time = lambda: now
# Stripe's library makes objects of what it has verified, calling itself at each level.
sys.setrecursionlimit(10_000)

LIBRARIES = {
    "standardwebhooks": lambda job: standardwebhooks.webhooks.Webhook(job["secret"]).verify(
        job["body"].encode(), job["headers"]
    ),
    "svix": lambda job: svix.webhooks.Webhook(job["secret"]).verify(
        job["body"].encode(), job["headers"]
    ),
    "stripe": lambda job: stripe.Webhook.construct_event(
        job["body"].encode(), job["headers"]["stripe-signature"], job["secret"]
    ),
}

verify = LIBRARIES[sys.argv[1]]
for line in sys.stdin:
    job = json.loads(line)
    now = job["now"]
    try:
        verify(job)
        print("ok")
    except Exception as error:
        print(f"refused: {error!r}".replace("\n", " "))
