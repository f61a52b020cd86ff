"""What one whole demo must show: `tacit demo --short`, every real process."""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

from tacit.privacy.accounting import GaussianEvent, epsilon_bound, epsilon_opacus, round_up
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.tiles import read_entries
from tacit.server.errors import VerificationFailed
from tacit.server.ledger.verify import verify_export

if TYPE_CHECKING:
    from tests.journeys.conftest import FinishedDemo


def governance(demo: FinishedDemo) -> list[GovernanceEntry]:
    export = pathlib.Path(demo.report["ledger"]["export"])
    size = demo.report["ledger"]["governance_size"]
    return [GovernanceEntry.parse(data) for data in read_entries(export / "governance", size)]


def test_epsilon_printed_stored_and_recomputed_are_equal(finished_demo: FinishedDemo) -> None:
    privacy = finished_demo.report["privacy"]
    entries = governance(finished_demo)
    events = [
        GaussianEvent(float(e.body["event"]["noise_multiplier"]))  # type: ignore[index,call-overload,arg-type]
        for e in entries
        if e.kind == "budget.reserve"
    ]
    recomputed = round_up(epsilon_bound(events, privacy["delta"]))
    last_commit = [e for e in entries if e.kind == "budget.commit"][-1]
    release = next(e for e in entries if e.kind == "release")
    assert privacy["epsilon"] == recomputed
    assert float(str(last_commit.body["epsilon"])) == recomputed
    assert float(str(release.body["epsilon"])) == recomputed
    assert recomputed <= privacy["cap_epsilon"]
    # Devices reckon for themselves, and were exposed to no more than was spent.
    assert 0 < privacy["epsilon_on_devices_at_most"] <= recomputed
    # Renyi accounting, by a library, is above and near.
    assert recomputed <= epsilon_opacus(events, privacy["delta"]) <= 1.2 * recomputed


def test_every_commit_has_an_earlier_reservation(finished_demo: FinishedDemo) -> None:
    reserved: set[object] = set()
    committed = 0
    for entry in governance(finished_demo):
        if entry.kind == "budget.reserve":
            reserved.add(entry.body["reservation_id"])
        if entry.kind == "budget.commit":
            assert entry.body["reservation_id"] in reserved
            committed += 1
    assert committed == len(reserved) == finished_demo.report["privacy"]["rounds"]


def test_consent_decides_who_contributes(finished_demo: FinishedDemo) -> None:
    rounds, devices = finished_demo.report["rounds"], finished_demo.report["devices"]
    assert devices["enrolled"] == 40
    assert devices["refused_learn"] >= 1
    assert devices["withdrew"] >= 1
    assert devices["failures"] == {}
    assert rounds[0]["eligible"] == devices["consenting"]
    for one in rounds:
        assert one["contributed"] <= one["offered"] <= one["eligible"]
        assert one["refused"]["no consent"] >= devices["refused_learn"]
    assert rounds[1]["eligible"] == rounds[0]["eligible"] - devices["withdrew"]
    drop_outs = sum(one["offered"] - one["contributed"] for one in rounds)
    assert drop_outs == devices["drop_outs"]


def test_devices_recommend_from_the_release_with_reasons(finished_demo: FinishedDemo) -> None:
    samples = finished_demo.report["samples"]
    assert len(samples) == 3
    for sample in samples:
        # With 40 devices noise may drown taste; then the device goes by rules, and says so.
        assert sample["source"] in ("model", "rule")
        assert len(sample["recommended"]) == 3
        assert sample["because"].startswith(("Because you ", "It is popular", "You "))


def test_no_interface_but_loopback_was_needed(finished_demo: FinishedDemo) -> None:
    if not finished_demo.isolated:
        pytest.skip("this machine does not allow a network namespace (unshare -rn)")
    assert finished_demo.report["interfaces"] == ["lo"]


def test_nothing_a_user_did_stands_in_a_server_file(finished_demo: FinishedDemo) -> None:
    """Item ids and titles of profiles never reach server state or any log in clear."""
    markers = [item.item_id.encode() for item in finished_demo.population.catalogue.items]
    for folder in ("ledger", "gateway", "coordinator", "logs", "flower"):
        for path in (finished_demo.state / folder).rglob("*"):
            if path.is_file() and not path.is_socket():
                content = path.read_bytes()
                assert not any(marker in content for marker in markers), path.name


def test_a_changed_export_is_refused(finished_demo: FinishedDemo, tmp_path: pathlib.Path) -> None:
    export = pathlib.Path(finished_demo.report["ledger"]["export"])
    copy = tmp_path / "export"
    for source in export.rglob("*"):
        if source.is_file():
            target = copy / source.relative_to(export)
            target.parent.mkdir(parents=True, exist_ok=True)
            content = source.read_bytes()
            target.write_bytes(content.replace(b'"epsilon":"8.0"', b'"epsilon":"7.0"'))
    verify_export(export)
    with pytest.raises(VerificationFailed):
        verify_export(copy)


def test_report_is_complete_json(finished_demo: FinishedDemo) -> None:
    report = finished_demo.report
    assert json.loads(json.dumps(report)) == report
    for name in ("unit", "neighboring_relation", "trust", "delta", "accountant", "claim"):
        assert report["privacy"][name]
    assert report["quality"]["model"]["devices"] == 40
    assert report["cost"]["sent_bytes_per_device"] > 0


def test_no_sum_before_noise_is_left_on_the_disk(finished_demo: FinishedDemo) -> None:
    """Flower carries the sums; only the recording of this very test may hold them."""
    recorded = sorted((finished_demo.state / "coordinator").glob("raw-sum-*.npy"))
    files = [file for file in finished_demo.state.rglob("*") if file.is_file()]
    contents = [file.read_bytes() for file in files if file not in recorded]
    assert recorded
    for file in recorded:
        raw: npt.NDArray[np.int64] = np.load(file)
        # A run that says something: 16 values around the first that is not zero.
        start = int(np.flatnonzero(raw)[0])
        needle = raw[start : start + 16].astype("<i8").tobytes()
        assert needle in raw.astype("<i8").tobytes()
        assert not any(needle in content for content in contents)
