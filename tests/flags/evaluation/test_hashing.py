"""The hash fractions are those of PostHog's SDKs."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.flags.evaluation.hashing import VARIANT_SALT, hash_fraction, pick_variant, variant_ranges
from app.flags.evaluation.rules import EvaluationContext, evaluate, prepare
from app.flags.filters import JsonDict

# Of the Python SDK, versions 2.2.0 and 7.91.1: key, identifier, position, whether a release to 50 % has it, position
# among variants, the variant of two halves, and the variant of 34, 33 and 33 % released to 80 %.
VECTORS: list[tuple[str, str, float, bool, float, str, str | None]] = [
    ("beta-feature", "distinct_id_0", 0.181712290311, True, 0.799007817713, "test", "test_2"),
    ("beta-feature", "distinct_id_1", 0.993334458909, False, 0.819401600958, "test", None),
    ("beta-feature", "distinct_id_2", 0.929336110334, False, 0.256227015307, "control", None),
    ("beta-feature", "distinct_id_3", 0.471250604289, True, 0.788227015449, "test", "test_2"),
    ("beta-feature", "distinct_id_4", 0.568204988945, False, 0.093396455866, "control", "control"),
    ("beta-feature", "distinct_id_5", 0.608206048074, False, 0.784418285410, "test", "test_2"),
    ("beta-feature", "distinct_id_6", 0.973991255341, False, 0.941284430222, "test", None),
    ("beta-feature", "distinct_id_7", 0.172234425127, True, 0.771367963926, "test", "test_2"),
    ("beta-feature", "distinct_id_8", 0.628290125826, False, 0.436950767100, "control", "test_1"),
    ("beta-feature", "distinct_id_9", 0.097871768179, True, 0.267460154092, "control", "control"),
    ("beta-feature", "example_id", 0.209303933458, True, 0.636370333899, "test", "test_1"),
    ("beta-feature", "another_id", 0.965696384004, False, 0.523848426043, "test", None),
    ("beta-feature", "other_id", 0.434558074891, True, 0.061475584485, "control", "control"),
    ("beta-feature", "1", 0.592335045095, False, 0.609119000602, "test", "test_1"),
    ("beta-feature", "2", 0.745364283489, False, 0.900860577645, "test", "test_2"),
    ("beta-feature", "3", 0.912286695073, False, 0.996429610292, "test", None),
    ("beta-feature", "4", 0.180733578343, True, 0.708905093762, "test", "test_2"),
    ("beta-feature", "11", 0.387570810348, True, 0.160890937258, "control", "control"),
    ("beta-feature", "42", 0.612986930582, False, 0.206550856650, "control", "control"),
    ("beta-feature", "user@example.com", 0.720748249311, False, 0.775050042751, "test", "test_2"),
    ("beta-feature", "tim@posthog.com", 0.276166930699, True, 0.707571099102, "test", "test_2"),
    ("beta-feature", "имя", 0.024778271231, True, 0.685989118677, "test", "test_2"),
    ("beta-feature", "🦔", 0.318339744257, True, 0.329880774845, "control", "control"),
    ("beta-feature", "0188a7a0-0000-7000-8000-000000000001", 0.999842394931, False, 0.405465599498, "control", None),
    ("multivariate-flag", "distinct_id_0", 0.502037796131, False, 0.618645453793, "test", "test_1"),
    ("multivariate-flag", "distinct_id_1", 0.318030323173, True, 0.647316515730, "test", "test_1"),
    ("multivariate-flag", "distinct_id_2", 0.356604117043, True, 0.063901062814, "control", "control"),
    ("multivariate-flag", "distinct_id_3", 0.701012555519, False, 0.395430508500, "control", "test_1"),
    ("multivariate-flag", "distinct_id_4", 0.933119198670, False, 0.549291331791, "test", None),
    ("multivariate-flag", "distinct_id_5", 0.207615647364, True, 0.645714666161, "test", "test_1"),
    ("multivariate-flag", "distinct_id_6", 0.183992279924, True, 0.368608981415, "control", "test_1"),
    ("multivariate-flag", "distinct_id_7", 0.751749004492, False, 0.194760828628, "control", "control"),
    ("multivariate-flag", "distinct_id_8", 0.989241855554, False, 0.645635099440, "test", None),
    ("multivariate-flag", "distinct_id_9", 0.873172294021, False, 0.980122289540, "test", None),
    ("multivariate-flag", "example_id", 0.694470250490, False, 0.409986581430, "control", "test_1"),
    ("multivariate-flag", "another_id", 0.222103870602, True, 0.387497112229, "control", "test_1"),
    ("multivariate-flag", "other_id", 0.571803970136, False, 0.941236407582, "test", "test_2"),
    ("multivariate-flag", "1", 0.931928122951, False, 0.405887637951, "control", None),
    ("multivariate-flag", "2", 0.968196912897, False, 0.913955455161, "test", None),
    ("multivariate-flag", "3", 0.772068101227, False, 0.192118983239, "control", "control"),
    ("multivariate-flag", "4", 0.364383259137, True, 0.526218107776, "test", "test_1"),
    ("multivariate-flag", "11", 0.736093309230, False, 0.604361764958, "test", "test_1"),
    ("multivariate-flag", "42", 0.844075339239, False, 0.845642120020, "test", None),
    ("multivariate-flag", "user@example.com", 0.263992006176, True, 0.714075974812, "test", "test_2"),
    ("multivariate-flag", "tim@posthog.com", 0.370084298549, True, 0.441159413362, "control", "test_1"),
    ("multivariate-flag", "имя", 0.868312836804, False, 0.311732311505, "control", None),
    ("multivariate-flag", "🦔", 0.683196015374, False, 0.624398508166, "test", "test_1"),
    ("multivariate-flag", "0188a7a0-0000-7000-8000-000000000001", 0.844734344527, False, 0.737609383163, "test", None),
    ("checkout-experiment", "distinct_id_0", 0.545513252886, False, 0.760475617689, "test", "test_2"),
    ("checkout-experiment", "distinct_id_1", 0.474280714620, True, 0.161764806745, "control", "control"),
    ("checkout-experiment", "distinct_id_2", 0.527439306624, False, 0.319102916428, "control", "control"),
    ("checkout-experiment", "distinct_id_3", 0.958763075235, False, 0.755592163937, "test", None),
    ("checkout-experiment", "distinct_id_4", 0.565483415268, False, 0.870491568693, "test", "test_2"),
    ("checkout-experiment", "distinct_id_5", 0.644122513771, False, 0.053160002084, "control", "control"),
    ("checkout-experiment", "distinct_id_6", 0.666226414681, False, 0.842409816157, "test", "test_2"),
    ("checkout-experiment", "distinct_id_7", 0.115065181575, True, 0.381218217143, "control", "test_1"),
    ("checkout-experiment", "distinct_id_8", 0.975424549302, False, 0.731950551891, "test", None),
    ("checkout-experiment", "distinct_id_9", 0.057211497179, True, 0.670650450645, "test", "test_2"),
    ("checkout-experiment", "example_id", 0.171086608902, True, 0.260307108473, "control", "control"),
    ("checkout-experiment", "another_id", 0.324325235694, True, 0.936932549054, "test", "test_2"),
    ("checkout-experiment", "other_id", 0.666547571496, False, 0.384921944853, "control", "test_1"),
    ("checkout-experiment", "1", 0.255149409398, True, 0.746275591680, "test", "test_2"),
    ("checkout-experiment", "2", 0.452165704699, True, 0.200202303253, "control", "control"),
    ("checkout-experiment", "3", 0.160071357480, True, 0.962912246452, "test", "test_2"),
    ("checkout-experiment", "4", 0.100207407040, True, 0.289165398578, "control", "control"),
    ("checkout-experiment", "11", 0.345422134667, True, 0.765273426139, "test", "test_2"),
    ("checkout-experiment", "42", 0.415619788787, True, 0.895073241269, "test", "test_2"),
    ("checkout-experiment", "user@example.com", 0.541294967279, False, 0.888661317202, "test", "test_2"),
    ("checkout-experiment", "tim@posthog.com", 0.232639355389, True, 0.854365253186, "test", "test_2"),
    ("checkout-experiment", "имя", 0.916774743600, False, 0.963493757461, "test", None),
    ("checkout-experiment", "🦔", 0.329833731567, True, 0.226012268418, "control", "control"),
    (
        "checkout-experiment",
        "0188a7a0-0000-7000-8000-000000000001",
        0.656870027929,
        False,
        0.909856401465,
        "test",
        "test_2",
    ),
]
# Expected by the tests of PostHog's server of 2022.
SERVER = [
    ("beta-feature", (50, 25, 25), "11", "first"),
    ("beta-feature", (50, 25, 25), "example_id", "second"),
    ("beta-feature", (50, 25, 25), "3", "third"),
    ("multivariate-flag", (50, 25, 25), "example_id", "first"),
    ("multivariate-flag", (50, 25, 25), "other_id", "third"),
]
THREE = ("control", 34), ("test_1", 33), ("test_2", 33)

shares = st.lists(st.integers(0, 100), max_size=6).map(
    lambda shares: [(f"v{number}", float(share)) for number, share in enumerate(shares)]
)


def release(percentage: float | None, *variants: tuple[str, float]) -> JsonDict:
    """Return the filters of a flag released to a percentage of all persons."""
    return {
        "groups": [{"properties": [], "rollout_percentage": percentage}],
        "multivariate": {"variants": [{"key": key, "rollout_percentage": share} for key, share in variants]},
    }


@pytest.mark.parametrize(("key", "identifier", "at", "is_on", "variant_at", "of_two", "of_three"), VECTORS)
def test_positions_and_answers_are_those_of_the_sdks(
    *, key: str, identifier: str, at: float, is_on: bool, variant_at: float, of_two: str, of_three: str | None
) -> None:
    def value(filters: JsonDict) -> bool | str:
        return evaluate(prepare(flag_id=1, key=key, filters=filters), EvaluationContext(identifier)).value

    assert hash_fraction(key, identifier) == pytest.approx(at, abs=1e-12)
    assert hash_fraction(key, identifier, VARIANT_SALT) == pytest.approx(variant_at, abs=1e-12)
    assert value(release(50)) is is_on
    assert value(release(100, ("control", 50), ("test", 50))) == of_two
    assert value(release(80, *THREE)) == (of_three or False)


@pytest.mark.parametrize(("key", "split", "identifier", "variant"), SERVER)
def test_variants_are_those_of_the_server(key: str, split: tuple[int, int, int], identifier: str, variant: str) -> None:
    ranges = variant_ranges(zip(("first", "second", "third"), split, strict=True))

    assert pick_variant(key, identifier, ranges) == variant


@given(st.text(), st.text(), st.text())
def test_positions_lie_between_0_and_1(key: str, identifier: str, salt: str) -> None:
    assert 0 <= hash_fraction(key, identifier, salt) <= 1


@given(shares)
def test_ranges_follow_each_other_and_are_as_wide_as_their_shares(shares: list[tuple[str, float]]) -> None:
    ranges = variant_ranges(shares)

    assert [key for key, _, _ in ranges] == [key for key, _ in shares]
    assert [lower for _, lower, _ in ranges] == [0.0, *(upper for _, _, upper in ranges)][: len(ranges)]
    for (_, lower, upper), (_, share) in zip(ranges, shares, strict=True):
        assert upper - lower == pytest.approx(share / 100, abs=1e-12)


@given(st.text(), st.text(), shares)
def test_full_split_covers_everyone_and_more_variants_move_no_one(
    key: str, identifier: str, shares: list[tuple[str, float]]
) -> None:
    full = [*shares, ("rest", 100.0)]

    assert pick_variant(key, identifier, variant_ranges(full)) is not None
    before = pick_variant(key, identifier, variant_ranges(shares))
    assert before in (None, pick_variant(key, identifier, variant_ranges(full)))


def test_shares_of_many_people_are_those_that_were_asked_for() -> None:
    ranges = variant_ranges(THREE)
    people = 10_000

    found = Counter(pick_variant("checkout", f"person-{number}", ranges) for number in range(people))

    for key, share in THREE:  # five standard deviations, and the same people every time
        assert abs(found[key] / people - share / 100) < 5 * (0.25 / people) ** 0.5


@given(st.text(), st.text(), st.floats(0, 100), st.floats(0, 100))
def test_larger_release_covers_a_smaller_one(key: str, identifier: str, one: float, other: float) -> None:
    small, large = sorted((one, other))

    def is_on(percentage: float) -> bool:
        flag = prepare(flag_id=1, key=key, filters=release(percentage))
        return evaluate(flag, EvaluationContext(identifier)).enabled

    assert is_on(small) <= is_on(large)
    assert is_on(100)
