"""The recorded cases as a gate would hold them: observations, and the prose claims of the given model responses."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from broker.evidence import Observation
from broker.model import ResultStatus

SIGNALS = {
    "aws_cloudwatch_metrics": "metric",
    "aws_rds_events": "log",
    "aws_performance_insights": "trace",
}


@dataclass(frozen=True)
class Prose:
    """One validated claim of a model response, and the evidence that it names."""

    case: str
    place: int
    text: str
    sources: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"{self.case[:3]}.{self.place}"


@dataclass(frozen=True)
class Case:
    """One incident: its instance, its observations by source, its prose."""

    name: str
    category: str
    instance: str
    observations: dict[str, Observation]
    prose: tuple[Prose, ...]

    def value(self, source: str) -> Any:
        return self.observations[source].value


def load(root: Path) -> list[Case]:
    """Every case of the corpus, in order."""
    folder = root / "tests" / "synthetic" / "rds_postgres"
    return [_case(one) for one in sorted(folder.iterdir()) if (one / "answer.yml").is_file()]


def _case(folder: Path) -> Case:
    answer = yaml.safe_load((folder / "answer.yml").read_text(encoding="utf-8"))
    values = {
        "aws_cloudwatch_metrics": _metrics(folder),
        "aws_rds_events": _read(folder / "aws_rds_events.json"),
        "aws_performance_insights": _read(folder / "aws_performance_insights.json"),
    }
    observations = {
        source: Observation(
            id=f"obs_{folder.name[:3]}{source[4:6]}",
            action=f"replay.{source}",
            connector="replay",
            signal=SIGNALS[source],
            resource={"type": "case", "id": source},
            arguments={},
            at=0,
            status=ResultStatus.OK,
            value=value,
            digest=source,
        )
        for source, value in values.items()
    }
    instance = str(values["aws_performance_insights"]["db_instance_identifier"])
    prose = tuple(_prose(folder.name, str(answer["model_response"])))
    return Case(folder.name, str(answer["root_cause_category"]), instance, observations, prose)


def _metrics(folder: Path) -> Any:
    """One answer with every series, whether the corpus keeps it in one file or in one a series."""
    whole = folder / "aws_cloudwatch_metrics.json"
    if whole.is_file():
        return _read(whole)
    envelope = _read(folder / "aws_cloudwatch_metrics_envelope.json")
    parts = [_read(one) for one in sorted(folder.glob("aws_cloudwatch_metrics_*.json")) if "envelope" not in one.name]
    return {**envelope, "metric_data_results": parts}


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _prose(case: str, response: str) -> list[Prose]:
    """The lines under VALIDATED_CLAIMS."""
    section = response.split("\nVALIDATED_CLAIMS:", 1)[1].split("NON_VALIDATED_CLAIMS:", 1)[0]
    found: list[Prose] = []
    for line in section.splitlines():
        text = line.strip()
        if not text.startswith("- "):
            continue
        tagged = re.fullmatch(r"- (.*?)\s*\[evidence: ([^\]]+)\]", text)
        assert tagged is not None, text
        sources = tuple(one.strip() for one in tagged.group(2).split(","))
        found.append(Prose(case, len(found) + 1, tagged.group(1), sources))
    return found
