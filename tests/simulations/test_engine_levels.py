"""The engine and `tacit simulate` at every trust level."""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tacit.cli.simulate import simulate as command
from tacit.privacy.accounting import GaussianEvent, epsilon_bound, round_up
from tacit.privacy.local_noise import local_sigma
from tacit.privacy.quantize import decode_sum
from tacit.server.coordinator.learners import PopularityLearner
from tacit.server.coordinator.noise import decoded
from tacit.server.coordinator.plan import plan_round
from tacit.simulations.engine import integer_round_sum, run
from tacit.simulations.errors import BadExperiment
from tacit.simulations.population import generate
from tacit.simulations.simulate import SimulationOptions, simulate

DIGEST = b"d" * 32
Z = 0.8


def secrets_then_urandom(users: int) -> Callable[[int], bytes]:
    """Give known device secrets first, then what the operating system gives."""
    left = [bytes([n]) * 32 for n in range(users)]

    def give(n: int) -> bytes:
        return left.pop(0) if left else os.urandom(n)

    return give


def test_every_device_adds_noise_of_a_scale_set_by_twice_the_norm() -> None:
    data = generate(40, 2_000)
    learner, users = PopularityLearner(2_000), 40
    plan = plan_round(learner.rounds()[0], Z)
    exact = integer_round_sum(
        data.profiles(), plan, {}, [bytes([n]) * 32 for n in range(users)], DIGEST
    )

    def noise() -> Any:
        random.seed(1)
        np.random.seed(1)
        done = run(
            data.profiles(),
            learner,
            [Z],
            task_digest=DIGEST,
            trust_level="local",
            random_bytes=secrets_then_urandom(users),
        )
        (released,) = done.history
        assert released.noise_std == pytest.approx(decoded(exact, plan, "local", users).noise_std)
        unit = plan.clipping_norm / plan.integer_norm
        values = released.values - decode_sum(
            exact, plan.clipping_norm, plan.integer_norm, plan.length
        )
        assert float(np.std(values)) == pytest.approx(released.noise_std, rel=0.15)
        assert released.noise_std == pytest.approx(
            local_sigma(plan) * math.sqrt(users) * unit, rel=0.01
        )
        return values

    first, second = noise(), noise()
    assert not np.array_equal(first, second), "seeding numpy and random changes nothing"


def test_without_noise_the_sum_is_exact() -> None:
    data, users = generate(30, 60), 30
    learner = PopularityLearner(60)
    plan = plan_round(learner.rounds()[0], 0.0)
    exact = integer_round_sum(
        data.profiles(), plan, {}, [bytes([n]) * 32 for n in range(users)], DIGEST
    )
    done = run(
        data.profiles(),
        learner,
        [0.0],
        task_digest=DIGEST,
        trust_level="consent-only",
        random_bytes=secrets_then_urandom(users),
    )
    np.testing.assert_array_equal(done.history[0].values, decoded(exact, plan).values)
    assert done.history[0].noise_std == 0.0


def test_a_local_report_states_what_its_events_compose_to() -> None:
    report = simulate(
        generate(60, 60), SimulationOptions(learner="popularity", trust_level="local")
    )
    (guarantee,) = report.trained.guarantees
    (z,) = guarantee.noise_multipliers
    event = GaussianEvent(z, 1, 8192, "local")
    assert guarantee.epsilon == round_up(epsilon_bound([event], report.delta))
    assert (guarantee.trust, guarantee.neighboring_relation) == ("local", "replace")
    assert report.trained.payload_bytes == (4 * 60,)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (SimulationOptions(trust_level="secure"), "a trust level among"),
        (SimulationOptions(trust_level="local", epsilon=math.inf), "finite epsilon"),
        (
            SimulationOptions(trust_level="local", learner="factorization-opacus"),
            "trains at trust level central only",
        ),
    ],
)
def test_refuses_what_no_level_is_or_a_learner_cannot(
    options: SimulationOptions, line: str
) -> None:
    with pytest.raises(BadExperiment, match=line):
        simulate(generate(20, 40), options)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "shop.csv"
    lines = [f"{user},{(user * 7 + step * step) % 30}" for user in range(40) for step in range(12)]
    path.write_text("user,item\n" + "\n".join(lines) + "\n")
    return path


def invoke(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(command, [str(one) for one in arguments])
    return result.exit_code, result.output


def test_consent_only_says_its_sentence_and_nothing_of_a_budget(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    code, text = invoke("--data", shop, "--trust-level", "consent-only", "--json", out)
    assert code == 0, text
    document = json.loads(out.read_text())
    assert document["privacy"] == {
        "trust": "consent-only",
        "claim": "Raw profiles do not leave the device.",
        "rounds": len(document["cost"]["payload_bytes_per_device_round"]),
    }
    both = text + json.dumps(document, ensure_ascii=False)
    for word in ("epsilon", "ε", "DP", "differential", "delta", "accountant"):
        assert word not in both
    assert "Raw profiles do not leave the device." in " ".join(text.split())


def test_local_says_its_sentence(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ("--learner", "popularity", "--trust-level", "local", "--epsilon", "4")
    code, text = invoke("--data", shop, *arguments, "--json", out)
    assert code == 0, text
    said = " ".join(text.split())
    assert "“(ε₀,δ) against everyone.”" in said
    assert "(replace adjacency, trust level local, full participation in 1 rounds" in said
    privacy = json.loads(out.read_text())["privacy"]
    assert (privacy["trust"], privacy["participation_bound"]) == ("local", 1)
    assert 3.9 < privacy["epsilon"] <= 4.0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--trust-level", "consent-only", "--epsilon", "8"], "no --epsilon at trust level"),
        (["--trust-level", "consent-only", "--delta", "1e-6"], "no --delta at trust level"),
        (["--trust-level", "secure"], "'--trust-level'"),
        (["--trust-level", "local", "--tasks", "2"], "--tasks at trust level central, got local"),
        (["--trust-level", "local", "--learner", "factorization-local"], "central only"),
        (
            ["--trust-level", "local", "--learner", "linear", "--predict", "churn"],
            "'trust_level'",
        ),
    ],
)
def test_a_wrong_combination_is_one_line(shop: Path, arguments: list[str], line: str) -> None:
    code, text = invoke("--data", shop, *arguments)
    assert code == 2
    (error,) = [one for one in text.splitlines() if one.startswith("Error:")]
    assert line in error
