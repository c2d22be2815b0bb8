"""What is made of a delivery: the genuine one, and others that a receiver must see through."""

import base64
import json
import time
from dataclasses import dataclass

# Bodies beyond this size have one variant only, to save time.
LARGE = 64 * 1024
# How far a timestamp may be from now, in seconds.
TOLERANCE = 300
# Public keys of RFC 8032, section 7.1: somebody else's.
OTHER_KEYS = (
    "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "whpk_PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=",
)

# Profile to the checks that it is put to: a check is one function of the document.
STANDARD = ("standard", "ed25519")
CHECKS = {
    "standard": STANDARD,
    "cloudevents": STANDARD,
    "svix": STANDARD,
    "stripe": ("stripe",),
    "github": ("github",),
    "shopify": ("shopify",),
    "sprusify": ("sprusify",),
    "rebusai": ("rebusai_header", "rebusai_body"),
    "saasquatch": ("saasquatch",),
    "sparkloop": ("sparkloop",),
}
# The header that carries the proof, by check.
PROOF = {
    "stripe": "stripe-signature",
    "github": "x-hub-signature-256",
    "shopify": "x-shopify-hmac-sha256",
    "sprusify": "x-spru-signature",
    "rebusai_header": "x-webhook-signature",
    "saasquatch": "x-hook-signature",
    "sparkloop": "sparkloop-token",
}


@dataclass
class Variant:
    """One message, and what has to be said of it."""

    name: str
    job: dict
    # "ok", or a word that the reason of the refusal must have; libraries have words of their own.
    expected: str
    # Whether libraries are asked as well.
    libraries: bool = True

    def __post_init__(self):
        # ASCII only, so that nobody's idea of a line or of an encoding matters.
        self.line = json.dumps(self.job) + "\n"


def checks(delivery):
    """The checks for a delivery: those of its profile that there is a key for."""
    profile = delivery["profile"]
    if profile not in CHECKS:
        raise SystemExit(f"there is no check for the profile {profile!r}")
    if CHECKS[profile] is not STANDARD:
        need(delivery, [PROOF[check] for check in CHECKS[profile] if check in PROOF])
        return CHECKS[profile]
    need(delivery, [f"{prefix_of(delivery)}-{part}" for part in ("id", "timestamp", "signature")])
    found = []
    secret = delivery.get("secret", "")
    if secret and not secret.startswith("whsk_"):
        found.append("standard")
    if delivery.get("public_key"):
        found.append("ed25519")
    if not found:
        raise SystemExit(f"a delivery of {profile} has neither a secret nor a public key")
    return found


def need(delivery, names):
    """Ends the run when a delivery has not even the headers of its profile."""
    missing = [name for name in names if name not in delivery["headers"]]
    if missing:
        raise SystemExit(f"a delivery of {delivery['profile']} lacks {', '.join(missing)}")


def variants(delivery, check):
    """All variants of a delivery, the genuine one first."""
    job = {
        "check": check,
        "secret": delivery["public_key"] if check == "ed25519" else delivery["secret"],
        "headers": delivery["headers"],
        "body": delivery["body"],
        "now": delivery.get("now", int(time.time())),
    }
    yield Variant("genuine", job, "ok")
    body = job["body"]
    if len(body) > LARGE:
        if check != "sparkloop":
            middle = job | {"body": changed(body, len(body) // 2)}
            yield Variant("middle byte changed", middle, "signature")
        return
    yield Variant("another secret", job | {"secret": another(job["secret"], check)}, "match")
    if check != "sparkloop":
        yield from bodies(job)
    yield from headers(job)
    if check in (*STANDARD, "stripe"):
        yield from times(job)
        yield from versions(job)


def bodies(job):
    """The body changed where it hurts least."""
    body, check = job["body"], job["check"]
    for name, place in (("first", 0), ("middle", len(body) // 2), ("last", len(body) - 1)):
        yield Variant(f"{name} byte changed", job | {"body": changed(body, place)}, "signature")
    yield Variant("line end appended", job | {"body": body + "\n"}, "signature")
    yield Variant("last byte missing", job | {"body": body[:-1]}, "signature")
    if check == "rebusai_body":
        rest = body[: body.rfind(',"signature"')] + "}"
        yield Variant("without its signature", job | {"body": rest}, "")
        yield Variant("nothing", job | {"body": ""}, "")


def headers(job):
    """The proof missing or mangled, which has to be a refusal and not a crash."""
    check, prefix = job["check"], prefix_of(job)
    if check == "rebusai_body":
        return
    proof = PROOF.get(check, f"{prefix}-signature")
    rest = {name: value for name, value in job["headers"].items() if name != proof}
    yield Variant(f"no {proof}", job | {"headers": rest}, "", libraries=False)
    genuine = job["headers"][proof]
    texts = ["", "é", "v1,é v1a,é v1a,AAAA v1", "t=1,v1=é,v1,="]
    # Of several signatures, the others would still be good.
    if " v1" not in genuine and genuine.count(",v1=") < 2:
        texts += [genuine[:-4], "x" + genuine]
    for mangled in texts:
        variant = job | {"headers": rest | {proof: mangled}}
        yield Variant(f"{proof}: {mangled!r}", variant, "", libraries=False)
    if check in STANDARD:
        identifier = {f"{prefix}-id": job["headers"][f"{prefix}-id"] + "0"}
        yield Variant("another id", job | {"headers": job["headers"] | identifier}, "match")


def times(job):
    """Sent at another time than the receiver would accept, or than was signed."""
    sent = sent_at(job)
    yield Variant("at the limit", job | {"now": sent + TOLERANCE}, "ok")
    yield Variant("too old", job | {"now": sent + TOLERANCE + 1}, "timestamp")
    # Stripe's libraries look at the age only.
    early = job | {"now": sent - TOLERANCE - 1}
    yield Variant("too new", early, "timestamp", libraries=job["check"] != "stripe")
    if job["check"] == "stripe":
        proof = job["headers"]["stripe-signature"].replace(f"t={sent}", f"t={sent + 1}")
        moved = {"stripe-signature": proof}
    else:
        moved = {f"{prefix_of(job)}-timestamp": str(sent + 1)}
    yield Variant("timestamp moved", job | {"headers": job["headers"] | moved}, "match")
    for text in ("", "1e9", "é", f"{sent}.0", f" {sent}"):
        if job["check"] == "stripe":
            proof = job["headers"]["stripe-signature"].replace(f"t={sent}", f"t={text}")
            unread = {"stripe-signature": proof}
        else:
            unread = {f"{prefix_of(job)}-timestamp": text}
        variant = job | {"headers": job["headers"] | unread}
        yield Variant(f"timestamp {text!r}", variant, "timestamp", libraries=False)


def versions(job):
    """The genuine signature behind others, as during a rotation, and given out as another kind."""
    if job["check"] == "stripe":
        name = "stripe-signature"
        proof = job["headers"][name]
        many = proof.replace(",v1=", f",v0=00,v1={'0' * 64},v1=", 1)
        renamed = proof.replace(",v1=", ",v0=")
    else:
        name = f"{prefix_of(job)}-signature"
        proof = job["headers"][name]
        many = f"v1,{'A' * 43}= v1a,{'A' * 86}== v2,AAAA {proof}"
        renamed = proof.replace("v1,", "v2,").replace("v1a,", "v2a,")
    yield Variant("among others", job | {"headers": job["headers"] | {name: many}}, "ok")
    other = job | {"headers": job["headers"] | {name: renamed}}
    yield Variant("another version", other, "match")


def prefix_of(message):
    """What the names of the Standard Webhooks headers start with."""
    return "svix" if "svix-signature" in message["headers"] else "webhook"


def sent_at(job):
    """When the message says it was sent, in unix seconds."""
    if job["check"] == "stripe":
        return int(job["headers"]["stripe-signature"].split(",")[0].removeprefix("t="))
    return int(job["headers"][f"{prefix_of(job)}-timestamp"])


def another(secret, check):
    """A well-formed secret that is not this one."""
    if check == "ed25519":
        return OTHER_KEYS[secret == OTHER_KEYS[0]]
    if check == "standard":
        key = bytearray(base64.b64decode(secret.removeprefix("whsec_")))
        key[-1] ^= 1
        return "whsec_" + base64.b64encode(key).decode()
    return chr(ord(secret[0]) ^ 1) + secret[1:]


def changed(body, place):
    """The body with one bit of one byte changed, at the first ASCII character from there on."""
    for at in (*range(place, len(body)), *range(place)):
        if body[at].isascii():
            return body[:at] + chr(ord(body[at]) ^ 1) + body[at + 1 :]
    raise SystemExit("the body has no ASCII character")
