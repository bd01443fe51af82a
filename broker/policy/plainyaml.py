"""YAML as JSON, with one reading only.

YAML 1.1 readers turn ``no`` into false, ``1.10`` into a float and ``2026-01-01`` into a date, and keep one of two equal
keys. A policy file that can be read in two ways is refused here, with the line: quote the value.
"""

from typing import Any

import yaml

from broker.errors import BadRequest
from broker.model import Json

_AMBIGUOUS_TAGS = {"tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge"}
_DIGITS = frozenset("0123456789")


class _PlainLoader(yaml.CSafeLoader):
    """SafeLoader that refuses what two readers of YAML would read differently.

    libyaml's parser: a bundle has fifty files, and each start reads them.
    """


def _scalar(_: _PlainLoader, node: yaml.ScalarNode) -> Json:
    """Booleans only as true/false and integers only in decimal; the tags below never pass."""
    text = node.value
    if node.tag.endswith(":bool") and text in {"true", "false"}:
        return text == "true"
    digits = text.removeprefix("-")
    if node.tag.endswith(":int") and set(digits) <= _DIGITS and (digits == "0" or not digits.startswith("0")):
        return int(text)
    raise yaml.MarkedYAMLError(problem=f"`{text}` can be read in two ways", problem_mark=node.start_mark)


def _mapping(loader: _PlainLoader, node: yaml.MappingNode) -> dict[str, Any]:
    """Read an object with text keys, each once."""
    value: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str) or key in value:
            raise yaml.MarkedYAMLError(
                problem=f"key `{key}` is not text, or stands twice", problem_mark=key_node.start_mark
            )
        value[key] = loader.construct_object(value_node, deep=True)
    return value


for _tag in ("bool", "int", "float", "timestamp", "merge", "binary", "set", "omap", "pairs"):
    _PlainLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _scalar)
_PlainLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_yaml(content: bytes, name: str) -> Json:
    """Parse one YAML document; raises ``BadRequest`` with the file and line."""
    try:
        return yaml.load(content, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader with fewer types
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        fault = f"{name}:{line}: {error.problem}"
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        fault = f"{name}: {type(error).__name__}"
    raise BadRequest(f"a policy file is not plain YAML: {fault}", code="policy.bad_yaml", remedy="quote the value")
