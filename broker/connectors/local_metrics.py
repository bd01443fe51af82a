"""Read a Prometheus text exposition (format 0.0.4) and pick series from it. Pure."""

import math
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from broker.errors import UpstreamFailed
from broker.model import Json


def pick_series(name: str, text: str, metric: str, labels: Mapping[str, str]) -> list[dict[str, Json]]:
    """Series called ``metric``, or of the family ``metric``, that carry all of ``labels``.

    Values are numbers; those that JSON cannot hold are the texts ``NaN``, ``+Inf`` and ``-Inf``. Raises
    ``UpstreamFailed`` (``upstream.garbage``) for anything that is not an exposition.
    """
    try:
        return [
            {"name": sample.name, "labels": dict(sample.labels), "value": _number(sample.value)}
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if metric in {sample.name, family.name} and labels.items() <= sample.labels.items()
        ]
    except (ValueError, KeyError, IndexError):
        raise UpstreamFailed(
            f"the metrics endpoint of `{name}` does not speak the Prometheus text format", code="upstream.garbage"
        ) from None


def _number(value: float) -> Json:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else value
