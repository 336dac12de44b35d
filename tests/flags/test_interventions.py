"""What is done to a flag for a while is taken back exactly."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.flags.filters import JsonDict
from app.flags.interventions import freeze, hold, is_frozen, release, unfreeze

CONDITION = st.fixed_dictionaries(
    {"key": st.sampled_from(["plan", "id"]), "type": st.sampled_from(["person", "cohort"]), "value": st.integers(1, 3)}
)
GROUP = st.fixed_dictionaries(
    {},
    optional={
        "properties": st.none() | st.lists(CONDITION, max_size=2),
        "rollout_percentage": st.none() | st.integers(0, 100),
        "variant": st.sampled_from([None, "control", "test"]),
    },
)
FILTERS = st.fixed_dictionaries(
    {
        "groups": st.lists(GROUP, max_size=3),
        "multivariate": st.fixed_dictionaries(
            {
                "variants": st.integers(0, 100).map(
                    lambda share: [
                        {"key": "control", "rollout_percentage": share},
                        {"key": "test", "rollout_percentage": 100 - share},
                    ]
                )
            }
        ),
    },
    optional={"payloads": st.just({"test": "1"})},
)


@given(FILTERS)
def test_unfreezing_and_releasing_restore_every_flag(filters: JsonDict) -> None:
    frozen, held = freeze(filters, 9), hold(filters, "control")

    assert is_frozen(frozen, 9)
    assert unfreeze(frozen, 9, filters) == filters
    assert release(held, "control", filters) == filters


@given(FILTERS, GROUP)
def test_what_was_changed_meanwhile_stays(filters: dict[str, Any], added: JsonDict) -> None:
    frozen, held = freeze(filters, 9), hold(filters, "control")

    thawed = unfreeze({**frozen, "groups": [*frozen["groups"], added]}, 9, filters)  # type: ignore[misc]
    released = release({**held, "groups": [added], "payloads": {}}, "control", filters)

    assert len(thawed["groups"]) == len(filters["groups"]) + 1  # type: ignore[arg-type]
    assert '"value": 9' not in str(thawed["groups"]).replace("'", '"')
    kept = filters["groups"] if [added] == held["groups"] else [added]
    assert released == {**filters, "groups": kept, "payloads": {}}
