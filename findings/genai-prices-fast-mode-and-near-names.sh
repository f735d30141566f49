#!/usr/bin/env bash
# A price table answers for what it does not know: the fast mode is priced as the standard one, an unknown id as a known one.
#
# What:     a model's price conditions are asked for by a context argument. Without it, and for models that have no fast
#           price, the standard price comes back with nothing to tell it by. Model ids are matched by their beginning: an
#           id that does not exist yet gets the price of the one that its name continues.
# Versions: genai-prices 0.2.3; Python 3.11.
# Guess:    usage that says it was fast is priced as fast; an id that is not in the table is not found.
# Seen:     claude-opus-4-1-something-new found as claude-opus-4-1; claude-haiku-4-5 with speed fast costs what it costs
#           without; 2026-11-29.
# Matters:  limits in dollars hold only as far as the price does. Compare both prices, and say whose price an id takes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check genai-prices==0.2.3
"$folder/venv/bin/python" - <<'PY'
from datetime import UTC, datetime
from genai_prices.data import providers

anthropic = next(provider for provider in providers if provider.id == "anthropic")
found = anthropic.find_model("claude-opus-4-1-something-new")
print("claude-opus-4-1-something-new:", found and found.id)
assert found is not None and found.id == "claude-opus-4-1", found

moment = datetime.now(UTC)
haiku = anthropic.find_model("claude-haiku-4-5")
same = haiku.get_prices(moment, {"speed": "fast"}) == haiku.get_prices(moment)
print("claude-haiku-4-5, fast as standard:", same)
assert same
PY
