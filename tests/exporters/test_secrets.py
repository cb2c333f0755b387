import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.exporters.secrets import environment_names, suspects

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
