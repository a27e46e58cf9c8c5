"""The bridge's side against a scripted worker, and against the worker's own over a bad channel."""

from __future__ import annotations

import pytest
from hypothesis import settings

from brushcast.wire.link import (
    LOCAL_TIMES,
    REMOTE_TIMES,
    ClientState,
    Connected,
    Faulted,
    FrameRefused,
    Lost,
    Refused,
    Result,
    StateAcknowledged,
    StatusReceived,
)
from brushcast.wire.messages import (
    Fault,
    Flags,
    Hello,
    Kind,
    Pong,
    WorkerStatus,
)
from tests.plugin.wire.both_sides import BothSides
from tests.plugin.wire.samples import PICTURE, state, welcome
from tests.plugin.wire.script import MS, Script


def losses(script: Script) -> list[Lost]:
    return [event for event in script.link.events() if isinstance(event, Lost)]


# Connecting


def test_every_connection_says_the_whole_state_and_is_ready_when_it_is_acknowledged() -> None:
    script = Script(revision=7, prompt="a fox")
    script.link.start(script.now)
    (message,) = script.sent()
    assert isinstance(message.body, Hello)
    assert message.body.state == state(7, prompt="a fox")
    assert script.link.wanted_epoch == message.header.epoch == 1
    assert not script.frame()
    script.say(Kind.WELCOME, welcome(revision=6))
    assert not script.link.ready
    script.say(Kind.WELCOME, welcome(revision=7))
    assert script.link.events() == [Connected(1, welcome(revision=7)), StateAcknowledged(7)]
    assert script.link.credit == 4


def test_a_second_welcome_changes_nothing() -> None:
    script = Script().connect()
    script.frame()
    script.link.events()
    script.say(Kind.WELCOME, welcome(credit_frames=200, revision=1))
    assert script.link.events() == []
    assert script.link.credit == 3
    assert script.link.dropped == {"unexpected": 1}


def test_a_state_set_before_the_welcome_is_sent_right_after_it() -> None:
    script = Script()
    script.link.start(script.now)
    script.link.set_state(state(2, seed=8), script.now)
    script.connect()
    (message,) = script.sent()
    assert message.header.kind is Kind.SET
    assert message.body == state(2, seed=8)


def test_the_latest_state_is_replayed_after_reconnecting() -> None:
    script = Script().connect()
    script.link.set_state(state(2), script.now)
    script.link.socket_lost("reset", script.now)
    script.link.set_state(state(3, prompt="newest"), script.now)
    script.connect()
    assert script.link.acknowledged_revision == 3
    assert script.link.epoch == 2
    assert script.link.connections == 2


def test_backing_off_grows_to_its_limit_with_full_jitter_and_never_ends() -> None:
    for times in (LOCAL_TIMES, REMOTE_TIMES):
        script = Script(times=times)
        script.link.start(script.now)
        delays_ms = []
        for _ in range(300):
            script.link.socket_lost("refused", script.now)
            before = script.now
            while script.link.state is ClientState.WAITING:
                script.now = script.link.next_wakeup_ns(script.now)
                script.link.tick(script.now)
            delays_ms.append((script.now - before) / MS)
        assert delays_ms[0] <= 100
        assert max(delays_ms) <= times.backoff_limit_ms
        late = delays_ms[20:]
        assert 0.4 < sum(late) / len(late) / times.backoff_limit_ms < 0.6
        assert min(late) < 0.1 * times.backoff_limit_ms
        assert min(delays_ms) >= 20


def test_a_worker_that_welcomes_and_breaks_off_is_still_backed_off_from() -> None:
    script = Script()
    times_ms = []
    for _ in range(40):
        script.connect()
        times_ms.append(script.now / MS)
        script.link.socket_lost("too large a message", script.now)
    assert times_ms[-1] - times_ms[-11] > 4000  # ten attempts
    script.connect()
    script.wait(2500, alive=True)
    script.link.socket_lost("reset", script.now)
    before = script.now
    script.connect()
    assert script.now - before <= 110 * MS  # it had been stable


def test_a_worker_that_does_not_answer_is_tried_again() -> None:
    script = Script()
    script.link.start(script.now)
    script.wait(1500)
    (lost,) = losses(script)
    assert lost == Lost("the worker does not answer", (), was_ready=False)
    script.wait(200)
    assert script.link.wanted_epoch == 2


# Credit


def test_frames_need_credit_and_results_and_refusals_give_it_back() -> None:
    script = Script().connect(credit_frames=2)
    assert script.frame()
    assert script.frame()
    assert not script.frame()
    assert [message.header.seq for message in script.sent()] == [0, 1]
    script.result(0, flags=Flags.REUSED)
    script.result(1, flags=Flags.REFUSED)
    assert script.link.credit == 2
    result, refused = script.link.events()[-2:]
    assert isinstance(result, Result)
    assert result.payload == PICTURE
    assert result.header.flags == Flags.REUSED
    assert refused == FrameRefused(1, 1)


def test_a_result_that_nobody_waits_for_changes_nothing() -> None:
    script = Script().connect().warm()
    script.frame()
    script.result(99)
    script.result(0)  # a second time
    script.result(1, epoch=script.link.epoch + 1)
    script.result(1, session=12345)
    assert script.link.events() == []
    assert script.link.dropped == {"unknown_seq": 2, "other_epoch": 2}
    script.result(1, captured_ns=77)
    assert script.link.dropped["wrong_echo"] == 1
    assert script.link.credit == 4


def test_frames_of_another_size_than_the_state_are_not_sent() -> None:
    script = Script().connect()
    script.link.set_state(state(2, width=8), script.now)
    assert not script.frame()
    assert script.link.dropped == {"wrong_size": 1}


def test_what_was_on_its_way_is_named_when_the_connection_is_lost() -> None:
    script = Script().connect()
    for _ in range(3):
        script.frame()
    script.result(0)
    script.link.socket_lost("reset", script.now)
    assert losses(script) == [Lost("reset", (1, 2), was_ready=True)]
    assert script.link.credit == 0
    script.connect()
    assert script.link.credit == 4


# Life signs


def test_pings_four_times_a_second_and_their_round_trip() -> None:
    script = Script().connect().warm()
    script.wait(10)
    script.sent()
    pings = []
    for _ in range(300):
        script.wait(10)
        for message in script.sent():
            pings.append(message.header.captured_ns)
            pong = Pong(revision=1, status=WorkerStatus(engine_fps=24.0))
            script.now += 3 * MS
            script.say(Kind.PONG, pong, captured_ns=message.header.captured_ns)
    assert len(pings) == 12
    for event in script.link.events():
        assert isinstance(event, StatusReceived)
        assert event.status == WorkerStatus(engine_fps=24.0)
        assert 3 * MS <= event.round_trip_ns <= 13 * MS


def test_an_idle_worker_that_falls_silent_is_noticed_within_four_seconds() -> None:
    script = Script().connect()
    script.wait(10_000, alive=True)
    assert script.link.ready
    script.wait(3900)
    assert "silent" in losses(script)[0].reason
    assert not script.link.ready


def test_a_hung_worker_that_answers_pings_is_noticed_within_a_second_while_frames_flow() -> None:
    script = Script().connect(credit_frames=8).warm()
    hung_ns = script.now
    while script.link.ready:
        script.frame()
        script.wait(33, alive=True)
    (lost,) = losses(script)
    assert lost.hung
    assert "no progress" in lost.reason
    assert script.now - hung_ns < 1000 * MS


def test_the_first_chunk_may_take_longer_and_so_may_the_first_of_a_new_look() -> None:
    script = Script().connect(credit_frames=2)
    script.frame()
    script.frame()
    script.wait(4900, alive=True)
    assert script.link.ready
    script.result(0)
    script.result(1)
    script.link.set_state(state(2, prompt="another look"), script.now)
    script.frame()
    script.frame()
    script.wait(4900, alive=True)
    assert script.link.ready
    script.wait(200, alive=True)
    assert losses(script)[0].hung


def test_a_slow_worker_is_not_a_dead_one() -> None:
    script = Script().connect(credit_frames=2).warm()
    pong = Pong(revision=1, status=WorkerStatus(step_ms=900.0))
    script.say(Kind.PONG, pong)
    script.frame()
    script.frame()
    script.wait(2600, alive=True)
    assert script.link.ready
    script.wait(200, alive=True)
    assert losses(script)[0].hung


def test_a_worker_may_wait_for_the_rest_of_a_chunk() -> None:
    script = Script().connect(credit_frames=4).warm()
    script.frame()
    script.wait(20_000, alive=True)
    assert script.link.ready


def test_refusals_alone_are_no_progress() -> None:
    script = Script().connect(credit_frames=2).warm()
    script.frame()
    for _ in range(40):
        if script.link.ready:
            script.frame()
            script.result(script.seq - 2, flags=Flags.REFUSED)
            script.wait(33, alive=True)
    assert losses(script)[0].hung


def test_after_refusals_and_a_pause_the_worker_has_its_full_time_again() -> None:
    script = Script().connect(credit_frames=2).warm()
    script.frame()
    script.frame()
    script.result(script.seq - 2, flags=Flags.REFUSED)
    script.wait(30_000, alive=True)
    script.frame()
    script.wait(500, alive=True)
    assert script.link.ready


def test_a_lossless_stream_has_a_minute_and_its_end_is_waited_for() -> None:
    script = Script(lossless=True).connect(credit_frames=4).warm()
    script.frame(end=True)
    assert script.sent()[-1].header.flags == Flags.END
    script.wait(59_000, alive=True)
    assert script.link.ready
    script.wait(1100, alive=True)
    assert losses(script)[0].seqs == (1,)


# Refusals, rubbish, the end


def test_another_version_is_refused_within_one_message_and_not_hammered() -> None:
    script = Script()
    script.link.start(script.now)
    script.link.receive([b"BRSH\x02\x00 of the future", b""], script.now)
    assert script.link.state is ClientState.REFUSED
    (refused,) = script.link.events()
    assert isinstance(refused, Refused)
    assert "speaks protocol 2.0, this side 1." in refused.message == script.link.refusal
    script.wait(29_000)
    assert script.link.epoch == 1
    script.link.reconnect(script.now)
    assert script.link.wanted_epoch == 2


def test_a_fatal_fault_refuses_and_another_is_told() -> None:
    script = Script().connect()
    script.say(Kind.FAULT, Fault(code="prompt", message="unknown words", fatal=False))
    assert script.link.events()[-1] == Faulted("prompt", "unknown words")
    script.frame()
    script.say(Kind.FAULT, Fault(code="busy", message="4 streams already", fatal=True), epoch=0)
    assert script.link.ready  # of another epoch
    script.say(
        Kind.FAULT, Fault(code="busy", message="4 streams already", fatal=True), epoch=0, session=0
    )
    assert script.link.events()[-1] == Refused("4 streams already", (0,))
    assert script.link.wanted_epoch is None


def test_rubbish_is_counted_and_is_no_sign_of_life() -> None:
    script = Script().connect()
    for _ in range(31):
        script.wait(99)
        script.link.receive([b"rubbish"], script.now)
    assert script.link.dropped["malformed"] >= 30
    assert not script.link.ready


def test_a_worker_that_says_goodbye_is_left_at_once() -> None:
    script = Script().connect()
    script.say(Kind.BYE)
    assert losses(script)[0].was_ready


def test_a_lost_state_is_sent_again() -> None:
    script = Script().connect().warm()
    script.link.set_state(state(2), script.now)
    script.wait(1100)
    kinds = [message.header.kind for message in script.sent()]
    script.say(Kind.PONG, Pong(revision=1, status=WorkerStatus()), captured_ns=script.now)
    assert kinds[-1] is Kind.PING
    assert [message.body for message in script.sent()] == [state(2)]


def test_close_says_goodbye_and_stops_for_good() -> None:
    script = Script().connect()
    script.sent()
    script.link.close(script.now)
    assert [message.header.kind for message in script.sent()] == [Kind.BYE]
    script.link.reconnect(script.now)
    script.wait(60_000)
    assert script.link.state is ClientState.CLOSED
    assert script.link.wanted_epoch is None


def test_our_own_mistakes_are_loud() -> None:
    script = Script().connect()
    with pytest.raises(AssertionError):
        script.link.set_state(state(1), script.now)
    script.frame(end=True)
    with pytest.raises(AssertionError):
        script.frame()


TestBothSides = BothSides.TestCase
TestBothSides.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


# A network between


def test_fewer_may_be_on_their_way_than_the_worker_grants() -> None:
    script = Script().connect(credit_frames=4)
    script.link.limit(2, script.now)
    assert script.frame()
    assert script.frame()
    assert not script.frame()
    script.link.limit(1, script.now)
    assert script.link.credit == 0, "never below nothing"
    script.link.limit(100, script.now)
    assert script.link.credit == 2


def test_a_worker_that_hangs_is_noticed_though_the_limit_fell_after_the_last_frame() -> None:
    script = Script().connect(credit_frames=4).warm()
    script.link.events()
    script.frame()
    script.link.limit(1, script.now)
    for _ in range(40):
        script.now += 100 * MS
        script.say(Kind.PONG, Pong(revision=1, status=WorkerStatus()))
        script.link.tick(script.now)
        if lost := losses(script):
            assert lost[0].hung
            return
    raise AssertionError("never noticed")


def test_a_refusal_may_ask_for_a_keyframe() -> None:
    script = Script().connect(credit_frames=2)
    script.frame()
    script.frame()
    script.result(0, flags=Flags.REFUSED | Flags.KEY_WANTED)
    script.result(1, flags=Flags.REFUSED)
    assert script.link.events()[-2:] == [FrameRefused(0, 0, True), FrameRefused(1, 1, False)]


def test_the_workers_own_time_comes_through() -> None:
    script = Script().connect()
    script.link.events()
    script.say(Kind.PONG, Pong(revision=1, status=WorkerStatus(), since_ms=12.5), captured_ns=1)
    (status,) = [e for e in script.link.events() if isinstance(e, StatusReceived)]
    assert status.since_ms == 12.5
