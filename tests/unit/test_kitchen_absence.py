"""The kitchen's absence: when a waiter asks again, and what it says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from waiter.delivery.absence import MAX_TRY_AGAIN_S, WAITED_FOR_S, KitchenAbsence, UnansweredClaims
from waiter.errors import KitchenError, KitchenUnreachable

AWAY = KitchenUnreachable("No answer.")


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def absence(notes, now) -> KitchenAbsence:
    return KitchenAbsence(notes.append, Path("/spool"), lambda: now[0])


def test_a_kitchen_that_is_there_may_be_asked(absence):
    assert absence.may_ask
    assert absence.since is None


def test_a_kitchen_that_is_away_is_asked_again_once_the_heartbeat_has_heard_of_it(absence, now):
    absence.went_away(AWAY)
    now[0] += 60
    assert not absence.may_ask

    absence.heard_at = now[0]

    assert absence.may_ask


def test_the_wait_before_the_next_question_doubles_up_to_a_bound(absence, now):
    waits = []
    for _ in range(6):
        absence.went_away(AWAY)
        failed_at = now[0]
        absence.heard_at = failed_at + 0.01
        while not absence.may_ask:
            now[0] += 0.125
        waits.append(now[0] - failed_at)

    assert waits == [0.5, 1.0, 2.0, 4.0, MAX_TRY_AGAIN_S, MAX_TRY_AGAIN_S]


def test_an_absence_is_said_once_and_its_end_with_its_length(absence, notes, now):
    absence.went_away(AWAY)
    now[0] += 7
    absence.went_away(AWAY)
    absence.came_back()
    absence.came_back()

    assert notes == [
        "No answer. Commands go on; their outcomes are kept in /spool until it is back.",
        "The kitchen is back after 7 s.",
    ]
    assert absence.since is None


def test_who_goes_home_waits_a_moment_for_a_kitchen_that_is_away(absence, now):
    absence.went_away(AWAY)
    assert absence.is_waited_for

    now[0] += WAITED_FOR_S

    assert not absence.is_waited_for


def test_a_kitchen_that_no_waiting_mends_is_asked_nothing_more(absence, now):
    error = KitchenError("Not yours.")
    absence.lose(error)
    now[0] += 1_000_000
    absence.heard_at = now[0]

    assert (absence.may_ask, absence.is_waited_for, absence.is_final) == (False, False, True)
    assert absence.lost_by is error


def test_a_claim_without_an_answer_is_asked_for_again_after_each_sweep():
    claims = UnansweredClaims()
    claims.ask_again()
    assert not claims.is_question_open

    claims.note()
    assert claims.is_question_open
    claims.answered()
    assert not claims.is_question_open

    claims.ask_again()
    assert claims.is_question_open
