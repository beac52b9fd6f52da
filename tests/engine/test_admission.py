"""How many requests one model takes at once, and when those that are refused shall come again."""

from __future__ import annotations

import pytest

from foundry_cli.engine.admission import Admission, retry_seconds
from foundry_cli.errors import QueueFullError


@pytest.mark.parametrize(
    ("durations", "seconds"), [((), None), ((0.0,), 1), ((0.1, 0.2), 1), ((1.0, 2.2), 2), ((30.0, 31.0), 31), ((600.0,), 60)]
)
def test_when_to_come_again(durations: tuple[float, ...], seconds: int | None) -> None:
    assert retry_seconds(durations) == seconds


def refusal(admission: Admission, *, background: bool) -> int | None:
    """Fill the queue; what is said then."""
    for _ in range(36 if background else 72):
        admission.enter(running=8, is_background=background)
    with pytest.raises(QueueFullError) as caught:
        admission.enter(running=8, is_background=background)
    return caught.value.retry_seconds


def test_each_kind_is_told_what_its_own_requests_took() -> None:
    admission = Admission("a:1")
    for background, seconds in ((True, 40.0), (False, 2.0)):
        admission.enter(running=8, is_background=background)
        admission.leave(is_background=background, seconds=seconds)
    assert refusal(admission, background=True) == 40
    assert refusal(admission, background=False) == 2


def test_failures_leave_a_place_and_no_time() -> None:
    admission = Admission("a:1")
    for _ in range(200):
        admission.enter(running=8, is_background=False)
        admission.leave(is_background=False, seconds=None)
    assert admission.users == 0
    assert refusal(admission, background=False) is None
