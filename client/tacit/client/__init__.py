"""The device runtime: an encrypted profile, decisions with reasons, bounded contributions.

Importing this opens nothing and needs only numpy and cryptography; gRPC is imported by the first
`sync`.
"""

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
    BadFlags,
    BadGuardrails,
    DeviceError,
    ExportRefused,
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
from tacit.client.features import Features, Why
from tacit.client.flags import Evaluation
from tacit.client.journey import ChurnRisk
from tacit.client.keys import FileKeyProvider, KeyProvider, PassphraseKeyProvider
from tacit.client.link import Linked
from tacit.client.personalizer import Personalizer
from tacit.client.policy import DevicePolicy, Endpoints, TrustRoots
from tacit.client.questions import Question
from tacit.client.recovery import Recovered
from tacit.client.rotation import Rotated
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
    "BadFlags",
    "BadGuardrails",
    "Catalogue",
    "CatalogueItem",
    "ChurnRisk",
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
    "Evaluation",
    "Explanation",
    "Exploration",
    "ExportRefused",
    "ExposureLine",
    "FeatureShare",
    "Features",
    "FileKeyProvider",
    "Forgotten",
    "HandOver",
    "KeyProvider",
    "KeyUnavailable",
    "Linked",
    "NotEnrolled",
    "OfferRefused",
    "PassphraseKeyProvider",
    "Personalizer",
    "PolicyRefused",
    "Question",
    "ReceiptRefused",
    "Recency",
    "RecommendedItem",
    "Recovered",
    "Rejected",
    "ReleaseRefused",
    "RollbackRefused",
    "Rotated",
    "StoreClosed",
    "StoreDamaged",
    "StoreUnavailable",
    "SyncReport",
    "TargetPrediction",
    "TransportError",
    "TrustRoots",
    "UnknownDecision",
    "UnknownEvent",
    "Why",
]
