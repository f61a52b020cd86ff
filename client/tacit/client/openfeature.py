"""An OpenFeature provider whose flags are decided on the device, by nobody else.

    api.set_provider(TacitProvider(personalizer))
    api.get_client().get_boolean_value("new-home", False)

Needs the `openfeature` extra; `tacit.client` alone does not import it. Follows the OpenFeature
specification, section 2 (providers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

from openfeature.evaluation_context import EvaluationContext  # pyright: ignore[reportMissingTypeStubs]
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider import AbstractProvider, Metadata  # pyright: ignore[reportMissingTypeStubs]
from openfeature.track import TrackingEventDetails  # pyright: ignore[reportMissingTypeStubs]

from tacit.client.personalizer import Personalizer

if TYPE_CHECKING:
    from openfeature.flag_evaluation import FlagValueType

_Value = TypeVar("_Value")
_Object = "Sequence[FlagValueType] | Mapping[str, FlagValueType]"


class TacitProvider(AbstractProvider):
    """Resolve flags of one open profile; see `Personalizer.variant`.

    The evaluation context is not read: assignment depends on the device's own key and nothing an
    app says, so a targeting key that names a person is neither needed nor kept.
    """

    def __init__(self, personalizer: Personalizer) -> None:
        super().__init__()
        self._personalizer = personalizer

    def get_metadata(self) -> Metadata:
        """Return the provider's name."""
        return Metadata("tacit")

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """Resolve a flag to true or false."""
        return self._resolve(flag_key, default_value)

    def resolve_string_details(
        self,
        flag_key: str,
        default_value: str,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[str]:
        """Resolve a flag to a text."""
        return self._resolve(flag_key, default_value)

    def resolve_integer_details(
        self,
        flag_key: str,
        default_value: int,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[int]:
        """Resolve a flag to an integer."""
        return self._resolve(flag_key, default_value)

    def resolve_float_details(
        self,
        flag_key: str,
        default_value: float,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[float]:
        """Resolve a flag to a number; integers are numbers."""
        found = self._resolve(flag_key, float(default_value))
        if found.error_code is not None or found.variant is None:
            found.value = default_value
        return found

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Resolve a flag to a list or an object."""
        return self._resolve(flag_key, default_value)

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        """Record an event, as `Personalizer.track` does, on the device alone.

        Raises:
            UnknownEvent, BadEvent: see `Personalizer.track`.
        """
        properties: dict[str, object] = {}
        if tracking_event_details is not None:
            properties.update(tracking_event_details.attributes)
            if tracking_event_details.value is not None:
                properties["value"] = tracking_event_details.value
        self._personalizer.track(tracking_event_name, properties)

    def _resolve(self, flag: str, default: _Value) -> FlagResolutionDetails[_Value]:
        found = self._personalizer.variant(flag, default)  # type: ignore[arg-type]
        return FlagResolutionDetails(
            value=cast(_Value, found.value),
            error_code=None if found.error_code is None else ErrorCode(found.error_code),
            error_message=found.error_message or None,
            reason=Reason(found.reason),
            variant=found.variant,
            flag_metadata={"version": found.version},
        )
