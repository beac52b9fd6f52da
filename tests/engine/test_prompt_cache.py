"""Which context is used again, and that the memory is counted right. One token is one byte here."""

from __future__ import annotations

import pytest

from foundry_cli.engine.prompt_cache import Lease, PromptCache, common_prefix
from foundry_cli.errors import EngineError, InsufficientMemoryError
from tests.engine.fakes import FakeContext


class Memory:
    """Makes contexts and remembers them."""

    def __init__(self, *, is_full: bool = False) -> None:
        self.contexts: list[FakeContext] = []
        self.is_full = is_full

    def create(self, max_length: int) -> FakeContext:
        if self.is_full:
            raise EngineError("no memory")
        self.contexts.append(FakeContext(max_length))
        return self.contexts[-1]


def cache_of(memory: Memory, budget: int = 1 << 20, context_length: int = 4096) -> PromptCache:
    return PromptCache(memory.create, bytes_per_token=1, budget=budget, context_length=context_length)


def take(cache: PromptCache, tokens: list[int], room: int = 10) -> Lease:
    lease = cache.acquire(tokens, room)
    assert lease is not None
    return lease


def use(cache: PromptCache, tokens: list[int], answer: list[int] | None = None) -> Lease:
    """One whole answer: the lease, as it was when it was given."""
    lease = take(cache, tokens)
    lease.context.append([*tokens[lease.cached_tokens :], *(answer or [])])
    cache.release(lease.context, len(tokens))
    return lease


CHAT = list(range(100, 160))


def test_a_first_conversation_is_new() -> None:
    lease = use(cache_of(Memory()), CHAT)
    assert lease.cached_tokens == 0
    assert lease.context.max_length >= len(CHAT) + 10


def test_the_next_turn_continues() -> None:
    cache = cache_of(Memory())
    first = use(cache, CHAT, answer=[1, 2, 3])
    second = use(cache, [*CHAT, 1, 2, 3, 4, 5])
    assert second.context is first.context
    assert second.cached_tokens == len(CHAT) + 3


def test_a_conversation_is_recognised_whatever_became_of_the_answer() -> None:
    """Templates drop thoughts and special tokens of an answer, so its tokens come back as others."""
    cache = cache_of(Memory())
    first = use(cache, CHAT[:20], answer=[1] * 60)
    second = use(cache, [*CHAT[:18], 7, *[2] * 50])
    assert second.context is first.context
    assert second.cached_tokens == 18


def test_of_large_contexts_only_two_are_kept_and_their_memory_is_used_again() -> None:
    memory = Memory()
    cache = PromptCache(memory.create, bytes_per_token=1 << 20, budget=1 << 40, context_length=4096)
    for number in range(5):
        assert use(cache, [number] * 40).cached_tokens == 0
    assert len(memory.contexts) == 2
    assert use(cache, [3] * 40).cached_tokens == 39
    assert use(cache, [4] * 40).cached_tokens == 39


def test_the_last_token_is_always_computed() -> None:
    cache = cache_of(Memory())
    use(cache, CHAT)
    assert use(cache, CHAT).cached_tokens == len(CHAT) - 1


def test_a_repeated_prompt_is_found_behind_a_long_answer() -> None:
    cache = cache_of(Memory())
    use(cache, CHAT, answer=[1] * 300)
    assert use(cache, CHAT).cached_tokens == len(CHAT) - 1


def test_an_edited_turn_goes_back() -> None:
    cache = cache_of(Memory())
    first = use(cache, CHAT)
    second = take(cache, [*CHAT[:50], 7, 7])
    assert second.context is first.context
    assert second.cached_tokens == 50
    assert second.context.tokens == CHAT[:50]


def test_chats_that_share_a_short_beginning_do_not_destroy_each_other() -> None:
    cache = cache_of(Memory())
    system = [1] * 40
    first, second = [*system, *range(100, 200)], [*system, *range(200, 300)]
    assert use(cache, first).context is not use(cache, second).context
    for number in range(3):
        first, second = [*first, number], [*second, number]
        assert use(cache, first).cached_tokens == len(first) - 1
        assert use(cache, second).cached_tokens == len(second) - 1


def test_a_long_common_beginning_is_used() -> None:
    cache = cache_of(Memory())
    use(cache, [*[1] * 400, *CHAT])
    assert use(cache, [*[1] * 400, 5, 6, 7]).cached_tokens == 400


def test_the_best_of_several_is_taken() -> None:
    cache = cache_of(Memory())
    use(cache, [1, 2, 3, 4, 9, 9])
    better = use(cache, [1, 2, 3, 4, 5, 6, 9])
    lease = use(cache, [1, 2, 3, 4, 5, 6, 7])
    assert lease.context is better.context
    assert lease.cached_tokens == 6


def test_a_context_in_use_is_not_given_twice() -> None:
    cache = cache_of(Memory())
    use(cache, CHAT)
    assert take(cache, CHAT).context is not take(cache, CHAT).context


def test_a_context_that_is_too_small_is_replaced_and_given_up() -> None:
    memory = Memory()
    cache = cache_of(memory, budget=5000)
    small = use(cache, CHAT).context
    grown = [*CHAT, *[5] * 600]
    large = use(cache, grown)
    assert large.context is not small
    assert large.cached_tokens == 0
    assert take(cache, CHAT).context is not small


def test_a_context_that_cannot_go_back_is_given_up_without_a_trace() -> None:
    memory = Memory()
    cache = cache_of(memory, budget=600)
    use(cache, CHAT)
    memory.contexts[0].is_broken = True
    lease = take(cache, [*CHAT[:50], 7])
    assert lease.context is memory.contexts[1]
    cache.release(lease.context, len(lease.context.tokens))
    assert take(cache, [8] * 500).context is memory.contexts[2]


def test_an_empty_context_is_not_kept() -> None:
    memory = Memory()
    cache = cache_of(memory, budget=1024)
    leases = [take(cache, [number]) for number in range(2)]
    for lease in leases:
        cache.release(lease.context, len(lease.context.tokens))
    used = [use(cache, [1]), use(cache, [2])]
    assert use(cache, [1]).context is used[0].context
    assert use(cache, [2]).context is used[1].context


def test_kept_contexts_give_way_oldest_first() -> None:
    cache = cache_of(Memory(), budget=3 * 512)
    chats = [[number] * 40 for number in range(3)]
    for chat in (*chats, chats[0]):
        use(cache, chat)
    use(cache, [9] * 40)  # chats[1] is the one used longest ago
    assert use(cache, chats[0]).cached_tokens == 39
    assert use(cache, chats[2]).cached_tokens == 39
    assert use(cache, chats[1]).cached_tokens == 0


def test_a_new_context_that_cannot_be_roomy_leaves_the_kept_ones_alone() -> None:
    memory = Memory()
    cache = cache_of(memory, budget=2000)
    use(cache, CHAT)
    take(cache, [7] * 700)  # 2048 would be roomy, 710 will do
    assert memory.contexts[1].max_length == 710
    assert use(cache, CHAT).cached_tokens == len(CHAT) - 1


def test_no_memory_for_the_moment() -> None:
    cache = cache_of(Memory(), budget=1000)
    lease = take(cache, CHAT)
    assert cache.acquire([7] * 600, 10) is None
    cache.release(lease.context, len(lease.context.tokens))
    assert cache.acquire([7] * 600, 10) is not None


def test_no_memory_ever() -> None:
    with pytest.raises(InsufficientMemoryError, match="2010 tokens"):
        cache_of(Memory(), budget=1000).acquire([7] * 2000, 10)


def test_discarded_memory_can_be_used_again() -> None:
    cache = cache_of(Memory(), budget=600)
    for _ in range(5):
        cache.discard(take(cache, CHAT).context)
    assert take(cache, CHAT).cached_tokens == 0


def test_a_context_that_cannot_be_made_is_not_counted() -> None:
    memory = Memory(is_full=True)
    cache = cache_of(memory, budget=600)
    with pytest.raises(EngineError):
        cache.acquire(CHAT, 10)
    memory.is_full = False
    assert cache.acquire(CHAT, 10) is not None


def test_not_more_than_the_model_can_have() -> None:
    memory = Memory()
    take(cache_of(memory, context_length=700), [1] * 600, room=500)
    assert memory.contexts[0].max_length == 700


@pytest.mark.parametrize("budget", [1 << 20, 1100])
def test_a_sliding_window_fits_into_every_context(budget: int) -> None:
    memory = Memory()
    cache = PromptCache(memory.create, bytes_per_token=1, budget=budget, context_length=4096, least=1024)
    assert take(cache, [1, 2, 3]).context.max_length == 1024


def test_only_so_many_are_kept() -> None:
    memory = Memory()
    cache = cache_of(memory)
    for number in range(20):
        use(cache, [number] * 40)
    hits = [use(cache, [number] * 40).cached_tokens > 0 for number in range(19, -1, -1)]
    assert hits == [True] * 16 + [False] * 4


@pytest.mark.parametrize(
    ("first", "second", "length"),
    [([], [], 0), ([1], [], 0), ([1, 2], [1, 2, 3], 2), ([1, 2, 3], [1, 2], 2), ([1, 2], [1, 3], 1), ([2], [1], 0)],
)
def test_common_prefix(first: list[int], second: list[int], length: int) -> None:
    assert common_prefix(first, second) == length
