"""Rules for secrets whose format gives them away: vendor prefixes, PEM, JWT, URL credentials, authorization headers.

Provenance: formats from the vendors' documentation where it exists; otherwise the expression was re-derived by hand
from the public rule sets of gitleaks (MIT) and Nosey Parker (Apache-2.0). ``GL`` and ``NP`` in the last column say so.
"""

import re
from collections.abc import Iterator
from typing import Final

from broker.redaction.entities import SECRET, Span, Tier
from broker.redaction.rules.base import LEFT as L
from broker.redaction.rules.base import RIGHT as R
from broker.redaction.rules.base import Anchor, Rule, matches, secret
from broker.redaction.validators import entropy, jwt_header, opaque

_X = "[A-Za-z0-9]"
_U = r"[A-Za-z0-9_\-]"
_H = "[0-9a-f]"


def _jwt(match: re.Match[str]) -> bool:
    return jwt_header(match.group("v").partition(".")[0])


def _mixed(match: re.Match[str]) -> bool:
    value = match["v"] or match.group()
    return any(char.isdigit() for char in value) and entropy(value) >= 3.0


def _aws_secret(match: re.Match[str]) -> bool:
    value = match.group("v")
    return opaque(value, shortest=40, bits=3.5) and not re.fullmatch("[0-9a-f]+", value)


VENDORS: Final = (
    secret("aws-key-id", r"A3T|AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA|AIPA|ANPA|ANVA", r"(?<![A-Za-z0-9])(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA|AIPA|ANPA|ANVA)[A-Z0-9]{16}(?![A-Za-z0-9])", "AWS IAM identifiers"),
    secret("aws-secret-key", r"aws|AKIA|ASIA|secret|A3T", r"(?i:aws|akia|asia|secret|a3t)[^\n]{0,80}(?:\n[^\n]{0,60})?(?<![A-Za-z0-9+/=_.\-])(?P<v>[A-Za-z0-9+/]{40})(?![A-Za-z0-9+/=_\-])", "AWS IAM; NP aws.2, aws.6", check=_aws_secret, caseless=True, after=256),
    secret("aws-session-token", r"session_?token", r"(?i:session_?token)[\"'\s:=>]{1,8}(?P<v>[A-Za-z0-9+/=._\-]{60,})", "AWS STS; NP aws.4", caseless=True),
    secret("aws-mws", r"amzn\.mws\.", rf"amzn\.mws\.{_H}{{8}}-{_H}{{4}}-{_H}{{4}}-{_H}{{4}}-{_H}{{12}}", "Amazon MWS; NP aws.5"),
    secret("aws-appsync", r"da2-", rf"{L}da2-[a-z0-9]{{26}}{R}", "AWS AppSync; NP"),
    secret("github", r"gh[pousr]_", rf"(?<![A-Za-z0-9])gh[pousr]_{_X}{{36,255}}", "GitHub: behind the token format, 2021"),
    secret("github-pat", r"github_pat_", r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}", "GitHub fine-grained tokens"),
    secret("gitlab", r"gl(?:pat|ptt|rt|soat|ft|dt|cbt|imt|agent|oas|ffct)-|GR1348941", rf"(?:gl(?:pat|ptt|rt|soat|ft|dt|cbt|imt|agent|oas|ffct)-{_U}{{20,64}}|GR1348941{_U}{{20}})", "GitLab token overview"),
    secret("slack", r"xox[abeprs]-|xapp-|xoxe\.", r"(?:xox[abeprs]-|xapp-|xoxe\.xox[bp]-)[A-Za-z0-9/\-]{10,}", "Slack token types; NP"),
    secret("slack-webhook", r"hooks\.slack\.com/(?:services|workflows|triggers)/", r"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<v>[A-Za-z0-9/_\-]{20,})", "Slack incoming webhooks"),
    secret("stripe", r"[spr]k_(?:live|test|prod)_|whsec_", rf"(?<![A-Za-z0-9])(?:[sr]k_(?:live|test|prod)_{_X}{{16,247}}|whsec_[A-Za-z0-9+/=]{{24,}})", "Stripe API keys"),
    secret("anthropic", r"sk-ant-", rf"sk-ant-{_U}{{20,}}", "Anthropic API keys; GL"),
    secret("openai", r"sk-", rf"{L}sk-(?:proj-|svcacct-|admin-|None-)?(?P<v>{_U}{{32,}})", "OpenAI API keys; GL", check=_mixed),
    secret("groq", r"gsk_", rf"{L}gsk_{_X}{{40,}}", "Groq; NP"),
    secret("huggingface", r"hf_|api_org_", rf"{L}(?:hf_|api_org_)[A-Za-z]{{34}}(?![A-Za-z0-9])", "Hugging Face user access tokens; GL"),
    secret("google-api-key", r"AIza", rf"(?<![A-Za-z0-9])AIza{_U}{{35}}", "Google API keys"),
    secret("google-oauth", r"GOCSPX-|ya29\.", rf"(?:GOCSPX-{_U}{{20,}}|(?<![A-Za-z0-9])ya29\.[A-Za-z0-9_\-]{{20,}})", "Google OAuth 2.0"),
    secret("google-client", r"\.apps\.googleusercontent\.com", r"(?<![A-Za-z0-9])\d{8,16}-[a-z0-9]{16,40}(?=\.apps\.googleusercontent\.com)", "Google OAuth client id; NP google.1", before=96, after=8),
    secret("azure-storage-key", r"(?:account|access|shared)_?key", r"(?i:account|access|shared)_?(?i:key)\s{0,2}[=:]\s{0,2}[\"']?(?P<v>[A-Za-z0-9+/]{40,88}={0,2})", "Azure Storage connection strings", caseless=True, check=_mixed),
    secret("azure-appconfig", r"\.azconfig\.io;", r"\.azconfig\.io;Id=[^;\s]{4,};Secret=(?P<v>[A-Za-z0-9+/=]{24,})", "Azure App Configuration; NP azure.2"),
    secret("azure-devops", r"AZDO", r"(?<![A-Za-z0-9])[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}(?![A-Za-z0-9])", "Azure DevOps token format 2024", before=90),
    secret("azure-pat", r"(?:token|pat)[^a-z0-9]{1,8}[a-z2-7]{10}", r"(?i:token|pat)[\"'\s:=]{1,8}(?P<v>[a-z2-7]{52})(?![A-Za-z0-9])", "Azure DevOps; NP azure.3", caseless=True),
    secret("azure-client-secret", r"\dQ~", r"(?<![A-Za-z0-9_\-.~])[A-Za-z0-9_\-.~]{3}\dQ~[A-Za-z0-9_\-.~]{31,34}(?![A-Za-z0-9_\-.~])", "Microsoft Entra client secrets"),
    secret("digitalocean", r"do[opr]_v1_", rf"do[opr]_v1_{_H}{{64}}", "DigitalOcean API tokens"),
    secret("doppler", r"dp\.(?:ct|pt|st|sa|scim|audit)\.", rf"{L}dp\.(?:ct|pt|st|sa|scim|audit)\.(?:[a-z0-9_\-]{{2,35}}\.)?{_X}{{40,44}}", "Doppler token formats"),
    secret("dockerhub", r"dckr_(?:pat|oat)_", rf"dckr_(?:pat|oat)_{_U}{{24,32}}", "Docker Hub access tokens"),
    secret("npm", r"npm_", rf"{L}npm_{_X}{{36}}(?![A-Za-z0-9])", "npm granular access tokens"),
    secret("pypi", r"pypi-AgE", rf"pypi-AgE{_U}{{50,}}", "PyPI API tokens"),
    secret("rubygems", r"rubygems_", rf"rubygems_{_H}{{48}}", "RubyGems API keys"),
    secret("nuget", r"oy2[a-z0-9]{8}", r"(?<![A-Za-z0-9])oy2[a-z0-9]{43}(?![A-Za-z0-9])", "NuGet API keys; NP"),
    secret("crates-io", r"cio[A-Za-z0-9]{8}", r"(?<![A-Za-z0-9])cio[A-Za-z0-9]{32}(?![A-Za-z0-9])", "crates.io API tokens; NP"),
    secret("vault", r"hv[sbr]\.|\b[sbr]\.[A-Za-z0-9]{8}", rf"(?:{L}hv[sbr]\.{_U}{{24,}}|(?<![\w.\-])[sbr]\.(?=[A-Za-z]*\d)(?:{_X}{{24,28}}|CAESI{_U}{{60,}})(?![\w.(]))", "HashiCorp Vault tokens"),
    secret("vault-unseal", r"unseal", r"(?i:unseal)(?i:\skey)?\s?\d?:?\s{0,3}(?P<v>[A-Za-z0-9+/]{43,44}={0,1})(?![A-Za-z0-9+/])", "HashiCorp Vault; NP hashicorp.7", caseless=True, check=_mixed),
    secret("terraform-cloud", r"\.atlasv1\.", rf"{_X}{{14}}\.atlasv1\.[A-Za-z0-9\-_=]{{60,70}}", "HCP Terraform; GL"),
    secret("databricks", r"dapi[a-f0-9]{8}", rf"{L}dapi{_H}{{32}}(?:-\d)?(?![A-Za-z0-9])", "Databricks personal access tokens"),
    secret("dependency-track", r"odt_", rf"{L}odt_{_X}{{32,255}}(?![A-Za-z0-9_])", "OWASP Dependency-Track; NP"),
    secret("dropbox", r"\bsl\.", rf"{L}sl\.{_U}{{100,}}", "Dropbox OAuth; NP"),
    secret("dynatrace", r"dt0[a-z]\d\d\.", r"dt0[a-z]\d\d\.[A-Z0-9]{24}\.[A-Z0-9]{64}", "Dynatrace token format"),
    secret("facebook", r"EAACEdEose0cBA", r"EAACEdEose0cBA[A-Za-z0-9]+", "Facebook; NP"),
    secret("figma", r"figma", rf"(?i:figma).{{0,32}}?(?<![\w\-])(?P<v>(?:figd_{_U}{{36,}}|\d{{4}}-{_H}{{8}}-{_H}{{4}}-{_H}{{4}}-{_H}{{4}}-{_H}{{12}}))", "Figma; NP", caseless=True),
    secret("adafruit", r"aio_", rf"{L}aio_{_X}{{28}}(?![A-Za-z0-9])", "Adafruit IO; NP"),
    secret("firecrawl", r"\bfc-", rf"{L}fc-{_H}{{32}}(?![A-Za-z0-9])", "Firecrawl; NP"),
    secret("grafana", r"gl(?:c|sa)_|eyJrIjoi", rf"(?:glc_[A-Za-z0-9+/=]{{32,}}|glsa_{_X}{{32}}_[A-Fa-f0-9]{{8}}|(?<![A-Za-z0-9])eyJrIjoi[A-Za-z0-9+/=_\-]{{50,}})", "Grafana service accounts"),
    secret("jina", r"jina_", rf"{L}jina_{_X}{{50,70}}", "Jina; NP"),
    secret("kagi", r"kagi", rf"(?i:kagi).{{0,24}}?(?<![\w\-])(?P<v>{_U}{{11}}\.{_U}{{43}})(?![\w\-])", "Kagi; NP", caseless=True),
    secret("kubernetes-bootstrap", r"bootstrap", r"(?i:bootstrap[_\-]?token)[\"'\s:=]{1,6}(?P<v>[a-z0-9]{6}\.[a-z0-9]{16})(?![A-Za-z0-9])", "Kubernetes bootstrap tokens", caseless=True),
    secret("kubernetes-bootstrap", r"token-secret", r"(?i:token-secret)[\"'\s:=]{1,6}(?P<v>[a-z0-9]{16})(?![A-Za-z0-9])", "Kubernetes bootstrap tokens", caseless=True),
    secret("mailchimp", r"-us\d", rf"(?<![A-Za-z0-9]){_H}{{32}}-us\d{{1,2}}(?![A-Za-z0-9])", "Mailchimp API keys", before=40),
    secret("mailgun", r"key-[a-f0-9]{8}", rf"(?<![A-Za-z0-9])key-{_H}{{32}}(?![A-Za-z0-9])", "Mailgun; GL"),
    secret("mapbox", r"\b[pst]k\.eyJ", rf"(?<![A-Za-z0-9])[pst]k\.eyJ{_U}{{8,}}(?:\\f)?{_U}*\.{_U}{{20,}}", "Mapbox access tokens"),
    secret("msteams-webhook", r"/webhook/[a-f0-9]{8}-", rf"/webhook/(?P<v>{_H}{{8}}-[0-9a-f\-]{{27}}@[0-9a-f\-]{{36}}/IncomingWebhook/{_H}{{32}}/[0-9a-f\-]{{36}})", "Microsoft Teams; NP"),
    secret("newrelic", r"NRA[KALM]|NRI[IQ]-|NRRA-|NRAL|NRJS-", rf"(?:NRAK-[A-Z0-9]{{27}}|NRAA-{_H}{{27}}|NRI[IQ]-{_U}{{32}}|NRRA-{_H}{{42}}|NRJS-{_H}{{19}}|(?<![A-Za-z0-9])[a-z0-9]{{36}}NRAL(?![A-Za-z0-9]))", "New Relic API keys", before=48),
    secret("pixie", r"px-(?:api|dep)-", rf"px-(?:api|dep)-{_H}{{8}}-{_H}{{4}}-{_H}{{4}}-{_H}{{4}}-{_H}{{12}}", "Pixie; NP newrelic.8"),
    secret("okta", r"okta", rf"(?i:okta).{{0,30}}?(?<![\w\-])(?P<v>00{_U}{{39}}[A-Za-z0-9_])(?![\w\-])", "Okta API tokens; NP", caseless=True),
    secret("postman", r"PMAK-", rf"PMAK-{_H}{{24}}-{_H}{{34}}", "Postman API keys"),
    secret("postmark", r"postmark", rf"(?i:postmark)[^\n]{{0,80}}?(?P<v>{_H}{{8}}-{_H}{{4}}-{_H}{{4}}-{_H}{{4}}-{_H}{{12}})", "Postmark server tokens; NP", caseless=True),
    secret("heroku", r"heroku", rf"(?i:heroku)[_\- ]?(?i:api)?[_\- ]?(?i:key|token|secret|auth)[\"'\s:=]{{1,8}}(?P<v>{_H}{{8}}-{_H}{{4}}-{_H}{{4}}-{_H}{{4}}-{_H}{{12}}|HRKU-{_U}{{36,60}})", "Heroku API keys; GL", caseless=True),
    secret("salesforce", r"00D[A-Za-z0-9]{12}!", r"(?<![A-Za-z0-9])00D[A-Za-z0-9]{12}![A-Za-z0-9_.]{80,}", "Salesforce session ids"),
    secret("sauce", r"sauce", rf"(?i:sauce)[^\n]{{0,24}}?(?P<v>{_H}{{8}}-{_H}{{4}}-{_H}{{4}}-{_H}{{4}}-{_H}{{12}})", "Sauce Labs; NP", caseless=True),
    secret("segment", r"sgp_", rf"{L}sgp_(?:(?:local_|{_H}{{16}}_))?[A-Fa-f0-9]{{40,64}}(?![A-Za-z0-9])", "Segment, Sourcegraph; NP"),
    secret("sendgrid", r"SG\.", rf"(?<![A-Za-z0-9])SG\.{_U}{{20,24}}\.{_U}{{39,50}}", "SendGrid API keys"),
    secret("shopify", r"shp(?:ss|at|ca|pa)_", r"shp(?:ss|at|ca|pa)_[a-fA-F0-9]{32}", "Shopify token formats"),
    secret("square", r"sq0(?:atp|csp|atb)-|EAAA", rf"(?:sq0(?:atp|csp|atb)-{_U}{{22,43}}|(?<![A-Za-z0-9])EAAA{_U}{{60}}(?![A-Za-z0-9]))", "Square credentials"),
    secret("stackhawk", r"hawk\.", rf"{L}hawk\.{_U}{{20}}\.{_U}{{20}}", "StackHawk; NP"),
    secret("tavily", r"tvly-", rf"{L}tvly-{_U}{{32,}}", "Tavily; NP"),
    secret("telegram", r"\d:AA", rf"(?<![A-Za-z0-9])\d{{8,11}}:AA{_U}{{32,34}}(?![A-Za-z0-9_\-])", "Telegram bot tokens", before=24),
    secret("thingsboard", r"/api/v1/[a-z0-9]{8}", r"thingsboard\.\w+/api/v1/(?P<v>[a-z0-9]{20})(?=/)", "ThingsBoard; NP", before=64),
    secret("truenas", r"\d-[A-Za-z0-9]{20}", r"(?<![A-Za-z0-9_\-])\d{1,2}-[A-Za-z0-9]{64}(?![A-Za-z0-9_\-])", "TrueNAS; NP", before=32),
    secret("twilio", r"\bSK[a-f0-9]{8}|\bAC[a-f0-9]{8}", rf"(?<![A-Za-z0-9])(?:SK|AC){_H}{{32}}(?![A-Za-z0-9])", "Twilio SIDs"),
    secret("twitch", r"live_\d", rf"{L}live_\d{{8,10}}_{_X}{{28,34}}(?![A-Za-z0-9])", "Twitch stream keys; NP"),
    secret("wireguard", r"(?:private|preshared)key", r"(?i:private|preshared)(?i:key)\s?=\s?(?P<v>[A-Za-z0-9+/]{43}=)", "wg(8)", caseless=True),
    secret("age", r"AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}", "age-encryption.org/v1"),
    secret("artifactory", r"AKC", r"(?<![A-Za-z0-9])AKC[A-Za-z0-9]{64,72}(?![A-Za-z0-9])", "JFrog Artifactory; GL"),
    secret("atlassian", r"ATATT3|ATBB|ATCTT3", r"(?:AT(?:A|C)TT3[A-Za-z0-9_=\-]{40,}|(?<![A-Za-z0-9])ATBB[A-Za-z0-9]{24,}(?![A-Za-z0-9]))", "Atlassian API tokens"),
    secret("linear", r"lin_api_|lin_oauth_", rf"lin_(?:api|oauth)_{_X}{{40,64}}", "Linear; GL"),
    secret("notion", r"\bntn_", rf"{L}ntn_{_X}{{40,}}", "Notion; GL"),
    secret("discord", r"[MNO][A-Za-z0-9_-]{23}\.", rf"(?<![\w\-])[MNO]{_U}{{23,25}}\.{_U}{{6}}\.{_U}{{27,38}}(?![\w\-])", "Discord bot tokens; GL", before=40),
    secret("discord-webhook", r"/api/webhooks/\d", rf"/api/webhooks/\d{{15,20}}/(?P<v>{_U}{{60,}})", "Discord webhooks"),
    secret("pagerduty", r"pagerduty|\bpd[a-z]{0,8}_?(?:token|key)", rf"(?i:pagerduty|pd)[\w\- ]{{0,24}}[\"'\s:=]{{1,6}}(?P<v>[A-Za-z0-9+_\-]{{20}}|{_H}{{32}})(?![A-Za-z0-9+_\-])", "PagerDuty; GL", caseless=True, check=_mixed),
    secret("sonarqube", r"sonar|sq[upa]_", rf"(?i:sonar)[\w.\-]{{0,24}}?(?i:login|token|key)?[\"'\s:=,]{{1,8}}(?P<v>{_H}{{40}}|sq[upa]_{_H}{{40}})(?![A-Za-z0-9])|(?<![A-Za-z0-9])sq[upa]_{_H}{{40}}(?![A-Za-z0-9])", "SonarQube tokens", caseless=True),
    secret("ssh-password-hash", r"\$(?:1|5|6|8|2[abxy]|y|argon2)", r"(?<![\w$])\$(?:1\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}|2[abxy]\$\d\d\$[./A-Za-z0-9]{53}|[56]\$(?:rounds=\d+\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{43,86}|8\$[./A-Za-z0-9]{14}\$[./A-Za-z0-9]{43}|y\$[./A-Za-z0-9]+\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{43}|argon2(?:i|d|id)\$[^\s\"']{30,})", "crypt(5)"),
    secret("kerberos-hash", r"\$krb5", r"\$krb5(?:asrep|tgs|pa)\$\d{1,2}\$[^\s\"']{32,}", "hashcat modes 18200, 13100"),
    secret("pem-base64", r"LS0tLS1CRUdJTi", r"LS0tLS1CRUdJTi[A-Za-z0-9+/=_\-]{16,}", "RFC 7468 in RFC 4648 base64", check=lambda m: "UFJJVkFUR" in m.group() or "BSSVZBVE" in m.group() or "QUklWQVRF" in m.group()),
)  # fmt: skip

_PEM = re.compile(r"-----BEGIN (?P<what>[A-Z0-9 ]{0,40}?)PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d:")
_PEM_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|Private-MAC: [0-9a-f]+")
_PEM_CAP: Final = 64 * 1024
_PEM_OPEN: Final = 16 * 1024


def find_pem(text: str, low: int, high: int) -> Iterator[Span]:
    """RFC 7468 private keys, to their END; without one up to the end of the text or 16 KiB (fail closed)."""
    at = low
    while match := _PEM.search(text, at, high):
        end = _PEM_END.search(text, match.end(), match.end() + _PEM_CAP)
        at = end.end() if end else min(match.end() + _PEM_OPEN, len(text))
        yield Span(SECRET, match.start(), at, "secret.private-key", Tier.URL, 1.0, "private-key")


_URL_USER = re.compile(
    r"://(?P<user>[^\s:/@?#\"'<>\\]{0,128}):(?P<v>(?:[^\s/?\"'<>\\]|/(?=[^\s/?\"'<>@]{1,64}@)){1,256})@(?=[A-Za-z0-9\[%_.*-])"
)
_URL_TOKEN = re.compile(r"://(?P<v>[A-Za-z0-9_\-.]{20,255})@[A-Za-z0-9]")
_ORACLE = re.compile(r"jdbc:oracle:\w+:[^\s/@\"']{1,64}/(?P<v>[^\s@\"']{1,128})@")
_TEMPLATE = re.compile(
    r"\$\{[^}]*\}|\$\([^)]*\)|\{\{.*?\}\}|<[^>]*>|\$[A-Za-z_]\w*|%[A-Za-z_]\w*%|&lt;.*&gt;|\*+|x+|X+|#+|\.{3}|%s|\{\w*\}"
)


def placeholder(value: str) -> bool:
    """A hole where a secret will be put: ``${DB_PASSWORD}``, ``<password>``, ``****``."""
    return bool(_TEMPLATE.fullmatch(value))


def find_url_credentials(text: str, low: int, high: int) -> Iterator[Span]:
    """RFC 3986 user information: the password of ``scheme://user:password@host``, or a token in its place."""
    for pattern in (_URL_USER, _URL_TOKEN, _ORACLE):
        for match in matches(pattern, text, low, high):
            value = match.group("v")
            if not placeholder(value) and (pattern is not _URL_TOKEN or opaque(value, shortest=20)):
                yield Span(SECRET, *match.span("v"), "secret.url-credential", Tier.URL, 0.95, "url-credential")


_HEADER = re.compile(
    r"(?i)\b(?:proxy-)?authori[sz]ation\b\\?[\"']?\]?\s{0,3}[:=,]\s{0,3}[\\\"'`]{0,3}(?:(?P<scheme>basic|bearer|token|digest|negotiate|apikey|splunk|aws4-hmac-sha256|key|bot)\s{1,3})?(?P<v>[^\s\"'`\\][^\r\n\"'`\\]{2,4096})"
)
_BEARER = re.compile(r"(?i)\bbearer:?\s{1,3}[\"']?(?P<v>[A-Za-z0-9_\-.~+/=]{16,8192})")
_COOKIE = re.compile(
    r"(?i)\b(?:set-)?cookie\b[\"']?\s{0,3}[:=]\s{0,3}[\\\"']{0,3}(?P<v>[^\s\"'`\\=;]{1,64}=[^\r\n\"'`\\]{1,4096})"
)


def find_headers(text: str, low: int, high: int) -> Iterator[Span]:
    """Authorization, Proxy-Authorization (RFC 9110), Bearer (RFC 6750), Cookie and Set-Cookie (RFC 6265) in text."""
    for match in matches(_HEADER, text, low, high):
        value = match.group("v")
        if not placeholder(value.rstrip(" ,;)}]")) and (match["scheme"] or opaque(value, shortest=8, bits=2.5)):
            end = match.start("v") + len(value.rstrip(" ,;)}]"))
            yield Span(SECRET, match.start("v"), end, "secret.authorization", Tier.URL, 0.95, "authorization")
    for match in matches(_BEARER, text, low, high):
        if opaque(match.group("v"), bits=2.5):
            yield Span(SECRET, *match.span("v"), "secret.bearer", Tier.VALIDATED, 0.9, "token")
    for match in matches(_COOKIE, text, low, high):
        yield Span(SECRET, *match.span("v"), "secret.cookie", Tier.URL, 0.9, "cookie")


_JWT = re.compile(r"(?<![A-Za-z0-9_\-])(?P<v>eyJ[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*){1,4}=*)")


def find_jwts(text: str, low: int, high: int) -> Iterator[Span]:
    """RFC 7515/7516 compact serialisations whose header decodes."""
    for match in matches(_JWT, text, low, high):
        if _jwt(match):
            yield Span(SECRET, *match.span("v"), "secret.jwt", Tier.VALIDATED, 1.0, "jwt")


RULES: Final = (
    *VENDORS,
    Rule(
        "secret.private-key",
        (Anchor("-----BEGIN"), Anchor("PuTTY-User-Key-File")),
        find_pem,
        24,
        64,
        "RFC 7468; PuTTY PPK",
    ),
    Rule(
        "secret.url-credential",
        (Anchor("://"), Anchor("jdbc:oracle:")),
        find_url_credentials,
        16,
        16,
        "RFC 3986 §3.2.1; JDBC",
    ),
    Rule(
        "secret.headers",
        (Anchor("authori|bearer|cookie", caseless=True),),
        find_headers,
        16,
        32,
        "RFC 9110 §11, RFC 6750, RFC 6265",
    ),
    Rule("secret.jwt", (Anchor("eyJ"),), find_jwts, 4, 8192, "RFC 7515 §3.1"),
)
