"""Secrets in what becomes lineage."""

from __future__ import annotations

import time

import pytest

from drawbar.redact import Redactor, redactor

SECRET = "pl4nted-S3cret/value"


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "DB_PASSWORD",
        "dbPassword",
        "pgpassword",
        "passphrase",
        "token",
        "hf_token",
        "authToken",
        "secret",
        "client_secret",
        "api_key",
        "apikey",
        "apiKey",
        "AWS_SECRET_ACCESS_KEY",
        "access_key",
        "private_key",
        "Authorization",
        "credentials",
        "X-Amz-Signature",
        "sig",
        "pwd",
        "password2",
        "SSH_KEY",
        "cookie",
    ],
)
def test_secret_names_are_known(name):
    """A parameter or variable of this name would be shown with its value."""
    assert Redactor().is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "max_tokens",
        "tokenizer",
        "n_tokens",
        "sort_key",
        "key",
        "keyboard",
        "author",
        "passenger",
        "signal",
        "model",
        "compass",
        "secretary",
        "base_url",
        "authors",
        "primary_key",
        "monkey",
    ],
)
def test_honest_names_are_left_alone(name):
    """Lineage would hide what a model was made with."""
    assert not Redactor().is_secret(name)


@pytest.mark.parametrize(
    "text",
    [
        f"https://me:{'pl4nted'}@host/path",
        "postgresql+psycopg://user:pl4nted@db:5432/x",
        "https://pl4nted@github.com/acme",
        "GET https://host/a?sig=pl4nted&x=1",
        "GET https://host/a?x=1&X-Amz-Signature=pl4nted",
        "connect(password='pl4nted', user='me')",
        'connect(password="pl4 nted pl4nted")',
        "{'api_key': 'pl4nted', 'n': 1}",
        '{"token": "pl4nted"}',
        "DB_PASSWORD=pl4nted",
        "db_password: pl4nted",
        "Authorization: Bearer pl4ntedpl4nted",
        "Authorization: Basic cGw0bnRlZDpwbDRudGVk pl4nted"[:-8],
        "header 'bearer pl4ntedpl4nted'",
        "eyJpl4ntedpl4nted.eyJpl4ntedpl4nted.sigpl4nted",
        "using ghp_pl4ntedpl4ntedpl4nted now",
        "-----BEGIN RSA PRIVATE KEY-----\npl4nted\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_secrets_in_text_are_masked(text):
    """A secret would leave this machine in a message, a traceback or an address."""
    clean = Redactor().text(text)
    assert "pl4nted" not in clean
    assert "cGw0bnRlZDpwbDRudGVk" not in clean
    assert "***" in clean


def test_honest_text_stays_as_it_is():
    """A traceback would be torn apart where nothing is secret."""
    text = (
        'Traceback (most recent call last):\n  File "/work/pipeline.py", line 3, in embeddings\n'
        "    return model(urls, max_tokens=512)\nValueError: expected https://host:8080/a?x=1 and git@host:a/b.git\n"
    )
    assert Redactor().text(text) == text


def test_a_secret_of_the_environment_is_masked_wherever_it_turns_up():
    """A traceback that quotes a variable's value would give it away."""
    redact = redactor(environment={"DB_PASSWORD": SECRET, "HOME": "/home/me", "CI_TOKEN": "short"})
    assert redact.text(f"cannot connect with {SECRET} from /home/me") == "cannot connect with *** from /home/me"
    assert redact.text("cannot connect with pl4nted-S3cret%2Fvalue") == "cannot connect with ***"
    assert redact.text("a short text") == "a short text"


def test_the_path_of_something_that_exists_is_no_secret(tmp_path):
    """Every path below the working folder would be masked, because PWD sounds like a password."""
    redact = redactor(environment={"PWD": str(tmp_path), "SSH_AUTH_SOCK": "/tmp", "A_TOKEN": "/tmp/" + "x" * 5000})
    assert redact.text(f"{tmp_path}/a.csv and /tmp") == f"{tmp_path}/a.csv and /tmp"
    assert redact.text("/tmp/" + "x" * 5000) == "***"


def test_a_secret_parameter_is_masked_wherever_it_turns_up():
    """The function's own error message would show what its parameter's value hides."""
    redact = Redactor().knowing({"api_key": SECRET, "model": "small-model"})
    assert redact.text(f"401 for {SECRET} with small-model") == "401 for *** with small-model"


def test_parameters_are_shown_as_text_without_secrets():
    """A parameter would be shown with a secret in it, or not at all."""
    redact = Redactor()
    assert redact.value("api_key", SECRET) == "***"
    assert redact.value("model", "small") == "small"
    assert redact.value("n", 3) == "3"
    assert redact.value("flag", None) == "None"
    assert redact.value("db", {"host": "h", "auth": {"password": SECRET}}) == "{'auth': '***', 'host': 'h'}"
    assert redact.value("many", [{"token": SECRET}]) == "[{'token': '***'}]"
    assert len(redact.value("long", "x" * 100_000)) < 1100
    assert len(redact.value("long", list(range(100_000)))) < 1100


def test_further_names_can_be_given():
    """A project's own kind of secret could not be hidden."""
    redact = redactor(["Customer"])
    assert redact.value("customer", "ACME") == "***"
    assert redact.text("customer=ACME") == "customer=***"


def test_redaction_can_be_switched_off():
    """Who keeps lineage in their own house could not see their own values."""
    redact = Redactor(on=False).knowing({"password": SECRET})
    assert redact.value("password", SECRET) == SECRET
    assert redact.text(f"password={SECRET}") == f"password={SECRET}"


def test_text_that_is_no_unicode_becomes_it():
    """A file name from another encoding would make the event unreadable for strict JSON parsers."""
    assert Redactor().text("no such file: \udcff.txt ü") == "no such file: ?.txt ü"


def test_a_text_without_end_is_redacted_at_once_and_where_it_is_shown():
    """A message of a hundred megabytes would cost a minute, or show half of a secret at the place where it is cut."""
    secret = "5ecret-" * 20
    known = Redactor(values=(secret,))
    began = time.process_time()
    shown = known.text(f"{secret} begins " + "password=x " * 10_000_000 + f"ends {secret}")
    assert time.process_time() - began < 5
    assert shown.startswith("*** begins ")
    assert shown.endswith("ends ***")
    assert "characters left out" in shown
    assert len(shown) < 21_000
    for before in range(14_000, 16_000, 37):
        assert "5ecret" not in known.text("a" * before + secret + "b" * 50_000 + secret + "c" * before, longest=10_000)
