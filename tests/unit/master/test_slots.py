"""One place for a worker: how long the next one has to wait after a death."""

from __future__ import annotations

from mmgr.master.slots import DELAY_MAX_S, YOUNG_S, Slot

NOW = 1000.0


def delays(deaths: int) -> list[float]:
    """How long a slot waits after each of so many early deaths in a row."""
    slot, found = Slot(0), []
    for _ in range(deaths):
        slot.take(7, 1, NOW)
        slot.free(NOW + 1.0)
        found.append(slot.not_before - (NOW + 1.0))
    return found


def after(deaths: int) -> Slot:
    slot = Slot(0)
    for _ in range(deaths):
        slot.take(7, 1, NOW)
        slot.free(NOW + 1.0)
    return slot


def test_the_wait_doubles_from_the_second_early_death_up_to_a_minute() -> None:
    assert delays(11) == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_the_wait_stays_at_a_minute_for_ever() -> None:
    assert delays(3000)[-1] == DELAY_MAX_S


def test_a_worker_that_lived_long_enough_starts_the_count_anew() -> None:
    slot = after(5)
    slot.take(7, 1, NOW)
    slot.free(NOW + YOUNG_S)
    assert (slot.early_deaths, slot.not_before) == (0, NOW + YOUNG_S)


def test_a_worker_that_was_told_to_end_starts_the_count_anew() -> None:
    slot = after(5)
    slot.take(7, 1, NOW)
    slot.tell(NOW + 1.0)
    slot.free(NOW + 2.0)
    assert (slot.early_deaths, slot.not_before) == (0, NOW + 2.0)


def test_a_freed_slot_has_no_process() -> None:
    assert after(1).pid == 0


def test_a_taken_slot_has_forgotten_what_the_last_worker_was_told() -> None:
    slot = Slot(0)
    slot.take(7, 1, NOW)
    slot.tell(NOW)
    slot.kill()
    slot.free(NOW)
    slot.take(8, 2, NOW + 1.0)
    expected = (8, 2, NOW + 1.0, 0.0, False)
    assert (slot.pid, slot.generation, slot.started, slot.told_at, slot.is_killed) == expected


def test_workers_are_numbered_from_1() -> None:
    assert Slot(0).number == 1
