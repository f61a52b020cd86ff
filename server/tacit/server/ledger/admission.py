"""What devices allow right now: the state that consent events left behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, bindparam, select

from tacit.privacy.signals import check_purpose
from tacit.server.ledger.database import Database
from tacit.server.ledger.tables import consent_states, devices, subjects

_MAX_NAMED_DEVICES = 500

_EVERYONE = select(
    devices.c.device_id,
    devices.c.public_key,
    devices.c.population,
    subjects.c.sequence,
    consent_states.c.signals,
    consent_states.c.valid_until_ms,
).select_from(
    devices.outerjoin(subjects, subjects.c.device_id == devices.c.device_id).outerjoin(
        consent_states,
        and_(
            consent_states.c.device_id == devices.c.device_id,
            consent_states.c.purpose == bindparam("purpose"),
        ),
    )
)
_NAMED = _EVERYONE.where(devices.c.device_id.in_(bindparam("named", expanding=True)))


@dataclass(frozen=True, slots=True)
class AdmissionState:
    """What one device allows for one purpose now.

    Attributes:
        device_id, public_key, population: the device.
        signals: what is granted; empty when nothing is.
        sequence: number of consent events held of this device.
    """

    device_id: str
    public_key: bytes
    population: str
    signals: tuple[str, ...]
    sequence: int


def admission_states(
    database: Database, purpose: str, device_ids: Sequence[str], now_ms: int
) -> list[AdmissionState]:
    """Return what named devices (all, when none is named) allow for a purpose now.

    Unknown devices are left out; devices without consent are there with no signals. What an
    `AppendConsent` answered before this began is visible here.

    Raises:
        BadDocument: if there is no such purpose.
    """
    check_purpose(purpose)
    wanted = frozenset(device_ids)
    with database.reading() as connection:
        if 0 < len(wanted) <= _MAX_NAMED_DEVICES:
            values = {"purpose": purpose, "named": sorted(wanted)}
            rows = connection.execute(_NAMED, values).all()
        else:
            rows = connection.execute(_EVERYONE, {"purpose": purpose}).all()
    found: list[AdmissionState] = []
    for device_id, public_key, population, sequence, signals, valid_until_ms in rows:
        if wanted and device_id not in wanted:
            continue
        stands = valid_until_ms is not None and now_ms < valid_until_ms
        granted = tuple(signals.split()) if stands else ()
        found.append(AdmissionState(device_id, public_key, population, granted, sequence or 0))
    return found
