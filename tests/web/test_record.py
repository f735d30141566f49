"""Who may read the record of a submission, and what of it."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Site

pytestmark = pytest.mark.anyio
RECORD = "/api/v1/campaigns/k3v9qd/submissions/14/record"


async def ask(site: Site, path: str = RECORD, headers: dict[str, str] | None = None, **options: str) -> Any:
    async with site.client(**options) as client:
        return await client.get(path, headers=headers or {})


async def test_the_operator_reads_all_of_it(site: Site) -> None:
    answer = await ask(site, headers=site.operator)
    assert answer.status_code == 200
    found = answer.json()
    assert found["submission"]["number"] == 14
    assert len(found["runs"]) == 6
    for run in found["runs"]:
        assert isinstance(run["seed"], int)
        assert isinstance(run["split_seed"], int)
        assert run["output_digest"] == "f" * 64
        assert run["drawn_at"] is not None
    assert found["happenings"][0]["kind"] == "submission_received"


async def test_a_viewer_reads_it_without_what_was_drawn(site: Site) -> None:
    assert (await ask(site)).status_code == 401
    found = (await ask(site, headers=site.viewer)).json()
    assert len(found["runs"]) == 6
    assert {(run["seed"], run["split_seed"], run["output_digest"]) for run in found["runs"]} == {(None, None, None)}
    assert found["estimates"][0]["phase"] == "measure"


@pytest.mark.parametrize("name", ["r1", "r2", "r3", "r4"])
async def test_no_researcher_reads_it_not_even_of_its_own(site: Site, name: str) -> None:
    answer = await ask(site, headers=site.researcher(name))
    assert answer.status_code == 403
    assert "runs" not in answer.json()


async def test_an_unknown_token_is_refused(site: Site) -> None:
    assert (await ask(site, headers={"Authorization": "Bearer nonsense"})).status_code == 401


async def test_beyond_loopback_only_the_operator_reads_it(site: Site) -> None:
    assert (await ask(site, host="0.0.0.0")).status_code == 401
    assert (await ask(site, headers=site.researcher("r1"), host="0.0.0.0")).status_code in (401, 403)
    assert (await ask(site, headers=site.operator, host="0.0.0.0")).status_code == 200


async def test_there_is_none_of_what_was_not_handed_in(site: Site) -> None:
    assert (await ask(site, RECORD.replace("/14/", "/99/"), site.viewer)).status_code == 404
