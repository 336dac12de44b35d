"""The registry of what holds each limit, and what the cases share."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import httpx
import pytest

from app.common import limits
from app.common.limits import Limit
from app.db.database import Database
from tests.support.inputs.model import Call
from tests.support.service import Json, Service

NAMES = {name: value for name, value in vars(limits).items() if isinstance(value, Limit)}


@dataclass(frozen=True)
class World:
    """What a case may use: a new project, its database and the log."""

    service: Service
    database: Database
    log: pytest.LogCaptureFixture

    async def send(self, call: Call) -> httpx.Response:
        return await self.service.client.request(call.method, call.path, content=call.body, headers=dict(call.headers))

    async def stored(self, name: str) -> int:
        """Return the number of stored events of a name, up to a page of them."""
        return len((await self.service.read("/events/", event=name, limit=limits.PAGE_ITEMS.value))["results"])

    async def person(self, distinct_id: str) -> Json:
        [found] = (await self.service.read("/persons/", distinct_id=distinct_id))["results"]
        return found

    def log_names(self, word: str) -> bool:
        """Tell whether a line of the log names something."""
        return any(word in f"{record.getMessage()} {getattr(record, 'fields', '')}" for record in self.log.records)


Case: TypeAlias = Callable[[World], Awaitable[None]]
CASES: dict[str, list[Case]] = {}
# What the server itself limits, before an application sees it, and what takes time.
OF_THE_SERVER = "operations/test_http_protocol.py"
OF_IMPORTS = "operations/imports/test_imports.py"
OF_WEBHOOKS = "experiments/webhooks/test_webhooks.py"
HELD_ELSEWHERE = {
    "PAYLOADS_BYTES": ("events/capture/test_large_requests.py", "test_large_requests_wait_for_each_other"),
    "BROWSER_SESSIONS": ("pages/test_signing_in.py", "test_number_of_sessions_of_a_user_is_bounded"),
    "SHARE_LINKS": ("pages/test_sharing.py", "test_number_of_links_is_bounded"),
    "IDEMPOTENCY_KEYS": ("http/test_idempotency.py", "test_keys_are_bounded"),
    "IDEMPOTENT_BYTES": ("http/test_idempotency.py", "test_keys_are_bounded"),
    "IMPORTED_LINE_BYTES": ("events/imports/test_lines.py", "test_a_long_line_is_passed_over_by_its_number"),
    "UPLOADED_FILE_BYTES": (OF_IMPORTS, "test_a_file_that_is_not_taken_leaves_nothing_behind"),
    "HEAD_BYTES": (OF_THE_SERVER, "test_server_refuses_head_with_too_many_bytes"),
    "HEADERS": (OF_THE_SERVER, "test_server_refuses_head_with_too_many_headers"),
    "HEAD_SECONDS": (OF_THE_SERVER, "test_server_refuses_head_that_does_not_end_in_time"),
    "WRITE_SECONDS": (OF_THE_SERVER, "test_server_aborts_connection_whose_client_does_not_read"),
    "WRITE_RATE": (OF_THE_SERVER, "test_server_waits_for_client_that_reads_slowly"),
    "LINGER_SECONDS": (OF_THE_SERVER, "test_connection_is_closed_a_while_after_an_early_answer"),
    "REFERRED_COHORTS": (
        "people/cohorts/test_references.py",
        "test_cohort_refers_to_a_number_of_others_directly_or_through_them",
    ),
    "REFRESH_SECONDS": ("operations/maintenance/test_scheduler.py", "test_projects_take_turns"),
    "COUNT_SECONDS": (
        "operations/maintenance/test_scheduler.py",
        "test_metric_that_cannot_be_counted_is_reported_by_health",
    ),
    "UNSTORED_FACTS": (
        "metrics/facts/test_unstored_facts.py",
        "test_facts_beyond_the_room_are_stored_first",
    ),
    "KEPT_COUNT_BYTES": (
        "metrics/counting/test_incremental_distributions.py",
        "test_count_that_is_too_large_to_keep_is_counted_again_each_time",
    ),
    "SEARCHED_ROWS": (
        "people/directory/test_persons.py",
        "test_list_ends_a_page_where_enough_persons_were_tested",
    ),
    "SEARCHED_BYTES": ("events/test_events.py", "test_list_ends_a_page_where_enough_bytes_were_tested"),
    "ERASED_PERSONS": ("operations/maintenance/test_erasure.py", "test_unclear_erasure_is_refused"),
    "FROZEN_PERSONS": ("experiments/phases/test_freezing.py", "test_experiments_that_cannot_be_frozen_are_refused"),
    "ERASURE_SECONDS": (
        "operations/maintenance/test_erasure.py",
        "test_removal_of_events_goes_on_in_the_background",
    ),
    "DEFINITIONS": ("events/definitions/test_definitions.py", "test_definitions_stop_at_a_number_of_names"),
    "EVENT_PROPERTIES": (
        "events/definitions/test_definitions.py",
        "test_definitions_stop_at_a_number_of_properties_of_an_event",
    ),
    "DEFINED_EVENT_BYTES": (
        "events/definitions/test_definitions.py",
        "test_definitions_leave_out_the_properties_of_large_events",
    ),
    "DEFINITIONS_SECONDS": (
        "events/definitions/test_definitions.py",
        "test_list_of_definitions_takes_a_limited_time_and_goes_on",
    ),
    "INSIGHT_POINTS": ("insights/test_insights.py", "test_insight_has_a_limited_number_of_points"),
    "INSIGHT_HOURS": ("insights/test_insights.py", "test_facts_of_an_insight_are_removed_a_day_later"),
    "EXPORTED_PERSONS": ("experiments/test_export.py", "test_file_has_a_limited_number_of_participants"),
    "WEBHOOKS": (OF_WEBHOOKS, "test_project_has_a_number_of_webhooks"),
    "WEBHOOK_URL_CHARACTERS": (OF_WEBHOOKS, "test_webhooks_that_are_not_understood_are_refused"),
    "WEBHOOK_SECONDS": (OF_WEBHOOKS, "test_receiver_that_does_not_answer_does_not_hold_others"),
    "WEBHOOKS_AT_A_TIME": (OF_WEBHOOKS, "test_a_process_delivers_to_a_number_of_webhooks_at_a_time"),
    "WEBHOOK_WAITING": (OF_WEBHOOKS, "test_old_deliveries_are_removed_and_too_many_given_up"),
    "WEBHOOK_DAYS": (OF_WEBHOOKS, "test_old_deliveries_are_removed_and_too_many_given_up"),
    "REFUSED_LINES_BYTES": (OF_IMPORTS, "test_refused_lines_are_kept_up_to_a_size"),
    "FILE_IMPORTS": (OF_IMPORTS, "test_a_project_remembers_a_number_of_imports"),
    "IMPORTED_BATCHES": (OF_IMPORTS, "test_imports_take_turns_and_leave_connections_to_requests"),
    "FREE_DISK_BYTES": (OF_IMPORTS, "test_uploads_leave_a_part_of_the_disk_free"),
    "BODIES_BYTES": ("http/test_body_limits.py", "test_large_bodies_that_arrive_at_once_share_their_memory"),
    "BODIES_WAITING": ("common/test_body_budget.py", "test_only_some_bodies_may_wait"),
    "BODY_RATE": ("http/test_body_limits.py", "test_body_that_arrives_too_slowly_is_refused"),
}


def holds(name: str) -> Callable[[Case], Case]:
    """Register a function that goes just below a limit, and just above it."""

    def register(case: Case) -> Case:
        CASES.setdefault(name, []).append(case)
        return case

    return register


def assert_refused(response: httpx.Response, limit: Limit) -> None:
    """Assert the documented status, code and text."""
    promised = re.search(r"(\d{3}) `(\w+)`", limit.consequence)
    assert promised is not None, limit.consequence
    assert response.status_code == int(promised[1]), (response.status_code, response.text[:300])
    body = response.json()
    assert body["code"] == promised[2], response.text[:300]
    if limit.template:
        assert limit.detail in body["detail"], body["detail"]


def assert_taken(response: httpx.Response) -> None:
    assert response.status_code in {200, 201}, response.text[:300]
