"""What in a text looks like a credential: by its shape, by what stands around it, or by chance.

A text is judged by the shapes that services publish of their tokens, by the name it stands under
(assigned, passed, a header, a part of an address), and by whether its characters look drawn by
chance. Nothing is sent anywhere to find out whether a credential is alive.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHAPES = (
    ("an AWS key", "AWS_ACCESS_KEY_ID", r"(?:AKIA|ASIA)[0-9A-Z]{16}"),
    ("an AWS session token", "AWS_SESSION_TOKEN", r"(?:IQoJb3JpZ2lu|FwoGZXIvYXdz)[\w+/=%-]{80,}"),
    ("a GitHub token", "GITHUB_TOKEN", r"gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,}"),
    ("a GitLab token", "GITLAB_TOKEN", r"gl[a-z]{2,5}-[A-Za-z0-9_-]{20,}"),
    ("a Hugging Face token", "HF_TOKEN", r"(?:hf|api_org)_[A-Za-z0-9]{30,}"),
    ("an Anthropic key", "ANTHROPIC_API_KEY", r"sk-ant-[A-Za-z0-9_-]{20,}"),
    ("an API key", "OPENAI_API_KEY", r"sk-(?=[\w-]{0,40}\d)[A-Za-z0-9_-]{20,}"),
    ("a Google key", "GOOGLE_API_KEY", r"AIza[\w-]{35}|GOCSPX-[\w-]{20,}|ya29\.[\w-]{20,}"),
    ("a Stripe key", "STRIPE_API_KEY", r"(?:[sr]k_(?:live|test)|whsec)_[A-Za-z0-9]{16,}"),
    ("a Slack token", "SLACK_TOKEN", r"x(?:ox[a-z]|app)-[A-Za-z0-9-]{10,}"),
    ("an index token", "INDEX_TOKEN", r"pypi-[A-Za-z0-9_-]{50,}|npm_[A-Za-z0-9]{36}"),
    ("a SendGrid key", "SENDGRID_API_KEY", r"SG\.[\w-]{16,}\.[\w-]{16,}"),
    ("a Discord token", "DISCORD_TOKEN", r"[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,}"),
    ("a Telegram token", "TELEGRAM_TOKEN", r"\d{8,10}:[\w-]{35}"),
    ("an Azure secret", "AZURE_CLIENT_SECRET", r"[\w~.-]{3}8Q~[\w~.-]{31,}"),
    ("a signed token", "JWT", r"(?<![\w-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
    (
        "the hash of a password",
        "PASSWORD_HASH",
        r"\$(?:2[aby]|5|6|y|argon2\w*)\$[./A-Za-z0-9$=,+]{20,}",
    ),
    (
        "a private key",
        "PRIVATE_KEY",
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?-----END [A-Z0-9 ]*-----|.*)"
        r"|AGE-SECRET-KEY-1[0-9A-Z]{50,}|PuTTY-User-Key-File-\d",
    ),
    (
        "a webhook's address",
        "WEBHOOK_URL",
        r"(?i:(?:https?://[\w.-]{0,80}\b)?(?:hooks?|office|discord(?:app)?)\.[\w./-]{0,80}(?:hook|services)"
        r"[\w-]{0,20}/[\w@/-]{16,})",
    ),
    (
        "an access token",
        "ACCESS_TOKEN",  # a prefix that its issuer chose so that it can be found
        r"(?:dapi|r8_|gsk_|dop_v1_|shp[a-z]{2}_|ntn_|lin_api_|figd_|dckr_pat_|sbp_|gl(?:sa|c)_|pplx-"
        r"|xai-|nvapi-|hv[sbr]\.|pcsk_|tvly-|lsv2_[a-z]{2}_|jina_|rpa_|NRAK-|PMAK-|xkeysib-|HRKU-"
        r"|bkua_|ATBB|ATATT3|sntry[su]_|rubygems_|AKCp)[A-Za-z0-9][A-Za-z0-9_-]{22,}"
        r"|(?:secret_|fw_|aio_|sk_|sl\.|dp\.[a-z]{2}\.|SK|key-|y0_|tfp_|pnu_|EAA)"
        r"(?=[\w-]{0,22}\d)[A-Za-z0-9][A-Za-z0-9_-]{22,}",  # may begin a word, too
    ),
)
"""Kind, the variable that is usual for it, and the shape that its service publishes."""
_SHAPE = re.compile(r"(?<![A-Za-z0-9])(?:" + "|".join(f"({one[2]})" for one in _SHAPES) + ")")
_ADDRESS = re.compile(r"(?i)\b[a-z][a-z0-9+.-]{0,20}://[^\s'\"<>`]+")
_USERINFO = re.compile(r"://(?:([^\s/:@'\"{}\0]*):)?([^\s/'\"{}\0]+)@")
_QUERY = re.compile(r"[?&;#]([\w.-]+)=([^\s&;#'\"{}\0]+)")
_PAIR = re.compile(
    r"\b([A-Za-z][\w.-]{0,60})[\"']?\s*(?:=>|:=|[:=])\s*"
    r"(?:b?\"([^\"\n\0]+)\"|b?'([^'\n\0]+)'|([^\s'\"&;,<>{}()\[\]\0]+))"
)
_SAID = re.compile(
    r"(?i)\b(pass(?:word|wd|phrase)|pwd|secret|token|api[-_ ]?key)(?:\s+is)?\s+([^\s'\"\0]{6,})"
)
_SCHEME = re.compile(r"(?i)\b(?:bearer|basic|token|apikey)\s+([\w.~+/=:-]{8,})")
_BEFORE = re.compile(r"([A-Za-z]\w*)\W{0,3}$")
_WORD = re.compile(r"[A-Za-z0-9+/_.~-]{16,}={0,2}")
_TYPED = re.compile(
    r"(?<!\S)(?=\S{8,40}(?!\S))(?=\S*[a-z])(?=\S*[A-Z])(?=\S*\d\S*\d)(?=\S*[!@#$%^&*])[\w!@#$%^&*-]{8,40}(?!\S)"
)
"""A password as rules for passwords want it."""

_STRONG = re.compile(
    r"(pass(word|wd|phrase|code|wort)|pwd|secret|authorization|connectionstring|connstr"
    r"|(secret|private|access|auth|account|sign(ing)?|encryption|shared|licen[cs]e|master|storage"
    r"|subscription|service|api|wandb|openai|sas)key"
    r"|(access|auth|api|bearer|refresh|private|hf|hub|github|gitlab|slack|bot|security)token)"
    r"s?(value|str|string|text|default|prod|dev)?$|^(smtp|db|user|mail|root|admin)pass$"
)
"""Names, their letters alone, under which a literal is a credential whatever it looks like."""
_WEAK = re.compile(
    r"(token|key|auth|credential|cookie|session|sid|signature|sig|code|jwt|bearer|appid|pat|salt"
    r"|pass|cred)s?$"
)
"""Names that everyday code has, too: there the value decides."""
_SIGNS = re.compile(r"(token|sig|signature|auth|jwt|appid|sid)$")
"""Those of them that an address has for nothing else."""
_HARMLESS = re.compile(
    r"(sha|hash|md|digest|checksum|integrity|commit|revision|rev|etag|fingerprint|u?uid|guid|id"
    r"|path|file|filename|folder|dir|image|img|model|checkpoint|ckpt|dataset|vocab|sequence|smiles"
    r"|address|tag|branch|checkout|hard|head|version|column|field|feature|label|name|title"
    r"|(sort|primary|foreign|group|cache|state|dict|public|partition|index|join)key)(e?s)?$"
)
"""Names under which even random-looking values are harmless."""
_LOGIN = re.compile(r"((log|sign)in|auth(enticate|orize)?|(basic|digest|proxy)auth|credentials?)$")
_ASKS = re.compile(
    r"(get|load|read|fetch|create|ask|input|prompt|find|list|delete|remove|check|has|is|validate"
    r"|hash|encode|add|generate|count|num|drop|rename)"
)
"""Calls whose argument names a credential, or has nothing to do with one."""
_PLACEHOLDER = re.compile(
    r"(?i)^\W*$|^<.*>$|^\[.*\]$|^(.)\1*$|\*{3}|\.{3}|…|^\$\w+$|\$\{|%\(|%s|\{|x{4,}|:$|change_?me"
    r"|(?<![a-z])(your?|my|insert|here|enter|change|replace|paste|placeholder|example|todo|dummy"
    r"|fake|none|null|nan|true|false|redacted|default|please|string|str|test)(?![a-z])"
)
_FOLLOWS = (
    "a:bcdgilmnprsty b:aeilo c:aehiklortu d:adeio e:acdefglmnprstvx f:afio g:er h:aeio "
    "i:abcdefglmnoprst k:e l:adeilostu m:aeiop n:acdegiostuv o:cdlmnoprstuw p:aelort q:u "
    "r:acdeimorst s:acehilopstu t:acehiorsty u:ilmnprst v:ae x:t"
)
_COMMON = frozenset(part[0] + letter for part in _FOLLOWS.split() for letter in part[2:])
"""Pairs of letters: three quarters of those in words, a quarter of those that chance draws."""
_APP_PASSWORD = re.compile(r"[a-z]{4}( [a-z]{4}){3}")
_UUID = re.compile(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PATH = re.compile(r"^(~|\.{0,2}/|[A-Za-z]:\\)|\.[A-Za-z]\w{0,4}$")
_PICTURE = re.compile(r"iVBORw0KGgo|/9j/|R0lGOD|UklGR|PHN2|PD94|JVBER|UEsDB|H4sI")
"""How files begin in base64."""
_BLOCK = re.compile(r"(?:^[A-Za-z0-9+/=]{60,}\n){2,}", re.MULTILINE)
_MOST = 1000
"""Findings in one text; with so many, the rest adds nothing but time."""
_LONGEST = 256
"""Longer than any credential without a shape of its own."""


class Place(NamedTuple):
    """What stands around a literal."""

    name: str = ""
    """What it is assigned to, passed as, or the value of."""
    called: str = ""
    """The function that takes it by position."""
    alone: bool = True
    """It is the only positional argument."""
    is_key: bool = False
    """It names something itself: a dictionary's key, a subscript."""


class Span(NamedTuple):
    """A part of a text that looks like a credential."""

    start: int
    end: int
    kind: str
    variable: str
    """The variable of the environment that may hold it instead."""


NOWHERE = Place()


def judge(text: str, place: Place = NOWHERE) -> list[Span]:
    """Return the parts of a text that look like credentials, none within another, in order."""
    spans = [*_shaped(text, place), *_in_addresses(text), *_in_pairs(text)]
    if not place.is_key:
        spans += [*_whole(text, place), *_drawn(text, place)]
    kept: list[Span] = []
    covered = bytearray(len(text))
    for one in spans:
        if not any(covered[one.start : one.end]):
            covered[one.start : one.end] = b"\1" * (one.end - one.start)
            kept.append(one)
    return sorted(kept)[:_MOST]


def has_shape(text: str) -> bool:
    """Whether any text holds what has the shape that a service publishes of its credentials."""
    return _SHAPE.search(text) is not None


def is_secret_name(name: str) -> bool:
    """Whether a name says that its value is a credential."""
    return _STRONG.search(letters(name)) is not None


def may_be_secret_name(name: str) -> bool:
    """Whether a name says so, or leaves it to the value."""
    return is_secret_name(name) or _is_weak(name)


def is_login(called: str) -> bool:
    """Whether a call, by the letters of its name, takes a user and a password."""
    return _LOGIN.search(called) is not None


def letters(name: str) -> str:
    """Return the letters of a name alone, in lower case."""
    return re.sub(r"[^a-z]", "", name.lower())


def _shaped(text: str, place: Place) -> Iterator[Span]:
    for found in _SHAPE.finditer(text):
        kind, variable, _ = _SHAPES[(found.lastindex or 1) - 1]
        yield Span(*found.span(), kind, _variable(place) if place.name.isupper() else variable)


def _in_addresses(text: str) -> Iterator[Span]:
    for address in _ADDRESS.finditer(text):
        for found in _USERINFO.finditer(text, *address.span()):
            if _is_password(found[2]) if found[1] is not None else _is_dense(found[2]):
                yield Span(*found.span(2), "an address with a password", "URL_PASSWORD")
        for found in _QUERY.finditer(text, *address.span()):
            name, value = letters(found[1]), found[2]
            strong = _STRONG.search(name) and _is_password(value)
            dense = _is_dense(value, 8) or (_SIGNS.search(name) and _is_mixed(value))
            if strong or (_WEAK.search(name) and dense and not _is_placeholder(value)):
                yield Span(*found.span(2), "an address with a key", _upper(found[1]))
    for found in _SCHEME.finditer(text):
        if _is_dense(found[1], 12):
            yield Span(*found.span(1), "an authorization", "AUTHORIZATION")


def _in_pairs(text: str) -> Iterator[Span]:
    """Yield values that a text gives names to: JSON, connection strings, options, prose."""
    for found in (*_PAIR.finditer(text), *_SAID.finditer(text)):
        group = found.lastindex or 2
        written = group in (2, 3) and found.re is _PAIR  # in quotation marks
        value = found[group]
        strong = is_secret_name(found[1]) and (written or _is_mixed(value))
        if (strong and _is_password(value)) or (_is_weak(found[1]) and _is_dense(value)):
            yield Span(*found.span(group), _value_of(found[1]), _upper(found[1]))


def _whole(text: str, place: Place) -> Iterator[Span]:
    """Yield a literal that its name, or the function it is given to, makes a credential."""
    start = scheme.start(1) if (scheme := _SCHEME.fullmatch(text)) else 0
    value, called = text[start:], letters(place.called.rpartition(".")[2])
    if place.name:
        kind = _value_of(place.name)
        found = is_secret_name(place.name) and _is_password(value)
        found = found or (_is_weak(place.name) and _is_dense(value))
    else:
        kind = f"what {place.called[:60]}() is given"
        plain = place.alone and not (_is_mixed(value) or " " in value)
        found = not plain and _is_password(value) and not _ASKS.match(called)
        found = found and (is_login(called) or is_secret_name(called))
    if found:
        yield Span(start, len(text), kind, _variable(place))


def _value_of(name: str) -> str:
    """Return how a message names what a name stands for; never what may be a credential itself."""
    plain = re.fullmatch(r"[A-Za-z_][\w. -]{0,60}", name) and not _is_dense(name)
    return f"the value of {name}" if plain else "a credential"


def _drawn(text: str, place: Place) -> Iterator[Span]:
    """Yield the words of a text that look random, unless a name says that they are harmless."""
    if any(_is_harmless(one) for one in (place.name, place.called.rpartition(".")[2]) if one):
        return
    for found in _TYPED.finditer(text):
        yield Span(*found.span(), "a password", _variable(place))
    if _APP_PASSWORD.fullmatch(text) and not _has_words(text):
        yield Span(0, len(text), "a password", _variable(place))
    rest = _ADDRESS.sub(lambda one: "\0" * len(one[0]), text)
    rest = _BLOCK.sub(lambda one: "\0" * len(one[0]), rest)
    for found in _WORD.finditer(rest):
        before = _BEFORE.search(rest, max(0, found.start() - 60), found.start())
        if _is_drawn(found[0]) and not (before and _is_harmless(before[1])):
            yield Span(*found.span(), "a random-looking string", _variable(place))


def _is_drawn(word: str) -> bool:
    """Whether characters look random: many different ones, of several classes."""
    word = word.strip("=./~")
    bare = re.sub(r"[^A-Za-z0-9]", "", word)
    if not 16 <= len(word) <= _LONGEST or _UUID.search(word) or _PICTURE.match(word):
        return False
    longest = max(map(len, re.split(r"[^A-Za-z0-9]", word)))
    if (
        longest < 8
        or ("/" in word and len(word) < 32)
        or _PATH.search(word)
        or re.match(r"sha\d+[-_]", word)
    ):
        return False
    digits, letters = sum(map(str.isdigit, bare)), sum(map(str.isalpha, bare))
    if part := re.search(r"[0-9a-f]{32,}|[0-9A-F]{32,}", word):
        return len(set(part[0])) >= 5 and not (part[0].isdigit() or part[0].isalpha())
    mixed = not (bare.isupper() or bare.islower())
    changes = len(re.findall(r"[a-z](?=[A-Z0-9])|[A-Z](?=[A-Z]*[a-z0-9])|[0-9](?=[A-Za-z])", bare))
    enough = digits >= 1 if mixed else digits >= 2
    return (
        letters >= 4
        and (enough or (mixed and changes >= len(bare) / 3))
        and changes >= len(bare) / 5
        and _bits(word) >= 3.4
        and not _has_words(word)
    )


def _bits(word: str) -> float:
    """Return the entropy of a character in bits."""
    counts = Counter(word).values()
    return -sum(n / len(word) * math.log2(n / len(word)) for n in counts)


def _has_words(text: str) -> bool:
    """Whether the pairs of letters speak for words: by the log of their odds, chance for a tie."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", text)
    pairs = [a + b for part in parts for a, b in zip(part.lower(), part.lower()[1:], strict=False)]
    common = sum(pair in _COMMON for pair in pairs)
    # 77 of 100 pairs in words are common, and 24 of 100 drawn ones
    return common * math.log(0.77 / 0.24) + (len(pairs) - common) * math.log(0.23 / 0.76) > 2


def _is_dense(value: str, least: int = 16) -> bool:
    """Whether a value may be a token: long, letters and digits, no words."""
    if len(value) < least or re.search(r"\s", value) or "://" in value or _is_placeholder(value):
        return False
    return _is_drawn(value) or (_is_mixed(value) and not _has_words(value))


def _is_mixed(value: str) -> bool:
    return bool(re.search(r"\d", value) and re.search(r"[A-Za-z]", value))


def _is_password(value: str) -> bool:
    """Whether a value may be a password, where its place says that one stands there."""
    if len(value) < 4 or "\0" in value or "://" in value or "\n\n" in value:
        return False
    return _is_drawn(value) or not (_is_placeholder(value) or _PATH.search(value))


def _is_placeholder(value: str) -> bool:
    """Whether a value stands for one: `<key>`, `your-key`, `API_KEY`."""
    name = re.fullmatch(r"[A-Za-z_ .-]+", value) and letters(value)
    return bool(
        _PLACEHOLDER.search(value) or (name and (_STRONG.search(name) or _WEAK.search(name)))
    )


def _is_weak(name: str) -> bool:
    return bool(_WEAK.search(letters(name))) and not _is_harmless(name)


def _is_harmless(name: str) -> bool:
    return _HARMLESS.search(letters(name)) is not None


def _variable(place: Place) -> str:
    """Return what a variable is called that holds what stands in a place."""
    if place.name:
        return _upper(place.name) + "_SECRET" * (not may_be_secret_name(place.name))
    root = place.called.partition(".")[0]
    return f"{_upper(root)}_{'API_KEY' if place.alone else 'PASSWORD'}" if root else "SECRET"


def _upper(name: str) -> str:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name)
    return re.sub(r"^(?=\d)", "_", snake.strip("_").upper()) or "SECRET"
