"""The device runtime: an encrypted profile, decisions with reasons, bounded contributions.

Importing this opens nothing and needs only numpy and cryptography; gRPC is imported by the first
`sync`.
"""

from tacit.client.catalogue import Catalogue, CatalogueItem
from tacit.client.decide import Recency
from tacit.client.decision import (
    Ack,
    CitedEvent,
    Decision,
    DeviceState,
    Explanation,
    FeatureShare,
    Forgotten,
    RecommendedItem,
    TargetPrediction,
)
from tacit.client.errors import (
    BadCatalogue,
    BadEvent,
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
from tacit.client.keys import FileKeyProvider, KeyProvider, PassphraseKeyProvider
from tacit.client.personalizer import Personalizer
from tacit.client.policy import DevicePolicy, Endpoints, TrustRoots
from tacit.client.session import DeviceSession
from tacit.client.sync import SyncReport
from tacit.client.terms import ConsentTerms

__all__ = [
    "Ack",
    "BadCatalogue",
    "BadEvent",
    "Catalogue",
    "CatalogueItem",
    "CitedEvent",
    "ConsentTerms",
    "Decision",
    "DeviceError",
    "DeviceExposure",
    "DevicePolicy",
    "DeviceSession",
    "DeviceState",
    "Endpoints",
    "Explanation",
    "ExposureLine",
    "FeatureShare",
    "FileKeyProvider",
    "Forgotten",
    "KeyProvider",
    "KeyUnavailable",
    "NotEnrolled",
    "OfferRefused",
    "PassphraseKeyProvider",
    "Personalizer",
    "PolicyRefused",
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
