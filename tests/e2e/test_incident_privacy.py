"""Names that somebody gives an alert or a cause are texts like any other: nothing personal or secret stays in them."""

import asyncio
from pathlib import Path
from typing import Any

from tests.sim.world import World, world

MAIL = "carol.jones@example.org"
KEY = "AKIAIOSFODNN7EXAMPLE"
PLAIN = {"service": "checkout", "env": "prod", "source": "alertmanager:gate", "fingerprint": "a8c1f0e5d2b37964"}


async def reported(it: World, **more: Any) -> dict[str, Any]:
    """The incident of one alert, as a person reads it."""
    oncall = await it.person("oncall")
    body = {"title": "it fails", **PLAIN, **more}
    answer = await it.client.post("/v1/incidents", json=body, headers={**oncall, **it.key()})
    assert answer.status_code == 201, answer.text
    read = await it.client.get(f"/v1/incidents/{answer.json()['incident']}", headers=oncall)
    return dict(read.json()["incident"])


def test_what_names_hold_is_kept_nowhere_in_clear_and_one_alert_stays_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            first = await reported(it, service=MAIL, source=MAIL, env=MAIL, fingerprint=f"{KEY} {MAIL}")
            assert not {MAIL, KEY} & {first["service"], first["fingerprint"], first["env"]}
            again = await reported(it, service=MAIL, source=MAIL, env=MAIL, fingerprint=f"{KEY} {MAIL}")
            assert (again["id"], again["alerts"]) == (first["id"], 2)
            other = await reported(it, service=MAIL, source=MAIL, env=MAIL, fingerprint=f"{KEY}")
            assert other["fingerprint"] != first["fingerprint"]
            oncall = await it.person("oncall")
            cause = {"component": MAIL, "fault": KEY}
            for path, said in (
                ("diagnoses", {"cause": cause, "claims": []}),
                ("events", {"kind": "rule_out", "text": "not that", **cause}),
            ):
                answer = await it.client.post(
                    f"/v1/incidents/{first['id']}/{path}", json=said, headers={**oncall, **it.key()}
                )
                assert answer.status_code == 201, answer.text
            told = (await it.client.get(f"/v1/incidents/{first['id']}/postmortem", headers=oncall)).text
            assert MAIL not in told
            assert KEY not in told
        kept = it.everything_stored()
        assert MAIL.encode() not in kept
        assert KEY.encode() not in kept

    asyncio.run(main())


def test_names_that_hold_nothing_stay_as_they_are(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            found = await reported(it)
            assert {name: found[name] for name in ("service", "env", "fingerprint")} == {
                name: PLAIN[name] for name in ("service", "env", "fingerprint")
            }
            assert found["alert"]["source"] == PLAIN["source"]

    asyncio.run(main())
