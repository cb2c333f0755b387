import ast
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.export.function.secrets import environment_names, suspects
from tests.export import credentials

every = list(credentials.every(0))
# put together here, so that no file of the project holds what looks like a token
TOKENS = {
    "AWS": "AKIA" + "Z" * 16,
    "GitHub": "ghp" + "_" + "a1" * 18,
    "GitHub, fine": "github" + "_pat_" + "A1" * 15,
    "GitLab": "glpat" + "-" + "x1" * 12,
    "Hugging Face": "hf" + "_" + "Ab" * 17,
    "OpenAI": "sk" + "-" + "proj-" + "a1" * 12,
    "Google": "AI" + "za" + "B" * 35,
    "Slack": "xoxb" + "-" + "1" * 12,
    "PyPI": "pypi" + "-" + "A" * 60,
    "npm": "npm" + "_" + "a" * 36,
    "key": "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "JWT": "ey" + "J" + "a" * 12 + ".ey" + "J" + "b" * 12 + "." + "c" * 12,
    "address": "postgres://me:" + "hunter2@db.example/x",
}


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
@pytest.mark.parametrize(
    "form",
    [
        "x = {!r}",
        "call({!r})",
        "# {}",
        "x = {{'a': [{!r}]}}",
        "x = f'{{y}} {}'",
        "x = '''\n{}\n'''",
    ],
)
def test_shapes_are_found_wherever_they_stand(token, form):
    found = suspects("import os\n" + form.format(token))
    assert found
    assert min(one.line for one in found) in (2, 3)
    assert token not in str(found)


def test_a_token_in_pieces_is_found():
    token = TOKENS["GitHub"]
    found = suspects(f"x = ({token[:6]!r}\n     {token[6:]!r})")
    assert [one.line for one in found] == [1]
    assert suspects(f"x = {token.encode()!r}")


@pytest.mark.parametrize(
    "source",
    [
        "password = 'hunter2'",
        "API_KEY = 'abcd'",
        "login(token='0123456789abcdef0123')",
        "wandb.login(key='0123456789abcdef0123456789abcdef01234567')",
        "config = {'secret_key': 'abcdef'}",
        "os.environ['DB_PASSWORD'] = 'hunter2'",
        "os.environ.setdefault('HF_TOKEN', 'abcdef')",
        "def connect(password='hunter2'): ...",
        "self.api_key: str = 'abcdef'",
    ],
)
def test_literals_under_names_of_secrets(source):
    assert suspects(source)
    assert "hunter2" not in str(suspects(source))


@pytest.mark.parametrize(
    "source",
    [
        "pad_token = '[PAD]'",
        "token = '</s>'",
        "tokenizer = 'bert-base-uncased'",
        "password = os.environ['PASSWORD']",
        "password = ''",
        "api_key = '<your key>'",
        "key = 'value'",
        "sorted(x, key=len)",
        "url = 'https://example.com/a@b'",
        "commit = '0123456789abcdef0123456789abcdef01234567'",
        "url = f'postgres://{user}:{password}@{host}'",
    ],
)
def test_words_of_everyday_code_are_none(source):
    assert suspects(source) == []


@given(st.text(max_size=80))
def test_any_text_can_be_looked_through(text):
    assert isinstance(suspects(text), list)


def test_names_of_variables():
    source = """
a = os.environ["A"]
b = os.getenv("B", "value")
c = environ.get("C")
d = getenv("D")
os.environ["E"] = "value"
f = "F" in os.environ
g = os.environ[name]
h = other["H"]
"""
    assert environment_names(ast.parse(source)) == ("A", "B", "C", "D", "E", "F")


# ---- kinds and places ------------------------------------------------------------------------


def test_at_least_95_of_100_credentials_are_found_wherever_they_stand():
    assert len(credentials.KINDS) >= 61
    assert len(credentials.PLACEMENTS) >= 12
    missed = [(kind, place) for kind, place, _, code in every if not suspects(code)]
    assert len(missed) <= 0.05 * len(every), missed
    for placement in credentials.PLACEMENTS:
        of_it = [one for one in every if one[1] == placement]
        assert sum(one[1] == placement for one in missed) <= 0.05 * len(of_it), placement


def test_no_finding_repeats_what_it_found():
    for _, _, credential, code in every:
        told = str(suspects(code))
        assert credential not in told


@pytest.mark.parametrize(
    "source",
    [
        "commit = '94646ad1522d915e7b0f9296181140edcf86a4f5'",
        "repo.checkout('94646ad1522d915e7b0f9296181140edcf86a4f5')",
        "HUB['x'] = (URL + 'x.zip', '94646ad1522d915e7b0f9296181140edcf86a4f5')",
        "get_file('x.tar.gz', 'https://a.example/x', '94646ad1522d915e7b0f9296181140edcf86a4f5')",
        "known = {'x.pth': {'sha256': '94646ad1522d915e7b0f9296181140edcf86a4f5'}}",
        "assert hashlib.md5(x).hexdigest() == '9e107d9d372bb6826bd81d3542a419d6'",
        "load('a/b', revision='94646ad1522d915e7b0f9296181140edcf86a4f5')",
        "x = 'git+https://a.example/b@94646ad1522d915e7b0f9296181140edcf86a4f5'",
        "# as of commit 94646ad1522d915e7b0f9296181140edcf86a4f5",
        "x = 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6'",
        "gdown.download(id='1OYwrlRti4cieuvVr8ERaJhTQdFJXWT4I')",
        "x = 'https://drive.example/uc?id=1OYwrlRti4cieuvVr8ERaJhTQdFJXWT4I'",
        "x = 'https://a.example/94646ad1522d915e7b0f9296181140edcf86a4f5/train.zip'",
        "x = 'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4'",
        "x = 'models/resnet50v2_imagenet1k_224x224-20210301_best.pth'",
        "x = 'meta-llama/Meta-Llama-3.1-8B-Instruct-bnb-4bit'",
        "x = 'bert-large-uncased-whole-word-masking-finetuned-squad'",
        "x = ['<|endoftext|>', '[CLS]', '<extra_id_0>', '##ing']",
        "tokenizer.add_special_tokens({'pad_token': '[PAD]', 'mask_token': '<mask_0>'})",
        "sorted_by(sort_key='created_at_20210101_v2')",
        "x = frame['a_column_with_4_parts_and_2_more']",
        "x = {'Xq7Lm2Zr8Tn4Vb6Kc1Hd5': 1}",
        "names = ['n02123045_tabby_cat', 'n02123159_tiger_cat']",
        "x = {'input': 'password', 'kind': 'token'}",
        "type = 'password'",
        "password = getpass('Your password: ')",
        "api_key = os.environ['OPENAI_API_KEY']",
        "client = Client(api_key=userdata.get('OPENAI_API_KEY'))",
        "api_key_name = 'OPENAI_API_KEY'",
        "headers = {'Authorization': f'Bearer {token}'}",
        "url = 'https://user@a.example/x'",
        "secret = '/run/secrets/x.json'",
        "page.login('google')",
        "x = 'CC(=O)Oc1ccccc1C(=O)O'",
        "x = 'MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ'",
        "x = '2021-03-04T05:06:07.123456+00:00'",
    ],
)
def test_what_notebooks_are_full_of_is_none(source):
    assert suspects(source) == []


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("password = 'hunter2'  # pragma: allowlist secret", [True]),
        ("# pragma: allowlist nextline secret\npassword = 'hunter2'", [True]),
        (
            "password = 'hunter2'  # gitleaks:allow\ntoken = password\npwd = 'hunter3'",
            [True, False],
        ),
    ],
)
def test_a_pragma_is_honoured_on_its_line(source, kept):
    assert [one.allowed for one in suspects(source)] == kept


def test_nothing_is_asked_of_any_service():
    code = """
import sys
from tests.export import credentials
from jupyter_gpupredict.export.function.secrets import suspects

asked = []
sys.addaudithook(lambda event, _: asked.append(event) if event.startswith("socket") else None)
found = sum(bool(suspects(code)) for *_, code in credentials.every(1))
loaded = {"socket", "requests", "urllib.request", "detect_secrets"} & sys.modules.keys()
print(found > 1000, asked, loaded)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "True [] set()"
