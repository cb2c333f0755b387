"""Made-up credentials of many kinds, drawn by shape, and the places where code holds them.

Nothing here looks like a credential until it is drawn, so that no scanner stops at this file.
"""

import random
import re
import string
from urllib.parse import quote

_LETTERS = string.ascii_letters
_ALPHABETS = {
    "x": "0123456789abcdef",
    "a": string.ascii_lowercase + string.digits,
    "A": _LETTERS + string.digits,
    "U": string.ascii_uppercase + string.digits,
    "2": string.ascii_uppercase + "234567",
    "b": _LETTERS + string.digits + "+/",
    "u": _LETTERS + string.digits + "-_",
    "d": string.digits,
    "w": string.ascii_lowercase,
}
KINDS = {
    "AWS access key id": "AKIA{U16}",
    "AWS secret key": "{b40}",
    "AWS session token": "IQoJb3JpZ2luX2Vj{b300}==",
    "Adafruit": "aio_{A28}",
    "age": "AGE-SECRET-KEY-1{U58}",
    "Airtable": "pat{A14}.{x64}",
    "Alibaba": "LTAI{A20}",
    "Anthropic": "sk-ant-api03-{u93}AA",
    "Artifactory": "AKCp{A69}",
    "Asana": "1/{d16}:{x32}",
    "Atlassian": "ATATT3xFfGF0{u170}={U8}",
    "Azure client secret": "{A3}8Q~{u34}",
    "Azure connection string": (
        "DefaultEndpointsProtocol=https;AccountName=store;AccountKey={b86}==;"
        "EndpointSuffix=core.windows.net"
    ),
    "Azure DevOps": "{a52}",
    "Azure OpenAI": "{x32}",
    "Azure SAS": "https://store.blob.core.windows.net/c/f?sv=2022-11-02&sp=r&sig={A40}%2B%3D",
    "Azure storage key": "{b86}==",
    "app password": "{w4} {w4} {w4} {w4}",
    "basic header": "Basic {b30}==",
    "bearer header": "Bearer {u40}",
    "Bitbucket": "ATBB{A32}",
    "Brevo": "xkeysib-{x64}-{A16}",
    "Buildkite": "bkua_{x40}",
    "Cloudflare": "{u40}",
    "Cohere": "{A40}",
    "Comet": "{A25}",
    "Databricks": "dapi{x32}",
    "Datadog": "{x40}",
    "DigitalOcean": "dop_v1_{x64}",
    "Discord bot": "M{A25}.{A6}.{u38}",
    "Discord webhook": "https://discord.com/api/webhooks/{d18}/{u68}",
    "Docker": "dckr_pat_{u27}",
    "Doppler": "dp.pt.{A43}",
    "Dropbox": "sl.B{u130}",
    "Ethereum key": "0x{x64}",
    "Facebook": "EAAC{A150}",
    "Figma": "figd_{u40}",
    "Fireworks": "fw_{A24}",
    "GitHub": "ghp_{A36}",
    "GitHub, fine": "github_pat_{A22}_{A59}",
    "GitLab": "glpat-{u20}",
    "Google API key": "AIza{u35}",
    "Google OAuth": "ya29.{u120}",
    "Google OAuth secret": "GOCSPX-{u28}",
    "Google refresh token": "1//0{u60}",
    "Grafana": "glsa_{A32}_{x8}",
    "Groq": "gsk_{A52}",
    "HashiCorp Terraform": "{A14}.atlasv1.{u67}",
    "Heroku": "HRKU-AA{u58}",
    "Hugging Face": "hf_{A34}",
    "index address with a token": "https://__token__:glpat-{u20}@gitlab.example/api/simple",
    "Jina": "jina_{x32}{A28}",
    "JWT": "eyJ{A33}.eyJ{A60}.{u43}",
    "Kaggle's file": '{{"username":"someone","key":"{x32}"}}',
    "LangSmith": "lsv2_pt_{x32}_{x10}",
    "Linear": "lin_api_{A40}",
    "Mailchimp": "{x32}-us12",
    "Mailgun": "key-{x32}",
    "Mapbox": "sk.eyJ{A60}.{A22}",
    "Mistral": "{A32}",
    "NGC": "nvapi-{u64}",
    "NGC, old": "{b84}",
    "New Relic": "NRAK-{U27}",
    "Notion": "ntn_{A46}",
    "npm": "npm_{A36}",
    "OpenAI": "sk-{A20}T3BlbkFJ{A20}",
    "OpenAI, project": "sk-proj-{u74}T3BlbkFJ{u74}",
    "OpenRouter": "sk-or-v1-{x64}",
    "password's hash": "$2b$12${A53}",
    "password with signs": "{w5}{d2}!{A4}#{w3}",
    "password with spaces": "correct {w5} battery {w6}",
    "Perplexity": "pplx-{A48}",
    "PGP": (
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{b64}\n{b64}\n-----END PGP PRIVATE KEY BLOCK-----"
    ),
    "Pinecone": "pcsk_{A5}_{A63}",
    "Postgres address": "POSTGRESQL://me:{A12}@db.example:5432/x",
    "Postman": "PMAK-{x24}-{x34}",
    "private key": "-----BEGIN RSA PRIVATE KEY-----\n{b64}\n{b64}\n-----END RSA PRIVATE KEY-----",
    "PyPI": "pypi-AgEIcHlwaS5vcmc{u120}",
    "Replicate": "r8_{A37}",
    "RunPod": "rpa_{U40}{A6}",
    "SendGrid": "SG.{u22}.{u43}",
    "Sentry": "https://{x32}@o{d6}.ingest.sentry.io/{d7}",
    "SerpAPI": "{x64}",
    "Shopify": "shpat_{x32}",
    "Slack bot": "xoxb-{d12}-{d13}-{A24}",
    "Slack webhook": "https://hooks.slack.com/services/T{U10}/B{U10}/{A24}",
    "SMTP address": "smtp://me%40x.example:{A16}@smtp.example:587",
    "Square": "EAAA{u60}",
    "Stripe": "sk_live_{A24}",
    "Stripe webhook": "whsec_{A32}",
    "Supabase": "sbp_{x40}",
    "Tavily": "tvly-{A32}",
    "Teams webhook": "https://x.webhook.office.com/webhookb2/{x32}@{x32}/IncomingWebhook/{x32}",
    "Telegram": "{d10}:AA{u33}",
    "token as user": "https://{A24}@git.example/x.git",
    "token in a query": "https://api.example/v1/items?page=2&api_key={A24}",
    "Twilio": "SK{x32}",
    "Twitter": "AAAAAAAAAAAAAAAAAAAAA{A80}",
    "Vault": "hvs.{u90}",
    "Voyage": "pa-{u43}",
    "W&B": "{x40}",
    "xAI": "xai-{A80}",
    "Yandex": "y0_{u55}",
}
"""Kind -> its shape: `{A36}` is 36 characters of the alphabet A."""
PLACEMENTS = {
    "assignment": "setting = {!r}",
    "login": "service.login({!r})",
    "second of a login": "client.login('someone', {!r})",
    "keyword": "Client(url='x', api_key={!r})",
    "header": "get(url, headers={{'X-Api-Key': {!r}}})",
    "list": "values = ['a', {!r}]",
    "comment": "# {}",
    "default": "def run(n, key={!r}):\n    return n",
    "f-string": "x = f'{{host}} {}'",
    "setattr": "setattr(openai, 'api_key', {!r})",
    "walrus": "if (thing := {!r}):\n    pass",
    "lines": "text = '''first line\n{}\n'''",
    "query": "get('https://api.example/v1?limit=5&token={}')",
    "userinfo": "clone('https://someone:{}@git.example/x.git')",
}


def draw(shape, seed):
    """Return a credential of a shape."""
    source = random.Random(seed)  # noqa: S311 - made up, and the same each time

    def piece(found):
        return "".join(source.choices(_ALPHABETS[found[1]], k=int(found[2])))

    text = re.sub(r"(?<!\{)\{(\w)(\d+)\}", piece, shape)
    return text.replace("{{", "{").replace("}}", "}")


def placed(credential, placement):
    """Return code that holds a credential, None where it cannot stand: an address in another."""
    if placement in ("query", "userinfo"):
        if "://" in credential or "\n" in credential:
            return None
        credential = quote(credential.rpartition(" ")[2], safe="~")
    if placement == "comment":
        credential = credential.replace("\n", "\n# ")
    if placement == "f-string":
        credential = credential.replace("\n", "\\n").replace("{", "{{").replace("}", "}}")
    return PLACEMENTS[placement].format(credential)


def every(seed):
    """Yield kind, placement, credential and code, for all that can be."""
    for kind, shape in KINDS.items():
        credential = draw(shape, f"{seed}{kind}")
        for placement in PLACEMENTS:
            code = placed(credential, placement)
            if code is not None:
                yield kind, placement, credential, code
