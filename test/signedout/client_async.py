"""As ../clients/python/client.py, with the asynchronous credentials of azure.identity.aio.

    client_async.py {managed|default} SCOPE [--count N] [--client-id ID]
"""

import argparse
import asyncio
import json
import sys
import time

from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential


def credential(kind, client_id):
    if kind == "managed":
        return ManagedIdentityCredential(client_id=client_id)
    if client_id:
        return DefaultAzureCredential(managed_identity_client_id=client_id)
    return DefaultAzureCredential()


async def run(args):
    for _ in range(args.count):
        try:
            # a new credential each time: its token cache is its own
            async with credential(args.kind, args.client_id) as cred:
                begin = time.perf_counter()
                token = await cred.get_token(args.scope)
                ms = round((time.perf_counter() - begin) * 1000, 3)
        except Exception as err:  # whatever an SDK raises is what the test wants to see
            print(json.dumps({"error": str(err), "type": type(err).__name__}), flush=True)
            return 1
        print(json.dumps({"token": token.token, "expires_on": token.expires_on, "ms": ms}), flush=True)
    return 0


def main():
    parser = argparse.ArgumentParser(prog="client_async.py")
    parser.add_argument("kind", choices=["managed", "default"])
    parser.add_argument("scope")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--client-id")
    args = parser.parse_args()
    if args.count < 1:
        parser.error("--count must be at least 1")
    return asyncio.run(run(args))


if __name__ == "__main__":
    sys.exit(main())
