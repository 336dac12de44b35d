"""Creates two experiments with results in the fuzzer's project, and sets the token of the document's examples.

Usage: seed.py URL KEY DATABASE-FILE
"""

import sqlite3
import sys

import httpx

TOKEN = "phc_3xAmPl3"  # noqa: S105  # a public one
FUNNEL = {"insight": "FUNNELS", "events": [{"id": "$pageview", "order": 0}, {"id": "purchase", "order": 1}]}
TREND = {"insight": "TRENDS", "events": [{"id": "purchase", "order": 0}]}


def main(url: str, key: str, database: str) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE project SET api_token = ?", [TOKEN])
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}) as client:
        for flag, filters in (("first", FUNNEL), ("second", TREND)):
            experiment = {
                "name": flag,
                "feature_flag_key": flag,
                "filters": filters,
                "secondary_metrics": [{"name": "Purchases", "filters": TREND}],
                "start_date": "2022-11-01T00:00:00Z",
                "end_date": "2022-11-03T00:00:00Z",
            }
            client.post("/api/projects/@current/experiments/", json=experiment).raise_for_status()
        batch = [
            {
                "event": name,
                "distinct_id": f"{variant}-{number}",
                "timestamp": f"2022-11-02T{hour}:00:00Z",
                "properties": {"$feature/first": variant, "$feature/second": variant},
            }
            for variant, buyers in (("control", 10), ("test", 15))
            for number in range(100)
            for hour, name in ((10, "$pageview"), (11, "purchase"))
            if name == "$pageview" or number < buyers
        ]
        client.post("/batch/", json={"api_key": TOKEN, "batch": batch}).raise_for_status()


if __name__ == "__main__":
    main(*sys.argv[1:])
