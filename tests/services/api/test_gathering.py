"""What is written in one turn of the loop goes out together, and nothing of it is lost when a connection closes."""

from __future__ import annotations

from collections.abc import Callable

from services.api.gathering import Gathering


class Wire:
    """What has gone out, call by call."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.closed = False

    def writelines(self, list_of_data: list[bytes]) -> None:
        assert not self.closed
        self.calls.append(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


class Loop:
    """What is to be called once the turn is over."""

    def __init__(self) -> None:
        self._due: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._due.append(callback)

    def end_turn(self) -> None:
        due, self._due = self._due, []
        for callback in due:
            callback()


def test_head_and_body_go_out_by_one_call_and_the_next_turn_by_another() -> None:
    wire, loop = Wire(), Loop()
    gathering = Gathering(wire, loop.call_soon)
    gathering.write(b"head")
    gathering.write(b"body")
    assert wire.calls == []
    loop.end_turn()
    gathering.write(b"more")
    loop.end_turn()
    assert wire.calls == [b"headbody", b"more"]


def test_what_is_written_before_the_end_is_sent_before_it() -> None:
    wire, loop = Wire(), Loop()
    gathering = Gathering(wire, loop.call_soon)
    gathering.write(b"bye")
    gathering.close()
    loop.end_turn()
    assert (wire.calls, gathering.is_closing()) == ([b"bye"], True)
