import threading

import pytest

from clip_core.threads import map_ahead


def test_results_come_in_order_however_long_each_takes():
    second_is_done = threading.Event()

    def second_first(number):
        if number == 0:
            second_is_done.wait(60)
        if number == 1:
            second_is_done.set()
        return number**2

    assert list(map_ahead(second_first, range(7), limit=5, workers=3)) == [number**2 for number in range(7)]


def test_no_more_is_begun_than_the_limit_ahead():
    numbers = iter(range(20))
    found = map_ahead(str, numbers, limit=3, workers=2)
    assert next(found) == "0"
    assert next(numbers) == 3
    found.close()


def test_an_error_is_raised_in_its_place_and_ends_the_rest():
    begun = []

    def fail_at_two(number):
        begun.append(number)
        return [][0] if number == 2 else number

    found = map_ahead(fail_at_two, iter(range(4)), limit=2, workers=1)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(IndexError):
        next(found)
    assert begun[:3] == [0, 1, 2]


def test_where_no_thread_can_be_started_the_calls_are_made_here(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert list(map_ahead(str, range(5), limit=2)) == ["0", "1", "2", "3", "4"]
