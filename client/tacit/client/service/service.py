"""The verbs of `Personalizer` for apps in other languages: `tacit.v1.PersonalizerService`."""

from __future__ import annotations

from tacit.client.service.deciding import Deciding
from tacit.client.service.keeping import Keeping
from tacit.client.service.observing import Observing
from tacit.v1 import personalizer_pb2_grpc


class PersonalizerService(
    Observing, Deciding, Keeping, personalizer_pb2_grpc.PersonalizerServiceServicer
):
    """Answer apps, each within its grant; see `Gate`."""
