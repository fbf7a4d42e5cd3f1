"""Verifies one POST with the Python libraries. Reads {"secret", "headers", "body"} as JSON; out.mjs runs it."""

import json
import sys

import standardwebhooks.webhooks
import svix.webhooks

given = json.load(sys.stdin)
surprises = checks = 0


def takes(library, body):
    try:
        library.Webhook(given["secret"]).verify(body, given["headers"])
        return True
    except Exception as error:
        if type(error).__name__ != "WebhookVerificationError":
            raise
        return False


for name, library in (("standardwebhooks", standardwebhooks.webhooks), ("svix", svix.webhooks)):
    for what, body, wanted in (("as it came", given["body"], True), ("another body", given["body"].replace("110", "111"), False)):
        checks += 1
        if takes(library, body) is not wanted:
            surprises += 1
            print(f"SURPRISE {name} (Python): {what}", file=sys.stderr)
    print(f"{name} (Python): done")
print(f"{checks} signatures checked in Python, {surprises} surprises")
sys.exit(1 if surprises else 0)
