"""Who exists: enrolment tokens, devices, and content-addressed blobs."""

from tacit.server.registry.blobs import BlobStore
from tacit.server.registry.devices import Device, DeviceRegistry

__all__ = ["BlobStore", "Device", "DeviceRegistry"]
