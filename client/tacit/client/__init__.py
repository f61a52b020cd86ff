"""The device runtime: an encrypted profile, decisions with reasons, bounded contributions.

Importing this opens nothing and needs only numpy and cryptography; gRPC is imported by the first
`sync`. A name is loaded, with what it needs, when it is first used: an app that decides does not
wait for what only contributing needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tacit.client.actions import Action, ActionDecision
    from tacit.client.catalogue import Catalogue, CatalogueItem
    from tacit.client.content import Component, Content
    from tacit.client.decide import Recency
    from tacit.client.decision import (
        Ack,
        CitedEvent,
        Control,
        Decision,
        DeviceState,
        Explanation,
        FeatureShare,
        Forgotten,
        HandOver,
        RecommendedItem,
        TargetPrediction,
    )
    from tacit.client.errors import (
        BadCatalogue,
        BadEvent,
        BadGuardrails,
        DeviceError,
        KeyUnavailable,
        NotEnrolled,
        OfferRefused,
        PolicyRefused,
        ReceiptRefused,
        Rejected,
        ReleaseRefused,
        RollbackRefused,
        StoreClosed,
        StoreDamaged,
        StoreUnavailable,
        TransportError,
        UnknownDecision,
        UnknownEvent,
    )
    from tacit.client.exposure import DeviceExposure, ExposureLine
    from tacit.client.features import Features
    from tacit.client.keys import FileKeyProvider, KeyProvider, PassphraseKeyProvider
    from tacit.client.personalizer import Personalizer
    from tacit.client.policy import DevicePolicy, Endpoints, TrustRoots
    from tacit.client.questions import Question
    from tacit.client.session import DeviceSession
    from tacit.client.slate import Exploration
    from tacit.client.sync import SyncReport
    from tacit.client.terms import ConsentTerms

__all__ = [
    "Ack",
    "Action",
    "ActionDecision",
    "BadCatalogue",
    "BadEvent",
    "BadGuardrails",
    "Catalogue",
    "CatalogueItem",
    "CitedEvent",
    "Component",
    "ConsentTerms",
    "Content",
    "Control",
    "Decision",
    "DeviceError",
    "DeviceExposure",
    "DevicePolicy",
    "DeviceSession",
    "DeviceState",
    "Endpoints",
    "Explanation",
    "Exploration",
    "ExposureLine",
    "FeatureShare",
    "Features",
    "FileKeyProvider",
    "Forgotten",
    "HandOver",
    "KeyProvider",
    "KeyUnavailable",
    "NotEnrolled",
    "OfferRefused",
    "PassphraseKeyProvider",
    "Personalizer",
    "PolicyRefused",
    "Question",
    "ReceiptRefused",
    "Recency",
    "RecommendedItem",
    "Rejected",
    "ReleaseRefused",
    "RollbackRefused",
    "StoreClosed",
    "StoreDamaged",
    "StoreUnavailable",
    "SyncReport",
    "TargetPrediction",
    "TransportError",
    "TrustRoots",
    "UnknownDecision",
    "UnknownEvent",
]

_MODULES = {
    "actions": (
        "Action",
        "ActionDecision",
    ),
    "catalogue": (
        "Catalogue",
        "CatalogueItem",
    ),
    "content": (
        "Component",
        "Content",
    ),
    "decide": ("Recency",),
    "decision": (
        "Ack",
        "CitedEvent",
        "Control",
        "Decision",
        "DeviceState",
        "Explanation",
        "FeatureShare",
        "Forgotten",
        "HandOver",
        "RecommendedItem",
        "TargetPrediction",
    ),
    "errors": (
        "BadCatalogue",
        "BadEvent",
        "BadGuardrails",
        "DeviceError",
        "KeyUnavailable",
        "NotEnrolled",
        "OfferRefused",
        "PolicyRefused",
        "ReceiptRefused",
        "Rejected",
        "ReleaseRefused",
        "RollbackRefused",
        "StoreClosed",
        "StoreDamaged",
        "StoreUnavailable",
        "TransportError",
        "UnknownDecision",
        "UnknownEvent",
    ),
    "exposure": (
        "DeviceExposure",
        "ExposureLine",
    ),
    "features": ("Features",),
    "keys": (
        "FileKeyProvider",
        "KeyProvider",
        "PassphraseKeyProvider",
    ),
    "personalizer": ("Personalizer",),
    "policy": (
        "DevicePolicy",
        "Endpoints",
        "TrustRoots",
    ),
    "questions": ("Question",),
    "session": ("DeviceSession",),
    "slate": ("Exploration",),
    "sync": ("SyncReport",),
    "terms": ("ConsentTerms",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name on first use (PEP 562)."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
