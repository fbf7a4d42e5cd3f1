"""Posts what the Python libraries sign to a running Tidemill. Usage: post.py <base URL>; run.mjs sets the secrets."""

import datetime
import json
import os
import sys
import urllib.error
import urllib.request
import uuid

import standardwebhooks.webhooks
import svix.webhooks

BASE, SECRET, OTHER = sys.argv[1], os.environ["STANDARD_SECRET"], os.environ["OTHER_SECRET"]
surprises = checks = 0


def post(headers, body):
    request = urllib.request.Request(f"{BASE}/webhooks/standard", data=body.encode(), headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request) as reply:
            return f"{reply.status} {json.load(reply)['status']}"
    except urllib.error.HTTPError as error:
        return str(error.code)


def expect(what, got, wanted):
    global surprises, checks
    checks += 1
    if got != wanted:
        surprises += 1
        print(f"SURPRISE {what}: {got} instead of {wanted}", file=sys.stderr)


for library, prefix in ((standardwebhooks.webhooks, "webhook"), (svix.webhooks, "svix")):

    def sign(secret, seconds):
        at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
        signature = library.Webhook(secret).sign(msg_id=identity, timestamp=at, data=body)
        stamp = str(int(at.timestamp()))
        return {f"{prefix}-id": identity, f"{prefix}-timestamp": stamp, f"{prefix}-signature": signature}

    name, identity = f"{prefix} (Python)", f"msg_{uuid.uuid4().hex}"
    body = json.dumps({"type": "invoice.paid", "note": "é", "amount": 110}, ensure_ascii=False)
    good = sign(SECRET, 0)
    expect(f"{name}: good", post(good, body), "200 accepted")
    expect(f"{name}: again", post(good, body), "200 duplicate")
    expect(f"{name}: another body", post(good, body.replace("110", "111")), "401")
    expect(f"{name}: another secret", post(sign(OTHER, 0), body), "401")
    expect(f"{name}: too old", post(sign(SECRET, -400), body), "401")
    expect(f"{name}: too early", post(sign(SECRET, 400), body), "401")
    print(f"{name}: done")

print(f"{checks} answers checked in Python, {surprises} surprises")
sys.exit(1 if surprises else 0)
