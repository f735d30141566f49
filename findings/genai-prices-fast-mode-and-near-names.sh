#!/usr/bin/env bash
# A price table has prices for unknown cases: the fast mode costs as the standard one, an unknown id as a known one.
#
# Fact:     a context argument selects a model's price conditions. Without it, and for models that have no fast price, the
#           standard price is returned without any sign of that. Model ids are matched by prefix: an id that does not
#           exist yet gets the price of the id that is its prefix.
# Versions: genai-prices 0.2.3; Python 3.11.
# Expected: usage in fast mode is priced as fast; an id that is not in the table is not found.
# Observed: claude-opus-4-1-something-new found as claude-opus-4-1; claude-haiku-4-5 with speed fast costs what it costs
#           without; 2026-11-29.
# Impact:   limits in dollars are only as valid as the price. Compare both prices, and name the id whose price is used.
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
