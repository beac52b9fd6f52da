"""`/v1/responses`: what it answers, what it keeps of that, and what goes wrong."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.engine.request import ReasoningChunk, TextChunk, TokenText, ToolCallChunk
from foundry_cli.errors import ContextLengthError, EngineDiedError, InvalidRequestError
from tests.service.local import JSON, MODEL, LocalService, local_service
from tests.service.responding import PATH, Speaker, created, end, respond, streamed, told, valid, valid_list
from tests.service.test_chat import Endless, _failing

HELLO = (TextChunk("Hel"), TextChunk("lo"), end())
EVERYTHING = (
    ReasoningChunk("I "),
    ReasoningChunk("think"),
    TextChunk("I look. "),
    ToolCallChunk(0, "call_a", "look", ""),
    ToolCallChunk(0, arguments='{"at":'),
    ToolCallChunk(0, arguments='"it"}'),
    ToolCallChunk(1, "call_b", "wait", "{}"),
    end("tool_calls"),
)
TOOLS = [{"type": "function", "name": name, "parameters": {"type": "object"}, "strict": None} for name in ("look", "wait")]


def _kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def _without_ids(value: Any) -> Any:
    """`value` without what is different each time."""
    if isinstance(value, dict):
        return {name: _without_ids(each) for name, each in value.items() if name not in ("id", "created_at", "completed_at")}
    return [_without_ids(each) for each in value] if isinstance(value, list) else value


def test_a_whole_response(tmp_path: Path) -> None:
    with local_service(tmp_path, Speaker(HELLO)) as local:
        response = created(local, instructions="Be kind.", metadata={"a": "b"}, max_output_tokens=9, user="me")
        assert (response["status"], response["model"], response["output_text"]) == ("completed", MODEL, "Hello")
        (message,) = response["output"]
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": "Hello"}
        assert (message["role"], message["status"], message["content"]) == ("assistant", "completed", [part])
        assert response["usage"] == {
            "input_tokens": 7,
            "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 12,
        }
        assert (response["instructions"], response["metadata"], response["max_output_tokens"]) == ("Be kind.", {"a": "b"}, 9)
        assert (response["store"], response["engine"], response["error"]) == (True, "fake", None)


def test_a_stream(tmp_path: Path) -> None:
    with local_service(tmp_path, Speaker(HELLO)) as local:
        events = streamed(local)
        assert _kinds(events) == [
            "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
            "output_text.done", "content_part.done", "output_item.done", "completed",
        ]  # fmt: skip
        first, last = events[0]["response"], events[-1]["response"]
        assert (first["status"], first["output"], first["usage"]) == ("in_progress", [], None)
        assert valid(local.get(f"{PATH}/{first['id']}")[2]) == last
        assert [event["delta"] for event in events if "delta" in event] == ["Hel", "lo"]


def test_thoughts_for_who_asks_for_a_summary(tmp_path: Path) -> None:
    with local_service(tmp_path, Speaker(EVERYTHING)) as local:
        asked: dict[str, Any] = {"tools": TOOLS, "reasoning": {"summary": "auto"}}
        whole, events = created(local, **asked), streamed(local, **asked)
        assert _kinds(events)[2:8] == [
            "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
            "reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.done",
        ]  # fmt: skip
        final = events[-1]["response"]
        assert _without_ids(final) == _without_ids(whole)
        assert final["reasoning"]["summary"] == "auto"
        assert (final["output"][0]["summary"], final["output"][0]["content"]) == (
            [{"type": "summary_text", "text": "I think"}],
            [],
        )


def test_thoughts_and_calls(tmp_path: Path) -> None:
    with local_service(tmp_path, Speaker(EVERYTHING)) as local:
        whole, events = created(local, tools=TOOLS), streamed(local, tools=TOOLS)
        assert _kinds(events)[2:-1] == [
            "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta", "reasoning_text.done",
            "content_part.done", "output_item.done",
            "output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done",
            "output_item.done",
            "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
            "function_call_arguments.done", "output_item.done",
            "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        ]  # fmt: skip
        final = events[-1]["response"]
        assert _without_ids(final) == _without_ids(whole)
        thought, message, look, wait = final["output"]
        assert (thought["summary"], thought["content"]) == ([], [{"type": "reasoning_text", "text": "I think"}])
        assert message["content"][0]["text"] == final["output_text"] == "I look. "
        assert (look["call_id"], look["name"], look["arguments"]) == ("call_a", "look", '{"at":"it"}')
        assert (wait["call_id"], wait["name"], wait["arguments"]) == ("call_b", "wait", "{}")
        added = [event["item"] for event in events if event["type"] == "response.output_item.added"]
        done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        assert [item["status"] for item in added] == ["in_progress"] * 4
        assert done == final["output"]
        for event in events[2:-1]:
            assert event.get("item_id", event.get("item", {}).get("id")) == done[event["output_index"]]["id"]


def test_an_empty_list_is_not_told_that_it_is_no_text(local: LocalService) -> None:
    status, _, answer = local.send("POST", PATH, json.dumps({"model": MODEL, "input": []}).encode(), JSON)
    assert (status, answer["error"]["param"]) == (400, "input")
    assert "at least 1 item" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("answer", "items"),
    [
        ((TextChunk("Hel"), end("length")), ["message"]),
        ((ReasoningChunk("Hm"), end("length")), ["reasoning"]),
        ((end("length"),), []),
        ((ToolCallChunk(0, "call_a", "look", '{"at'), end("length")), ["function_call"]),
    ],
)
def test_a_response_that_was_cut_off(tmp_path: Path, answer: Any, items: list[str]) -> None:
    with local_service(tmp_path, Speaker(answer)) as local:
        whole, events = created(local, tools=TOOLS), streamed(local, tools=TOOLS)
        assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
        assert [(item["type"], item["status"]) for item in whole["output"]] == [(item, "incomplete") for item in items]
        assert events[-1]["type"] == "response.incomplete"
        assert _without_ids(events[-1]["response"]) == _without_ids(whole)


@pytest.mark.parametrize("thoughts", [(), (ReasoningChunk("Hm"),)])
def test_an_answer_without_a_text_is_an_empty_message(tmp_path: Path, thoughts: Any) -> None:
    with local_service(tmp_path, Speaker((*thoughts, end()))) as local:
        whole, events = created(local), streamed(local)
        assert whole["output"][-1]["content"][0]["text"] == ""
        assert (whole["status"], whole["output_text"]) == ("completed", "")
        assert _without_ids(events[-1]["response"]) == _without_ids(whole)


@pytest.mark.parametrize("fields", [{"include": ["message.output_text.logprobs"]}, {"top_logprobs": 1}])
def test_log_probabilities(tmp_path: Path, fields: dict[str, Any]) -> None:
    top = (TokenText("Hi", b"Hi", -0.5), TokenText("", None, -1.0))[: fields.get("top_logprobs", 0)]
    speaker = Speaker(
        (TextChunk("Hi", 1, (TokenText("Hi", b"Hi", -0.5, top),)), TextChunk("!", 1, (TokenText("", None, -1.0),)), end())
    )
    with local_service(tmp_path, speaker) as local:
        whole, events = created(local, **fields), streamed(local, **fields)
        tokens = whole["output"][0]["content"][0]["logprobs"]
        assert [(token["token"], token["bytes"], len(token["top_logprobs"])) for token in tokens] == [
            ("Hi", [72, 105], len(top)),
            ("", [], 0),
        ]
        assert [event["logprobs"] for event in events if event["type"] == "response.output_text.delta"] == [
            tokens[:1],
            tokens[1:],
        ]
        (done,) = [event for event in events if event["type"] == "response.output_text.done"]
        assert done["logprobs"] == tokens
        assert [request.logprobs for request in speaker.requests] == [fields.get("top_logprobs", 0)] * 2


def test_a_conversation_goes_on(tmp_path: Path) -> None:
    speaker = Speaker(EVERYTHING, HELLO)
    with local_service(tmp_path, speaker) as local:
        first = created(local, "Look!", instructions="Be quick.", tools=TOOLS)
        results = [{"type": "function_call_output", "call_id": f"call_{name}", "output": name.upper()} for name in "ab"]
        second = created(local, results, previous_response_id=first["id"], instructions="Be slow.")
        third = streamed(local, "Thanks.", previous_response_id=second["id"])[-1]["response"]
        functions = [{"name": "look", "arguments": {"at": "it"}}, {"name": "wait", "arguments": {}}]
        calls = [
            {"id": f"call_{name}", "type": "function", "function": each} for name, each in zip("ab", functions, strict=True)
        ]
        said = [
            {"role": "user", "content": "Look!"},
            {"role": "assistant", "content": "I look. ", "reasoning_content": "I think", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "call_a", "content": "A", "name": "look"},
            {"role": "tool", "tool_call_id": "call_b", "content": "B", "name": "wait"},
        ]
        assert list(speaker.requests[1].messages) == [{"role": "system", "content": "Be slow."}, *said]
        hello = {"role": "assistant", "content": "Hello"}
        assert list(speaker.requests[2].messages) == [*said, hello, {"role": "user", "content": "Thanks."}]
        assert (second["previous_response_id"], third["previous_response_id"]) == (first["id"], second["id"])
        page = local.get(f"{PATH}/{third['id']}/input_items?order=asc")[2]
        assert [item["type"] for item in page["data"]] == [
            "message", "reasoning", "message", "function_call", "function_call", "function_call_output",
            "function_call_output", "message", "message",
        ]  # fmt: skip
        assert valid_list(page)[1:5] == [item["id"] for item in first["output"]]


def test_a_call_that_was_cut_off_is_not_told_to_the_model(tmp_path: Path) -> None:
    speaker = Speaker((TextChunk("Wait"), ToolCallChunk(0, "call_a", "look", '{"at'), end("length")), HELLO)
    with local_service(tmp_path, speaker) as local:
        first = created(local, tools=TOOLS)
        created(local, "And?", previous_response_id=first["id"])
        assert [message["content"] for message in speaker.requests[1].messages] == ["Hi", "Wait", "And?"]
        result = [{"type": "function_call_output", "call_id": "call_a", "output": "x"}]
        status, _, answer = respond(local, result, previous_response_id=first["id"])
        assert (status, answer["error"]["param"]) == (400, "input[0].call_id")


def test_items_can_be_named(tmp_path: Path) -> None:
    speaker = Speaker(EVERYTHING, HELLO)
    with local_service(tmp_path, speaker) as local:
        thought, _, look, _ = created(local, "Look!", tools=TOOLS)["output"]
        references = [{"type": "item_reference", "id": thought["id"]}, {"id": look["id"]}]
        result = {"type": "function_call_output", "call_id": "call_a", "output": [{"type": "input_text", "text": "A"}]}
        created(local, [{"role": "user", "content": "Look!"}, *references, result])
        assert [message["role"] for message in speaker.requests[1].messages] == ["user", "assistant", "tool"]
        assert speaker.requests[1].messages[1]["reasoning_content"] == "I think"
        status, _, answer = respond(local, [{"type": "item_reference", "id": "msg_nothing"}])
        error = answer["error"]
        assert (status, error["code"], error["param"]) == (404, "response_not_found", "input[0].id")


def test_what_is_kept(local: LocalService) -> None:
    kept, other = created(local), created(local, store=False)
    assert (kept["store"], other["store"]) == (True, False)
    assert local.get(f"{PATH}/{kept['id']}")[2] == kept
    assert local.get(f"{PATH}/{other['id']}")[0] == 404
    other = streamed(local, store=False)[-1]["response"]
    assert local.get(f"{PATH}/{other['id']}")[0] == 404
    assert local.get(f"{PATH}/{kept['id']}", "DELETE")[2] == {"id": kept["id"], "object": "response", "deleted": True}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")],
)
def test_a_response_that_is_not_there(local: LocalService, method: str, path: str) -> None:
    gone = created(local)["id"]
    local.get(f"{PATH}/{gone}", "DELETE")
    for identity in (gone, "resp_never"):
        status, _, answer = local.send(method, f"{PATH}/{identity}{path}", b"" if method == "POST" else None, JSON)
        error = answer["error"]
        assert (status, error["type"], error["code"], error["param"]) == (
            404, "invalid_request_error", "response_not_found", "id",
        )  # fmt: skip
        assert error["message"].startswith(f"The response '{identity}' does not exist.")
    status, _, answer = respond(local, previous_response_id=gone)
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (404, "response_not_found", "previous_response_id")


def test_lists_come_in_pages(tmp_path: Path) -> None:
    with local_service(tmp_path) as local:
        assert local.get(PATH)[2] == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
        made = [created(local, f"Hi {number}")["id"] for number in range(3)]
        page = local.get(f"{PATH}?limit=2")[2]
        assert ([each["id"] for each in page["data"]], page["has_more"]) == ([made[2], made[1]], True)
        page = local.get(f"{PATH}?limit=2&after={page['last_id']}")[2]
        assert ([each["id"] for each in page["data"]], page["has_more"]) == ([made[0]], False)
        items = [{"role": "user", "content": text, "id": f"msg_{text}"} for text in "abc"]
        path = f"{PATH}/{created(local, items)['id']}/input_items"
        assert valid_list(local.get(path)[2]) == ["msg_c", "msg_b", "msg_a"]
        assert valid_list(local.get(f"{path}?order=asc&after=msg_a&limit=1")[2]) == ["msg_b"]
        wrong = ["limit=0", "limit=101", "limit=x", "order=up", "after=msg_d", "include=everything"]
        for query in wrong:
            status, _, answer = local.get(f"{path}?{query}")
            assert (status, answer["error"]["param"]) == (400, query.split("=")[0])


def test_a_stored_response_is_not_streamed(local: LocalService) -> None:
    identity = created(local)["id"]
    status, _, answer = local.get(f"{PATH}/{identity}?stream=true")
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "unsupported_parameter", "stream")
    assert local.get(f"{PATH}/{identity}?stream=false&include[]=message.output_text.logprobs")[0] == 200


def test_ignored_fields_are_named(local: LocalService) -> None:
    for stream in (False, True):
        headers = respond(local, stream=stream, mirostat=1)[1]
        assert headers["x-foundry-ignored-fields"] == "mirostat"


def test_errors_before_the_first_token_name_the_fields_of_this_interface(tmp_path: Path) -> None:
    failures = [
        (ContextLengthError("Too long: 7 of 5.", param="messages"), "input", "Too long: 7 of 5."),
        (InvalidRequestError("response_format: no.", param="response_format"), "text.format", "text.format: no."),
    ]
    for number, (error, param, message) in enumerate(failures):
        with local_service(tmp_path / str(number), _failing(error)) as local:
            for stream in (False, True):
                status, _, answer = respond(local, stream=stream)
                assert (status, answer["error"]["param"], answer["error"]["message"]) == (400, param, message)
            assert local.get(PATH)[2]["data"] == []


@pytest.mark.parametrize("error", [EngineDiedError("It ended."), ZeroDivisionError("a secret")])
def test_errors_in_the_middle_of_a_stream(tmp_path: Path, error: Exception) -> None:
    with local_service(tmp_path, _failing(error, "Hel", "lo")) as local:
        *_, item, last = streamed(local)
        assert (item["type"], item["item"]["status"], last["type"]) == (
            "response.output_item.done",
            "incomplete",
            "response.failed",
        )
        response = last["response"]
        assert (response["status"], response["error"]["code"], response["output_text"]) == ("failed", "server_error", "Hello")
        assert response["error"]["message"].startswith("It ended." if isinstance(error, EngineDiedError) else "Internal error ")
        assert local.get(f"{PATH}/{response['id']}")[2] == response


def _open(local: LocalService, **fields: Any) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse, dict[str, Any]]:
    """A stream that has begun, and the response that it tells of."""
    connection = local.connect()
    connection.request("POST", PATH, json.dumps({"model": MODEL, "input": "Hi", "stream": True, **fields}), JSON)
    answer = connection.getresponse()
    assert answer.readline() == b"event: response.created\n"
    return connection, answer, json.loads(answer.readline().removeprefix(b"data: "))["response"]


def _cancel(local: LocalService, identity: str) -> tuple[int, Any]:
    status, _, answer = local.send("POST", f"{PATH}/{identity}/cancel", b"", JSON)
    return status, answer


def test_a_stream_is_cancelled(tmp_path: Path) -> None:
    endless = Endless("Hel", "lo")
    with local_service(tmp_path, endless) as local:
        connection, answer, response = _open(local)
        assert endless.has_begun.wait(20)
        assert local.get(f"{PATH}/{response['id']}")[::2] == (200, response)  # as it was when it began
        status, cancelled = _cancel(local, response["id"])
        assert (status, valid(cancelled)["status"], cancelled["usage"]) == (200, "cancelled", None)
        assert endless.is_cancelled.wait(20)
        rest = answer.read()
        last = json.loads(rest.split(b"data: ")[-2])
        assert (last["type"], last["response"]) == ("response.incomplete", cancelled)
        assert rest.endswith(b"data: [DONE]\n\n")
        assert _cancel(local, response["id"]) == (200, cancelled)
        assert local.get(f"{PATH}/{response['id']}")[2] == cancelled
        connection.close()


def test_what_has_ended_cannot_be_cancelled(local: LocalService) -> None:
    identity = created(local)["id"]
    status, answer = _cancel(local, identity)
    assert (status, answer["error"]["param"]) == (400, "id")
    assert local.get(f"{PATH}/{identity}")[2]["status"] == "completed"


def test_a_client_that_leaves_ends_its_response(tmp_path: Path) -> None:
    endless = Endless("Hel")
    with local_service(tmp_path, endless) as local:
        connection, answer, response = _open(local)
        assert endless.has_begun.wait(20)
        answer.close()
        connection.close()
        assert endless.is_cancelled.wait(20)
        assert _cancel(local, response["id"])[0] == 404
        assert local.get(PATH)[2]["data"] == []


def test_a_stop_ends_a_stream_honestly(tmp_path: Path) -> None:
    endless = Endless("Hel", "lo")
    with local_service(tmp_path, endless, drain_seconds=1) as local:
        connection = local.connect()
        connection.request("POST", PATH, json.dumps({"model": MODEL, "input": "Hi", "stream": True}), JSON)
        answer = connection.getresponse()
        assert endless.has_begun.wait(20)
        local.server.should_exit = True
        events = told(answer.read())
        assert (events[-1]["type"], events[-1]["response"]["output_text"]) == ("response.failed", "Hello")
        assert "shutting down" in events[-1]["response"]["error"]["message"]
        connection.close()
