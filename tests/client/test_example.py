"""The examples in `examples/` do what their texts say."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import grpc

from tacit.v1 import personalizer_pb2, personalizer_pb2_grpc

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def _run(name: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout


def test_the_first_recommendation_runs_offline_and_gives_reasons() -> None:
    told = _run("first_recommendation.py")
    assert "To get you started" in told
    assert "Because you put Tea tin in your cart (60%) and viewed Copper kettle (40%)." in told
    assert "Because you viewed Copper kettle (100%)." in told
    assert told.rstrip().endswith("and the key that opened them.")


def test_guarded_decisions_say_what_rules_removed_and_why() -> None:
    told = _run("guarded_decisions.py")
    assert "Tea tin              Not shown. stock: An item that the app says" in told
    assert "('no-guessing',)" in told
    assert "next action: offer" in told
    assert "{'remind': ('patience',)}" in told
    assert "looking for help: 0 items" in told


def test_the_reading_corner_learns_from_one_answer_and_forgets() -> None:
    told = _run("reading_corner.py")
    assert told.startswith("Do you like Sea?")
    after_one_answer, after_owls = told.split("After twelve minutes")
    assert after_one_answer.count("Because you looked at things from Sea") == 3
    assert "A Year of Moss" in after_owls
    assert "Still shown what was not for them: False" in told
    assert "permitted to leave: 0" in told
    assert "records and their key" in told


def test_the_served_shop_answers_with_the_token_it_prints() -> None:
    serving = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "serve_shop.py")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert serving.stdout is not None
        export, socket, token = serving.stdout.readline().split()
        assert export == "export"
        with grpc.insecure_channel(f"unix:{socket.removeprefix('TACIT_SOCKET=')}") as channel:
            stub = personalizer_pb2_grpc.PersonalizerServiceStub(channel)
            answer = stub.Recommend(
                personalizer_pb2.RecommendRequest(surface="home", k=3),
                metadata=(("authorization", f"Bearer {token.removeprefix('TACIT_TOKEN=')}"),),
                timeout=20,
            )
        assert len(answer.items) == 3
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(timeout=20) == 0
    finally:
        serving.kill()
        serving.communicate()
