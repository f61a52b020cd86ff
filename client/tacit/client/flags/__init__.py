"""Flags: variants of an app, defined by signed data, assigned on the device, seen by no server."""

from tacit.client.flags.assignment import Assigner
from tacit.client.flags.document import Flag, FlagSet, FlagValue, Variant, read_source
from tacit.client.flags.evaluation import Evaluation, Flags, Reason
from tacit.client.flags.signed import InstalledFlags, open_signed, sign_flags

__all__ = [
    "Assigner",
    "Evaluation",
    "Flag",
    "FlagSet",
    "FlagValue",
    "Flags",
    "InstalledFlags",
    "Reason",
    "Variant",
    "open_signed",
    "read_source",
    "sign_flags",
]
