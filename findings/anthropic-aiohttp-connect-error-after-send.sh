#!/usr/bin/env bash
# With the SDK's aiohttp client, a request that the service has read whole can end in a ConnectError.
#
# Fact:     when the server reads a request and closes the connection without an answer, the default client raises
#           APIConnectionError from RemoteProtocolError. DefaultAioHttpClient raises it from ConnectError, the class of a
#           refused connection: its table maps every aiohttp.ClientConnectionError to that, ServerDisconnectedError too.
# Versions: anthropic 2.14.0 with its extra aiohttp, aiohttp 3.14.5, httpx2 2.16.2; Python 3.11.
# Expected: ConnectError only when no connection was made, so that nothing was sent; both clients alike.
# Observed: after the whole request: RemoteProtocolError by default, ConnectError over aiohttp; refused: ConnectError from
#           both; 2026-11-30.
# Impact:   a ledger that takes ConnectError for a request that was never sent charges nothing for one that may be billed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'anthropic[aiohttp]==2.14.0' aiohttp==3.14.5 httpx2==2.16.2
timeout 60 "$folder/venv/bin/python" - <<'PY'
import asyncio, json, re
import anthropic

read_whole = []

async def read_and_close(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
    read_whole.append(json.loads(await reader.readexactly(length))["max_tokens"])
    writer.close()

async def causes(http_client, port):
    service = anthropic.AsyncAnthropic(
        api_key="none", base_url=f"http://127.0.0.1:{port}", max_retries=0, http_client=http_client
    )
    async with service:
        try:
            await service.messages.create(
                model="claude-opus-5-5", max_tokens=100, messages=[{"role": "user", "content": "a sentence"}]
            )
        except anthropic.APIConnectionError as error:
            below = error.__cause__.__cause__
            return type(error).__name__, type(error.__cause__).__name__, type(below).__name__
    raise AssertionError("no error")

async def main():
    server = await asyncio.start_server(read_and_close, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    seen = {}
    for kind in (anthropic.DefaultAsyncHttpxClient, anthropic.DefaultAioHttpClient):
        seen[kind.__name__, "closed after the whole request"] = await causes(kind(trust_env=False), port)
    server.close()
    await server.wait_closed()
    for kind in (anthropic.DefaultAsyncHttpxClient, anthropic.DefaultAioHttpClient):
        seen[kind.__name__, "refused"] = await causes(kind(trust_env=False), port)
    return seen

seen = asyncio.run(main())
for (client, case), classes in seen.items():
    print(f"{client}, {case}:", " from ".join(classes))
print("requests read whole:", len(read_whole))
assert read_whole == [100, 100]
assert [classes[0] for classes in seen.values()] == ["APIConnectionError"] * 4
assert [classes[1] for classes in seen.values()] == ["RemoteProtocolError", "ConnectError", "ConnectError", "ConnectError"]
PY
