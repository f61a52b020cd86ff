"""The closed catalogue of signals and purposes.

A signal that is not listed here cannot be recorded, consented to or asked for. Its sensitivity
class decides what kind of consent may cover it (`tacit.privacy.consent`).
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from tacit.privacy.canonical import Json, canonical_json
from tacit.privacy.errors import BadDocument


class Sensitivity(enum.StrEnum):
    """How much a signal can reveal, from least to most."""

    BASIC = "basic"
    CONTEXTUAL = "contextual"
    SENSITIVE = "sensitive"
    PROHIBITED = "prohibited"


@dataclass(frozen=True, slots=True)
class Signal:
    """One kind of observation.

    Attributes:
        name: as it stands in consent events and task manifests.
        sensitivity: its class.
        description: one line, as a consent screen may show it.
    """

    name: str
    sensitivity: Sensitivity
    description: str


_BASIC, _CONTEXTUAL = Sensitivity.BASIC, Sensitivity.CONTEXTUAL
_SENSITIVE, _PROHIBITED = Sensitivity.SENSITIVE, Sensitivity.PROHIBITED

_ALL = (
    Signal("page_view", _BASIC, "Pages you open"),
    Signal("product_view", _BASIC, "Items you look at"),
    Signal("dwell", _BASIC, "How long you look at an item"),
    Signal("scroll", _BASIC, "How far you scroll"),
    Signal("search", _BASIC, "What you search for"),
    Signal("add_to_cart", _BASIC, "Items you put in your cart"),
    Signal("purchase", _BASIC, "Items you buy"),
    Signal("rating", _BASIC, "Ratings you give"),
    Signal("preference", _BASIC, "Preferences you state yourself"),
    Signal("time_of_day", _CONTEXTUAL, "The hour at which you use the app"),
    Signal("device_class", _CONTEXTUAL, "The kind of device you use"),
    Signal("coarse_location", _CONTEXTUAL, "Your region, never your address"),
    Signal("precise_location", _SENSITIVE, "Your exact location"),
    Signal("age_band", _SENSITIVE, "Your age, in ten-year bands"),
    Signal("health", _PROHIBITED, "Health"),
    Signal("religion", _PROHIBITED, "Religion or belief"),
    Signal("politics", _PROHIBITED, "Political opinion"),
    Signal("financial_vulnerability", _PROHIBITED, "Financial vulnerability"),
    Signal("protected_attribute", _PROHIBITED, "Ethnic origin, orientation, disability, sex"),
)

SIGNALS: Mapping[str, Signal] = MappingProxyType({signal.name: signal for signal in _ALL})
"""Every signal there is, by name."""

PURPOSES: Mapping[str, str] = MappingProxyType(
    {
        "decide": "https://w3id.org/dpv#ServicePersonalisation",
        "learn": "https://w3id.org/dpv#ImproveExistingProductsAndServices",
        "measure": "https://w3id.org/dpv#ServiceUsageAnalytics",
    }
)
"""Purpose → W3C DPV term: decide on this device, train the shared model, federated analytics."""

EVENT_SIGNALS: Mapping[str, str] = MappingProxyType(
    {
        "Page Viewed": "page_view",
        "Product Viewed": "product_view",
        "Product Clicked": "product_view",
        "Products Searched": "search",
        "Product Added": "add_to_cart",
        "Order Completed": "purchase",
        "Product Rated": "rating",
        "Item Rated": "rating",
        "Preference Set": "preference",
    }
)
"""Event name of the Segment specification → signal."""


def signal(name: str) -> Signal:
    """Look up a signal.

    Raises:
        BadDocument: if the catalogue has no such signal.
    """
    found = SIGNALS.get(name)
    if found is None:
        raise BadDocument("expected a signal of the catalogue, got an unknown name")
    return found


def signal_of_event(event_name: str) -> Signal:
    """Look up the signal that an event name, or a signal's own name, stands for.

    Raises:
        BadDocument: if the event stands for no signal of the catalogue.
    """
    return signal(EVENT_SIGNALS.get(event_name, event_name))


def check_purpose(name: str) -> str:
    """Return `name` if it is a purpose.

    Raises:
        BadDocument: if it is not.
    """
    if name not in PURPOSES:
        raise BadDocument(f"expected a purpose among {', '.join(PURPOSES)}")
    return name


def catalogue_digest() -> bytes:
    """SHA-256 of the canonical catalogue, so that two parties can see they mean the same one."""
    document = {
        s.name: {"sensitivity": s.sensitivity.value, "description": s.description} for s in _ALL
    }
    return hashlib.sha256(canonical_json(cast(Json, document))).digest()
