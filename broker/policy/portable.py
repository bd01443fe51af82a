"""The builtins that a policy may call: known to OPA 1.20.2 and regorus 0.13.0, pure, and equal on both.

Left out on purpose although both have them: everything that reads a clock, a network or randomness; ``sprintf`` and
``to_number`` (floats and sets print differently), ``upper`` (``ß``), ``strings.count`` (panics on empty text),
``json.*marshal`` and ``yaml.*`` (key order), ``time.*`` (the gate puts time into the input). A bundle's own
``capabilities/*.json`` (OPA's form, for ``opa check --capabilities``) can narrow this set, never widen it.
"""

from collections.abc import Mapping

from broker.model import Json

PORTABLE = frozenset(
    [
        "abs",
        "array.concat",
        "array.reverse",
        "array.slice",
        "base64.decode",
        "base64.encode",
        "base64.is_valid",
        "base64url.decode",
        "base64url.encode_no_pad",
        "bits.and",
        "bits.or",
        "bits.xor",
        "concat",
        "contains",
        "count",
        "endswith",
        "format_int",
        "glob.match",
        "glob.quote_meta",
        "indexof",
        "intersection",
        "is_array",
        "is_boolean",
        "is_null",
        "is_number",
        "is_object",
        "is_set",
        "is_string",
        "json.filter",
        "json.patch",
        "json.remove",
        "lower",
        "max",
        "min",
        "net.cidr_contains",
        "net.cidr_is_valid",
        "object.filter",
        "object.get",
        "object.keys",
        "object.remove",
        "object.subset",
        "object.union",
        "regex.match",
        "replace",
        "semver.compare",
        "semver.is_valid",
        "sort",
        "split",
        "startswith",
        "strings.any_prefix_match",
        "strings.any_suffix_match",
        "strings.replace_n",
        "substring",
        "sum",
        "trim",
        "trim_left",
        "trim_prefix",
        "trim_right",
        "trim_space",
        "trim_suffix",
        "type_name",
        "union",
    ]
)


def allowed_builtins(capabilities: Mapping[str, Json]) -> frozenset[str]:
    """The portable set, narrowed by every capabilities file of the bundle."""
    allowed = PORTABLE
    for document in capabilities.values():
        allowed &= {builtin.get("name", "") for builtin in document.get("builtins", [])}
    return allowed
