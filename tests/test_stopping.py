"""A first signal is noted, a second one acts, and nothing stays behind."""

import os
import signal

import pytest

from contextual_attention.models.stopping import StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_and_second_signal(number):
    came = []
    before = signal.signal(number, lambda *_: came.append("acted"))
    try:
        with StopRequest() as request:
            assert not request.is_set
            os.kill(os.getpid(), number)
            assert request.is_set
            assert came == []
            os.kill(os.getpid(), number)
            assert came == ["acted"]
    finally:
        signal.signal(number, before)


def test_handlers_come_back():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
