#!/usr/bin/env bash
# A request body may contain NaN, Infinity and 1e999, and a bound such as gt=0 accepts infinity.
#
# Fact:     FastAPI reads JSON bodies with the standard library's parser, which accepts all three; pydantic's float accepts
#           them too, and infinity satisfies Field(gt=0). allow_inf_nan=False rejects them, and then the default response 422
#           quotes the number, which is not valid JSON: a ValueError, that is 500, unless a custom handler leaves it out.
# Versions: fastapi 0.165.0, pydantic 2.14.4, httpx 0.28.1; Python 3.11.
# Expected: JSON has no NaN or infinity, so a body with one is malformed; a limit that passes a check of its sign is a number.
# Observed: the plain model answers NaN, Infinity and 1e999 with 200, the one with gt=0 Infinity and 1e999, the strict one
#           none: each raises ValueError during its rejection; 2026-11-29.
# Impact:   a limit in dollars that a client sets to infinity over HTTP is no limit; a NaN compares false with everything.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check fastapi==0.165.0 pydantic==2.14.4 httpx==0.28.1
"$folder/venv/bin/python" - <<'PY'
import asyncio
import httpx
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

class Plain(BaseModel):
    usd: float
class Positive(BaseModel):
    usd: float = Field(gt=0)
class Strict(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)
    usd: float

app = FastAPI()
@app.post("/plain")
def plain(body: Plain) -> str: return repr(body.usd)
@app.post("/positive")
def positive(body: Positive) -> str: return repr(body.usd)
@app.post("/strict")
def strict(body: Strict) -> str: return repr(body.usd)

async def main() -> None:
    seen = {}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        for path in ("plain", "positive", "strict"):
            for number in ("NaN", "Infinity", "1e999"):
                try:
                    answer = await client.post(f"/{path}", content=f'{{"usd": {number}}}', headers={"content-type": "application/json"})
                    seen[path, number] = answer.status_code
                except ValueError as error:  # a refusal that quotes NaN cannot be written as JSON
                    seen[path, number] = type(error).__name__
    for key, status in seen.items():
        print(*key, status)
    assert [seen["plain", each] for each in ("NaN", "Infinity", "1e999")] == [200, 200, 200]
    assert [seen["positive", each] for each in ("Infinity", "1e999")] == [200, 200]
    assert [seen["strict", each] for each in ("NaN", "Infinity", "1e999")] == ["ValueError"] * 3

asyncio.run(main())
PY
