"""A person who logs in keeps their variants where a flag ensures continuity."""

import pytest

from tests.flags.evaluation.asking import HALVES, ask, create_flag, values
from tests.support.service import Service, event

pytestmark = pytest.mark.one_database

HALF = {"groups": [{"properties": [], "rollout_percentage": 100}], "multivariate": HALVES}
BEFORE, AFTER = "distinct_id_0", "distinct_id_2"  # by their numbers "test" and "control"


async def set_up(service: Service) -> None:
    await create_flag(service, filters=HALF, ensure_experience_continuity=True)
    await service.capture(event("visit", BEFORE))


async def test_identifiers_have_variants_of_their_own_without_continuity(service: Service) -> None:
    await set_up(service)

    assert await values(service, BEFORE) == {"beta-feature": "test"}
    assert await values(service, AFTER) == {"beta-feature": "control"}


async def test_variant_from_before_the_login_is_kept(service: Service) -> None:
    await set_up(service)
    await service.capture(event("$identify", AFTER, properties={"$anon_distinct_id": BEFORE}))

    assert await values(service, AFTER) == {"beta-feature": "control"}  # no request has named the former identifier
    assert await values(service, AFTER, **{"$anon_distinct_id": BEFORE}) == {"beta-feature": "test"}
    assert await values(service, AFTER) == {"beta-feature": "test"}
    assert await values(service, BEFORE) == {"beta-feature": "test"}


async def test_login_may_be_told_before_its_event_has_arrived(service: Service) -> None:
    await set_up(service)

    assert await values(service, AFTER, **{"$anon_distinct_id": BEFORE}) == {"beta-feature": "test"}
    assert await values(service, AFTER) == {"beta-feature": "control"}  # still a stranger
    await service.capture(event("$identify", AFTER, properties={"$anon_distinct_id": BEFORE}))
    assert await values(service, AFTER) == {"beta-feature": "test"}


async def test_first_identifier_that_was_kept_stays(service: Service) -> None:
    await set_up(service)
    await service.capture(event("visit", AFTER))

    await ask(service, distinct_id=AFTER, **{"$anon_distinct_id": BEFORE})
    await ask(service, distinct_id=AFTER, **{"$anon_distinct_id": "distinct_id_4"})

    assert await values(service, AFTER) == {"beta-feature": "test"}


async def test_variant_is_kept_before_any_event_has_arrived(service: Service) -> None:
    await create_flag(service, filters=HALF, ensure_experience_continuity=True)
    before = await values(service, BEFORE, **{"$anon_distinct_id": BEFORE})  # as mobile SDKs name it, always

    during = await values(service, AFTER, **{"$anon_distinct_id": BEFORE})
    await service.capture(event("$identify", AFTER, properties={"$anon_distinct_id": BEFORE}))
    after = await values(service, AFTER, **{"$anon_distinct_id": BEFORE})

    assert before == during == after == {"beta-feature": "test"}
    assert await values(service, AFTER) == {"beta-feature": "test"}  # it is stored by now


async def test_variant_that_was_kept_once_is_kept_through_a_second_login(service: Service) -> None:
    await set_up(service)
    second = "distinct_id_4"  # "control"
    await service.capture(event("visit", AFTER), event("visit", second))
    await ask(service, distinct_id=AFTER, **{"$anon_distinct_id": BEFORE})

    assert await values(service, second, **{"$anon_distinct_id": AFTER}) == {"beta-feature": "test"}
    assert await values(service, second) == {"beta-feature": "test"}


async def test_request_without_a_former_identifier_leaves_no_hash_keys(service: Service) -> None:
    await set_up(service)

    assert await values(service, AFTER) == {"beta-feature": "control"}
    await service.capture(event("$identify", AFTER, properties={"$anon_distinct_id": BEFORE}))
    assert await values(service, AFTER) == {"beta-feature": "control"}


async def test_flags_without_continuity_follow_the_new_identifier(service: Service) -> None:
    await set_up(service)
    await create_flag(service, "checkout-experiment", filters=HALF)
    own = await values(service, AFTER)

    kept = await values(service, AFTER, **{"$anon_distinct_id": BEFORE})

    assert kept == {**own, "beta-feature": "test"}


async def test_flag_that_is_added_later_keeps_the_identifier_given_then(service: Service) -> None:
    await set_up(service)
    await service.capture(event("visit", AFTER))
    await ask(service, distinct_id=AFTER, **{"$anon_distinct_id": BEFORE})
    await create_flag(service, "checkout-experiment", filters=HALF, ensure_experience_continuity=True)
    own = await values(service, AFTER)

    kept = await values(service, AFTER, **{"$anon_distinct_id": "distinct_id_5"})  # "control" by the hash

    assert own == {"beta-feature": "test", "checkout-experiment": "control"}
    assert kept == {"beta-feature": "test", "checkout-experiment": "control"}


async def test_merge_moves_what_was_kept_and_what_the_survivor_has_stays(service: Service) -> None:
    await set_up(service)
    await create_flag(service, "multivariate-flag", filters=HALF, ensure_experience_continuity=True)
    await service.capture(event("visit", "merged"), event("visit", AFTER))
    # The one that will be merged has both flags from ``distinct_id_0``; the survivor has one from another identifier.
    await ask(service, distinct_id="merged", **{"$anon_distinct_id": BEFORE})
    await ask(
        service, distinct_id=AFTER, flag_keys=["beta-feature"], **{"$anon_distinct_id": "distinct_id_4"}
    )  # "control"

    await service.capture(event("$identify", AFTER, properties={"$anon_distinct_id": "merged"}))

    assert await values(service, BEFORE) == {"beta-feature": "test", "multivariate-flag": "test"}
    assert await values(service, AFTER) == {"beta-feature": "control", "multivariate-flag": "test"}
