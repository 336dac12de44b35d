"""A flag whose evaluation fails, which is a bug, does not affect other flags and is reported as an error."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.flags.evaluation.responses import ResponseMetadata, decide_body, flags_body
from app.flags.evaluation.rules import Evaluation, EvaluationContext, prepare
from app.flags.evaluation.service import evaluate_all

OCCASION = ResponseMetadata("0188a7a0-0000-4000-8000-000000000001", 1_667_300_000_000)


def broken(_properties: Mapping[str, bytes]) -> bool:
    raise RuntimeError("a bug")


async def evaluation() -> Evaluation:
    sound = prepare(flag_id=1, key="sound", filters={"groups": [{}]})
    release = replace(sound.releases[0], matches=broken, keys=frozenset())
    return await evaluate_all(
        [replace(sound, id=2, key="broken", releases=(release,)), sound], EvaluationContext("ann")
    )


async def test_others_are_answered_and_clients_are_told_to_keep_what_they_know() -> None:
    found = await evaluation()

    values = flags_body(1, found, OCCASION, has_flags=True, with_config=False)
    decided = decide_body(3, found, OCCASION, has_flags=True)

    assert values["featureFlags"] == decided["featureFlags"] == {"sound": True}
    assert values["errorsWhileComputingFlags"] is decided["errorsWhileComputingFlags"] is True


async def test_record_of_a_failed_flag_says_so() -> None:
    body = flags_body(2, await evaluation(), OCCASION, has_flags=True, with_config=False)

    records: Any = body["flags"]
    assert body["errorsWhileComputingFlags"] is True
    assert set(records) == {"sound", "broken"}
    assert (records["broken"]["failed"], records["broken"]["enabled"]) == (True, False)
