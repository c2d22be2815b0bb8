"""Makes deliveries of awkward payloads, signed by an implementation that is not outboxd's.

Prints one JSON object a line, as `check.py` reads them. Needs the package `cryptography`.
"""

import base64
import hashlib
import hmac
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NOW = 1705761007
CREATED = 1705761000
ID = "evt_0190c0de7a11b0bca7"
TYPE = "commission.approved"
TEXT_SECRETS = ["correct horse battery staple", "pässwörd ☕", "k" * 200, "whsec_as/of+Stripe=="]
KEYS = ["whsec_" + base64.b64encode(bytes(range(n, 2 * n))).decode() for n in (24, 32, 48, 64)]
PAIR = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_KEY = "whpk_" + base64.b64encode(
    PAIR.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
).decode()


def payloads():
    """JSON texts by name; all but the last few are objects."""
    planes = "".join(chr(plane * 0x10000 + low) for plane in range(17) for low in (0x2615, 0xFFFD))
    return {
        "empty object": "{}",
        "spaces": ' {\t"a" :\r\n [ 1 , 2.50 , 1e5 ]\n} ',
        "deep": '{"a":' * 500 + "[[{}]]" + "}" * 500,
        "1 MB": json.dumps({"text": "0123456789abcdef" * 65000}),
        "planes": json.dumps({"text": planes}, ensure_ascii=False),
        "escaped planes": json.dumps({"text": planes}),
        "half a surrogate pair": '{"text":"\\ud800","nul":"\\u0000"}',
        "line separators": '{"text":"\u2028\u2029\u0085\u007f\u00a0\ufeff"}',
        "quotes": json.dumps({'"': "\\\"\\\\' & </script> %s ${x} #{x} $x\n\t/"}),
        "signature inside": '{"signature":"sha256=' + "0" * 64 + '","x":{"a":1,"signature":"sha256='
        + "f" * 64 + '"}}',
        "same name twice": '{"a":1,"a":2,"":null}',
        "numbers": '{"n":[0.1,85.50,-0,1E400,123456789012345678901234567890]}',
        "empty array": "[]",
        "array": '[1,"zwei",null,{"signature":"sha256="}]',
        "text": '"caf\\u00e9 ☕"',
        "null": "null",
    }


def mac(key, message, algorithm="sha256"):
    return hmac.new(key, message.encode(), algorithm)


def base64_of(digest):
    return base64.b64encode(digest).decode()


def standard(body, prefix, keys, pair=None):
    """The headers of Standard Webhooks, every key signing."""
    signed = f"{ID}.{NOW}.{body}"
    signatures = [
        "v1," + base64_of(mac(base64.b64decode(key[len("whsec_") :]), signed).digest())
        for key in keys
    ]
    if pair:
        signatures.append("v1a," + base64_of(pair.sign(signed.encode())))
    # Every profile sends the id, whatever else it sends.
    return {
        "webhook-id": ID,
        f"{prefix}-id": ID,
        f"{prefix}-timestamp": str(NOW),
        f"{prefix}-signature": " ".join(signatures),
    }


def of_standard(payload):
    """The profiles that sign as Standard Webhooks does, with one key, several, and a key pair."""
    body = f'{{"type":"{TYPE}","timestamp":"2024-01-20T14:30:00.000Z","data":{payload}}}'
    event = f'{{"specversion":"1.0","id":"{ID}","type":"{TYPE}","source":"/","data":{payload}}}'
    for profile, prefix, text in (
        ("standard", "webhook", body),
        ("svix", "svix", body),
        ("cloudevents", "webhook", event),
    ):
        for key in KEYS if len(text) < 4096 else KEYS[:1]:
            headers = standard(text, prefix, [key])
            yield profile, {"secret": key}, headers, text
        headers = standard(text, prefix, KEYS, PAIR)
        yield profile, {"secret": KEYS[-1], "public_key": PUBLIC_KEY}, headers, text
        yield profile, {"public_key": PUBLIC_KEY}, standard(text, prefix, [], PAIR), text


def of_text_secret(payload, secret):
    """The profiles whose key is the text of the secret."""
    key = secret.encode()
    owner = {"secret": secret}
    digest = mac(key, payload)
    yield "sprusify", owner, {"x-spru-signature": digest.hexdigest()}, payload
    yield "github", owner, {"x-hub-signature-256": "sha256=" + digest.hexdigest()}, payload
    yield "shopify", owner, {"x-shopify-hmac-sha256": base64_of(digest.digest())}, payload

    unsigned = f'{{"event":"{TYPE}","timestamp":{CREATED},"data":{payload}}}'
    member = f',"signature":"sha256={mac(key, unsigned).hexdigest()}"}}'
    body = unsigned[:-1] + member
    yield "rebusai", owner, {"x-webhook-signature": "sha256=" + mac(key, body).hexdigest()}, body

    body = (
        f'{{"id":"{ID}","type":"{TYPE}","tenantAlias":"acme","live":true,'
        f'"created":{CREATED}123,"data":{payload}}}'
    )
    digest = mac(key, body, hashlib.sha1).digest()
    yield "saasquatch", owner, {"x-hook-signature": base64_of(digest)}, body

    body = (
        f'{{"id":"{ID}","object":"event","created":{CREATED},"livemode":true,"type":"{TYPE}",'
        f'"data":{{"object":{payload}}}}}'
    )
    older = "an older secret"
    signatures = [mac(text.encode(), f"{NOW}.{body}").hexdigest() for text in (secret, older)]
    yield "stripe", owner, {"stripe-signature": f"t={NOW},v1={signatures[0]}"}, body
    header = {"stripe-signature": f"t={NOW},v1={signatures[0]},v1={signatures[1]}"}
    yield "stripe", owner, header, body
    yield "stripe", {"secret": older}, header, body

    if payload.startswith("{"):
        comma = "" if payload == "{}" else ","
        body = f'{{"type":"{TYPE}"{comma}{payload[1:]}'
        yield "sparkloop", owner, {"sparkloop-token": secret}, body


def deliveries():
    for payload in payloads().values():
        yield from of_standard(payload)
        for secret in TEXT_SECRETS if len(payload) < 4096 else TEXT_SECRETS[:1]:
            yield from of_text_secret(payload, secret)


if __name__ == "__main__":
    for profile, owner, headers, body in deliveries():
        delivery = {"profile": profile, **owner, "headers": headers, "body": body, "now": NOW}
        print(json.dumps(delivery))
