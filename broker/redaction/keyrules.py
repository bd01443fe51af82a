"""What a key says about its value: ``password``, ``Authorization``, ``ssn``, ``user.name``. A key outranks content.

A key is cut into words (``X-Api-Key``, ``dbPassword``, ``user.name``), trailing digits dropped; tables of word
sequences decide. The same classification serves structured values and ``key=value`` in running text.
"""

import functools
import re
from dataclasses import dataclass
from typing import Final

from broker.redaction.entities import SECRET
from broker.redaction.tokens import MARK, TOKEN


@dataclass(frozen=True, slots=True)
class KeyRule:
    """The entity of the value; ``kind`` for secrets.

    ``deep``: everything below the key falls under it. ``opaque``: only a machine-made value counts
    (``token`` also names page cursors and lexer tokens).
    """

    entity: str
    kind: str = ""
    deep: bool = False
    opaque: bool = False


KUBERNETES_SECRET: Final = KeyRule(SECRET, "kubernetes", deep=True)
KUBERNETES_DATA: Final = frozenset({"data", "stringData"})
"""The members of a Kubernetes object of kind Secret that hold its values."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\dA-Za-z_]+")
_NEUTRAL: Final = frozenset(
    [
        "name",
        "names",
        "ref",
        "refs",
        "reference",
        "file",
        "filename",
        "path",
        "policy",
        "policies",
        "expires",
        "expired",
        "expiry",
        "expiration",
        "expire",
        "at",
        "count",
        "counts",
        "counter",
        "length",
        "len",
        "type",
        "types",
        "enabled",
        "disabled",
        "required",
        "changed",
        "age",
        "version",
        "rotation",
        "rotated",
        "ttl",
        "limit",
        "limits",
        "usage",
        "field",
        "fields",
        "prompt",
        "template",
        "provider",
        "endpoint",
        "url",
        "uri",
        "kind",
        "mount",
        "mounts",
        "class",
        "store",
        "manager",
        "format",
        "rules",
        "strength",
        "algorithm",
        "method",
        "mode",
        "scope",
        "scopes",
        "size",
        "min",
        "max",
        "attempts",
        "used",
        "budget",
        "total",
        "status",
        "state",
        "host",
        "port",
        "label",
        "labels",
        "selector",
        "annotation",
        "volume",
        "volumes",
        "namespace",
        "engine",
        "interval",
        "error",
        "errors",
        "page",
        "cursor",
        "input",
        "output",
        "cached",
        "reset",
        "request",
        "requests",
        "response",
        "event",
        "index",
        "service",
        "server",
        "broker",
        "client",
        "user",
        "username",
        "email",
        "valid",
        "invalid",
        "validator",
        "validation",
        "check",
        "hint",
        "question",
        "group",
        "list",
        "map",
        "resolver",
    ]
)
"""A sensitive word followed by one of these names a thing about the secret, not the secret (``secretName``)."""

_STRONG: Final = {
    "password": "password", "passwords": "password", "passwd": "password", "passwort": "password", "pwd": "password", "passphrase": "password",
    "passcode": "password", "authorization": "authorization", "secret": "secret", "secrets": "secret", "cookie": "cookie", "cookies": "cookie",
    "credential": "credential", "credentials": "credential", "creds": "credential", "pass": "password", "userpass": "password", "userpwd": "password",
}  # fmt: skip
_SEQUENCES: Final = {
    ("api", "key"): "api-key", ("apikey",): "api-key", ("access", "key"): "access-key", ("accesskey",): "access-key", ("secret", "key"): "secret-key",
    ("secretkey",): "secret-key", ("private", "key"): "private-key", ("privatekey",): "private-key", ("signing", "key"): "signing-key",
    ("encryption", "key"): "encryption-key", ("master", "key"): "encryption-key", ("account", "key"): "access-key", ("shared", "key"): "access-key",
    ("shared", "access", "key"): "access-key", ("preshared", "key"): "private-key", ("client", "key", "data"): "private-key", ("license", "key"): "license-key",
    ("auth", "token"): "token", ("authtoken",): "token", ("access", "token"): "token", ("accesstoken",): "token", ("refresh", "token"): "token",
    ("refreshtoken",): "token", ("id", "token"): "token", ("bearer", "token"): "token", ("session", "token"): "token", ("security", "token"): "token",
    ("api", "token"): "token", ("apitoken",): "token", ("bot", "token"): "token", ("deploy", "token"): "token", ("push", "token"): "token", ("personal", "access", "token"): "token",
    ("oauth", "token"): "token", ("csrf", "token"): "token", ("xsrf", "token"): "token", ("session", "id"): "session", ("sessionid",): "session",
    ("session", "key"): "session", ("jsessionid",): "session", ("phpsessid",): "session", ("set", "cookie"): "cookie", ("client", "secret"): "client-secret",
    ("webhook", "secret"): "secret", ("connection", "string"): "connection-string", ("connectionstring",): "connection-string", ("basic", "auth"): "authorization",
    ("proxy", "authorization"): "authorization", ("otp", "code"): "otp", ("totp", "code"): "otp", ("mfa", "code"): "otp", ("verification", "code"): "otp",
    ("otp",): "otp", ("cvv",): "cvv", ("cvc",): "cvv", ("cvn",): "cvv", ("card", "pin"): "pin", ("pin", "code"): "pin", ("secret", "id"): "secret", ("unseal", "key"): "secret-key",
    ("registration", "token"): "token", ("insert", "key"): "api-key", ("secret", "access", "key"): "secret-key",
}  # fmt: skip
_OPAQUE: Final = {
    ("token",): "token", ("tokens",): "token", ("jwt",): "token", ("auth",): "authorization", ("signature",): "signature", ("x", "api", "key"): "api-key",
    ("bearer",): "token", ("crumb",): "token", ("login",): "token", ("reporter", "id"): "token", ("webhook",): "webhook", ("pat",): "token", ("deploy", "key"): "api-key",
}  # fmt: skip
_PEOPLE: Final = {
    ("ssn",): "SSN", ("social", "security"): "SSN", ("social", "security", "number"): "SSN", ("social", "security", "no"): "SSN", ("itin",): "SSN",
    ("tax", "id"): "TAXID", ("taxid",): "TAXID", ("tax", "number"): "TAXID", ("national", "id"): "TAXID", ("nhs", "number"): "TAXID", ("pesel",): "TAXID", ("aadhaar",): "TAXID",
    ("passport",): "PASSPORT", ("passport", "number"): "PASSPORT", ("passport", "no"): "PASSPORT", ("drivers", "license"): "PASSPORT", ("driver", "license"): "PASSPORT",
    ("iban",): "IBAN", ("account", "number"): "ACCOUNT", ("bank", "account"): "ACCOUNT", ("routing", "number"): "ACCOUNT", ("sort", "code"): "ACCOUNT",
    ("card", "number"): "CARD", ("cardnumber",): "CARD", ("credit", "card"): "CARD", ("creditcard",): "CARD", ("card", "no"): "CARD", ("cc", "number"): "CARD",
    ("phone",): "PHONE", ("phone", "number"): "PHONE", ("phonenumber",): "PHONE", ("mobile",): "PHONE", ("mobile", "number"): "PHONE", ("mobile", "phone"): "PHONE",
    ("telephone",): "PHONE", ("tel",): "PHONE", ("msisdn",): "PHONE", ("fax",): "PHONE", ("cell", "phone"): "PHONE",
    ("email",): "EMAIL", ("e", "mail"): "EMAIL", ("email", "address"): "EMAIL", ("mail", "address"): "EMAIL",
    ("full", "name"): "PERSON", ("fullname",): "PERSON", ("first", "name"): "PERSON", ("firstname",): "PERSON", ("last", "name"): "PERSON", ("lastname",): "PERSON",
    ("given", "name"): "PERSON", ("family", "name"): "PERSON", ("surname",): "PERSON", ("middle", "name"): "PERSON", ("maiden", "name"): "PERSON",
    ("user", "name"): "PERSON", ("customer", "name"): "PERSON", ("patient", "name"): "PERSON", ("employee", "name"): "PERSON", ("person", "name"): "PERSON",
    ("contact", "name"): "PERSON", ("cardholder", "name"): "PERSON", ("cardholder",): "PERSON", ("billing", "name"): "PERSON", ("shipping", "name"): "PERSON",
    ("recipient", "name"): "PERSON", ("sender", "name"): "PERSON", ("owner", "name"): "PERSON", ("display", "name"): "PERSON", ("author", "name"): "PERSON",
    ("username",): "USERNAME", ("user", "login"): "USERNAME", ("enduser", "id"): "USERNAME",
    ("dob",): "DOB", ("date", "of", "birth"): "DOB", ("birth", "date"): "DOB", ("birthdate",): "DOB", ("birthday",): "DOB",
    ("street",): "ADDRESS", ("street", "address"): "ADDRESS", ("home", "address"): "ADDRESS", ("postal", "address"): "ADDRESS", ("billing", "address"): "ADDRESS",
    ("shipping", "address"): "ADDRESS", ("address", "line"): "ADDRESS", ("postal", "code"): "ADDRESS", ("postcode",): "ADDRESS", ("zip", "code"): "ADDRESS", ("zipcode",): "ADDRESS",
}  # fmt: skip
_OTHER_KEYS: Final = frozenset(
    [
        "cache",
        "partition",
        "primary",
        "sort",
        "foreign",
        "routing",
        "idempotency",
        "object",
        "row",
        "group",
        "public",
        "hash",
        "range",
        "shard",
        "message",
        "s3",
        "redis",
        "json",
        "index",
        "dedup",
        "sharding",
        "aggregation",
        "lookup",
        "alert",
        "incident",
        "ssh",
        "host",
    ]
)
"""``cache_key`` and its like name a place, not a secret."""
_PARENTS: Final = frozenset(
    [
        "user",
        "users",
        "customer",
        "patient",
        "employee",
        "person",
        "contact",
        "cardholder",
        "owner",
        "author",
        "recipient",
        "sender",
        "member",
        "guest",
        "enduser",
        "account",
    ]
)
_SQUEEZED: Final = {
    "password": "password", "passwd": "password", "passphrase": "password", "apikey": "api-key", "secretkey": "secret-key", "privatekey": "private-key",
    "accesskey": "access-key", "authtoken": "token", "accesstoken": "token", "clientsecret": "client-secret", "refreshtoken": "token", "secret": "secret", "passcode": "password",
}  # fmt: skip
SYSTEM_USERS: Final = frozenset(
    [
        "root",
        "admin",
        "administrator",
        "nobody",
        "daemon",
        "system",
        "www-data",
        "www",
        "apache",
        "nginx",
        "postgres",
        "mysql",
        "redis",
        "git",
        "ubuntu",
        "ec2-user",
        "centos",
        "debian",
        "ansible",
        "jenkins",
        "kubernetes",
        "default",
        "anonymous",
        "guest",
        "unknown",
        "none",
        "null",
        "app",
        "service",
        "user",
        "test",
        "operator",
        "local-service",
        "network-service",
        "sshd",
        "cron",
        "dbus",
        "ntp",
        "mail",
        "backup",
    ]
)
"""Accounts of machines, not of people: kept."""


def words_of(key: str) -> tuple[str, ...]:
    """``X-Api-Key2`` -> ``("x", "api", "key")``."""
    return tuple(word.lower() for word in _WORDS.findall(key))


@functools.lru_cache(maxsize=16_384)
def classify(key: str, parent: str = "") -> KeyRule | None:
    """The rule for ``key`` below ``parent`` (the key of the enclosing object), or None."""
    if len(key) > 128:
        return classify(key[:128], parent)
    if "_" in key or "[" in key:
        key = TOKEN.sub(" x ", MARK.sub(" x ", key))  # what an earlier redaction left is a word that says nothing
    words = words_of(key)
    if not words:
        return None
    return _secret(words) or _person(words, parent)


def _secret(words: tuple[str, ...]) -> KeyRule | None:
    for size in (3, 2, 1):
        tail = words[-size:]
        if len(tail) == size and tail in _SEQUENCES:
            return KeyRule(SECRET, _SEQUENCES[tail], deep=True)
    strong = next((word for word in reversed(words) if word in _STRONG), None)
    if strong and words[-1] not in _NEUTRAL and words[0] not in {"has", "is", "use", "no", "forgot", "bypass"}:
        return KeyRule(SECRET, _STRONG[strong], deep=strong not in {"secrets", "creds", "pass"})
    for size in (3, 2, 1):
        tail = words[-size:]
        if len(tail) == size and tail in _OPAQUE:
            return KeyRule(SECRET, _OPAQUE[tail], opaque=True)
    if words[-1] == "key" and len(words) > 1 and words[-2] not in _OTHER_KEYS:
        return KeyRule(SECRET, "api-key", opaque=True)
    squeezed = "".join(words)
    kind = (
        next((kind for part, kind in _SQUEEZED.items() if part in squeezed), None)
        if words[-1] not in _NEUTRAL
        else None
    )
    if kind and not any(
        squeezed.endswith(tail) for tail in ("name", "file", "path", "policy", "url", "count", "expiry", "hint", "id")
    ):
        return KeyRule(SECRET, kind, deep=True)
    return None


def _person(words: tuple[str, ...], parent: str) -> KeyRule | None:
    for size in (3, 2, 1):
        tail = words[-size:]
        if len(tail) == size and tail in _PEOPLE:
            return KeyRule(_PEOPLE[tail])
    if words == ("name",) and parent and (owner := words_of(parent)) and owner[-1] in _PARENTS:
        return KeyRule("PERSON")
    return None


_ROLE = re.compile(
    r"(?:^|[_\-.])(?:svc|service|reader|writer|worker|loader|replica|exporter|controller|scheduler|collector|runner|rdsadmin)(?:\d*$|[_\-.])"
)


def plain_machine(entity: str, value: str) -> bool:
    """True for values that a person-key may hold without being about a person (``user=root``, ``system:node:…``)."""
    if entity not in {"PERSON", "USERNAME"} or " " in value.strip():
        return False
    plain = value.strip().lower()
    return plain in SYSTEM_USERS or plain.startswith(("system:", "arn:")) or _ROLE.search(plain) is not None
