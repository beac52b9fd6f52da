"""What is kept of responses, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from foundry_cli.errors import InvalidRequestError
from foundry_cli.service.errors import ResponseNotFoundError
from foundry_cli.service.openai.response_store import Conversation, ResponseStore

ITEM_BYTES = 1024


def response(number: int, text: str = "", status: str = "completed") -> dict[str, Any]:
    """A response with one item."""
    item = {"id": f"msg_{number}", "type": "message", "text": text}
    return {"id": f"resp_{number}", "status": status, "output": [item]}


def kept(store: ResponseStore) -> list[str]:
    """The ids of what is stored, oldest first."""
    return [each["id"] for each in store.oldest_first()]


def test_the_oldest_go_first() -> None:
    store = ResponseStore(most=3)
    for number in range(5):
        store.keep(response(number), Conversation())
    assert kept(store) == ["resp_2", "resp_3", "resp_4"]
    with pytest.raises(ResponseNotFoundError):
        store.find("resp_1")


def test_the_bytes_are_bounded() -> None:
    store = ResponseStore(largest=100_000)
    for number in range(200):
        store.keep(response(number, "x" * 9000), Conversation())
        assert len(kept(store)) <= 100_000 // (9000 + ITEM_BYTES)
    assert kept(store)[-1] == "resp_199"
    store.keep(response(200, "x" * 100_000), Conversation())
    assert kept(store) == []
    store.keep(response(201), Conversation())
    assert kept(store) == ["resp_201"]


def test_many_small_items_count_too() -> None:
    store = ResponseStore(largest=100_000)
    items = [{"id": f"msg_{number}", "type": "message"} for number in range(60)]
    store.keep(response(0), Conversation().and_then(items))
    store.keep(response(1), Conversation().and_then(items))
    assert kept(store) == ["resp_1"]


def test_a_conversation_outlives_its_beginning() -> None:
    store = ResponseStore(most=2)
    before = Conversation()
    for number in range(4):
        question = {"id": f"msg_q{number}", "type": "message"}
        conversation = before.and_then([question])
        store.keep(response(number), conversation)
        before = store.find(f"resp_{number}").conversation_after
    assert kept(store) == ["resp_2", "resp_3"]
    assert [item["id"] for item in before.items] == [f"msg_{each}" for each in ("q0", 0, "q1", 1, "q2", 2, "q3", 3)]
    assert store.find_item("msg_0", "id")["type"] == "message"
    store.delete("resp_2")
    store.delete("resp_3")
    with pytest.raises(ResponseNotFoundError):
        store.find_item("msg_0", "id")


def test_a_response_may_come_again() -> None:
    store = ResponseStore()
    store.keep(response(1, "a"), Conversation())
    store.keep(response(1, "b"), Conversation())
    assert store.find_item("msg_1", "id")["text"] == "b"
    store.delete("resp_1")
    with pytest.raises(ResponseNotFoundError):
        store.find_item("msg_1", "id")


def test_cancelling() -> None:
    store = ResponseStore()
    begun, cancelled = response(1, status="in_progress"), response(1, status="cancelled")

    def cancel() -> dict[str, Any]:
        store.keep(cancelled, Conversation())
        return cancelled

    with store.running("resp_1", cancel, lambda: begun) as is_cancelled:
        assert not is_cancelled.is_set()
        assert store.show("resp_1") == begun
        assert store.cancel("resp_1") == cancelled
        assert is_cancelled.is_set()
        assert store.show("resp_1") == cancelled
        assert store.cancel("resp_1") == cancelled
    assert store.cancel("resp_1") == cancelled
    store.keep(response(2), Conversation())
    with pytest.raises(InvalidRequestError, match="it is completed"):
        store.cancel("resp_2")
    with store.running("resp_3", cancel, lambda: begun):
        pass
    with pytest.raises(ResponseNotFoundError):
        store.cancel("resp_3")


def test_the_first_item_with_an_id_is_the_one_that_is_found() -> None:
    store = ResponseStore()
    store.keep(response(1, "true"), Conversation())
    forged = {"id": "msg_1", "type": "message", "text": "forged"}
    store.keep(response(2), Conversation().and_then([forged]))
    store.keep(response(3), store.find("resp_1").conversation_after)
    assert store.find_item("msg_1", "id")["text"] == "true"
    store.delete("resp_1")
    assert store.find_item("msg_1", "id")["text"] == "true"
    store.delete("resp_3")
    assert store.find_item("msg_1", "id")["text"] == "forged"
    store.delete("resp_2")
    with pytest.raises(ResponseNotFoundError):
        store.find_item("msg_1", "id")
