#!/usr/bin/env bash
# A request body may hold NaN, Infinity and 1e999, and a bound such as gt=0 lets infinity through.
#
# What:     FastAPI reads JSON bodies with the standard library's parser, which takes the three; pydantic's float takes them
#           too, and Field(gt=0) holds for infinity. allow_inf_nan=False refuses them, and then the default answer of 422 quotes
#           the number, which cannot be written as JSON: a ValueError, that is 500, unless a handler of one's own leaves it out.
# Versions: fastapi 0.165.0, pydantic 2.14.4, httpx 0.28.1; Python 3.11.
# Guess:    JSON has no NaN or infinity, so a body with one is malformed; a limit that is checked for its sign is a number.
# Seen:     NaN, Infinity and 1e999 answered 200 by the plain model, Infinity and 1e999 by the one with gt=0, none by the
#           strict one, where each raised ValueError while it was refused; 2026-11-29.
# Matters:  a limit in dollars that somebody sets to infinity over HTTP is no limit; a NaN compares false with everything.
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
