"""Asks for tokens as any Python program with the Azure SDK does; see ../go/main.go for what it prints.

    client.py {managed|default} SCOPE [--count N] [--client-id ID]
"""

import argparse
import json
import sys
import time

from azure.identity import DefaultAzureCredential, ManagedIdentityCredential


def credential(kind, client_id):
    if kind == "managed":
        return ManagedIdentityCredential(client_id=client_id)
    if client_id:
        return DefaultAzureCredential(managed_identity_client_id=client_id)
    return DefaultAzureCredential()


def main():
    parser = argparse.ArgumentParser(prog="client.py")
    parser.add_argument("kind", choices=["managed", "default"])
    parser.add_argument("scope")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--client-id")
    args = parser.parse_args()
    if args.count < 1:
        parser.error("--count must be at least 1")

    for _ in range(args.count):
        try:
            # a new credential each time: its token cache is its own
            with credential(args.kind, args.client_id) as cred:
                begin = time.perf_counter()
                token = cred.get_token(args.scope)
                ms = round((time.perf_counter() - begin) * 1000, 3)
        except Exception as err:  # whatever an SDK raises is what the test wants to see
            print(json.dumps({"error": str(err), "type": type(err).__name__}), flush=True)
            return 1
        print(json.dumps({"token": token.token, "expires_on": token.expires_on, "ms": ms}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
