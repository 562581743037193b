"""Secrets of Vault in the configuration file: what is asked, what becomes of it, and what the person at 3 a.m. reads."""

import pytest
from vault import FakeVault

from gateway import NoSecret, Secret
from gateway.configfile import ConfigError, inspect, load_place, read
from gateway.registry import Registry
from gateway_plugins.secrets.vault import AppRole, Kubernetes, Options, Vault


@pytest.fixture
def vault(monkeypatch):
    monkeypatch.setattr("gateway_plugins.secrets.vault._PAUSES", (0.0, 0.0))
    with FakeVault() as made:
        yield made


def source(vault, **options):
    if not options.keys() & {"approle", "kubernetes", "token"}:
        options["token"] = Secret("root-token-0000")
    return Vault(Options(url=vault.url, **options))


def reason(source, name):
    found = source.read([name])[name]
    assert isinstance(found, NoSecret), found
    return found


def test_each_path_is_read_once_and_the_token_kept_alive(vault):
    vault.secrets["db"] = {"password": "p"}
    found = source(vault).read(["ai/openai#api_key", "ai/openai#number", "db#password", "/ai/openai/#api_key"])
    assert list(found.values()) == ["first-value-of-a-key", "7", "p", "first-value-of-a-key"]
    assert vault.asked == [("GET", "secret/data/ai/openai"), ("GET", "secret/data/db"), ("POST", "auth/token/renew-self")]


@pytest.mark.parametrize("kind", ["approle", "kubernetes"])
def test_a_sign_in_gives_a_token_that_is_given_back(vault, kind, tmp_path):
    (tmp_path / "jwt").write_text("the-pods-token\n")
    ways = {
        "approle": AppRole(role_id=Secret("the-role"), secret_id=Secret("the-secret-id")),
        "kubernetes": Kubernetes(role="gateway", token_file=str(tmp_path / "jwt")),
    }
    assert source(vault, **{kind: ways[kind]}).read(["ai/openai#api_key"]) == {"ai/openai#api_key": "first-value-of-a-key"}
    assert vault.tokens == {"root-token-0000"}
    wrong = {"approle": AppRole(role_id=Secret("the-role"), secret_id=Secret("not-it-000")), "kubernetes": Kubernetes(role="x", token_file=str(tmp_path / "jwt"))}
    text = reason(source(vault, **{kind: wrong[kind]}), "ai/openai#api_key").reason
    assert f"sign in at auth/{kind}" in text
    assert "not-it-000" not in text
    assert "the-pods-token" not in text


def test_a_namespace_is_named(vault):
    vault.namespace = "team-a"
    assert source(vault, namespace="team-a").read(["ai/openai#api_key"])["ai/openai#api_key"] == "first-value-of-a-key"
    assert reason(source(vault), "ai/openai#api_key").absent


@pytest.mark.parametrize(("name", "absent", "said"), [
    ("ai/nothing#x", True, "read secret/data/ai/nothing"), ("ai/openai#other", True, "no field `other`; its fields: api_key, deep, number"),
    ("ai/openai#deep", False, "is no text"), ("ai/openai", False, "${vault:path#field}"), ("#x", False, "${vault:path#field}"),
    ("ai/gone#x", True, "latest version was deleted"),
])
def test_what_is_not_there_is_said(vault, name, absent, said):
    vault.deleted.add("ai/gone")
    found = reason(source(vault), name)
    assert said in found.reason
    assert found.absent == absent
    assert "first-value" not in found.reason


@pytest.mark.parametrize(("mount", "said"), [("other", "does not let us read other/data/ai/openai"), ("kv1", "not of a key-value engine of version 2")])
def test_another_mount_is_said(vault, mount, said):
    found = reason(source(vault, mount=mount), "ai/openai#api_key")
    assert said in found.reason
    assert not found.absent


def test_a_wrong_token_a_sealed_vault_and_none_at_all(vault):
    text = reason(source(vault, token=Secret("wrong-token-1234")), "ai/openai#api_key").reason
    assert "permission denied" in text
    assert "wrong-token-1234" not in text
    vault.fail = [503, 503, 503]
    assert "status 503: Vault is sealed" in reason(source(vault), "ai/openai#api_key").reason
    vault.fail = [503, 500]  # two bad moments are passed over
    assert source(vault).read(["ai/openai#api_key"])["ai/openai#api_key"] == "first-value-of-a-key"
    away = Vault(Options(url="http://127.0.0.1:9", token=Secret("root-token-0000")))
    assert "cannot be reached: Connection refused" in reason(away, "ai/openai#api_key").reason


@pytest.mark.parametrize("options", [
    {"url": "http://vault.example.com:8200", "token": Secret("x")}, {"url": "vault:8200", "token": Secret("x")},
    {"url": "https://vault.example.com"}, {"url": "https://v", "token": Secret("a\nb")}, {"url": "https://v", "token": Secret("")},
    {"url": "https://v", "token": Secret("x"), "kubernetes": Kubernetes(role="r")}, {"url": "https://user@v", "token": Secret("x")},
])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=r"url|one of|token"):
        Vault(Options(**options))


TEXT = """
plugins:
  - use: secret.vault
    with: {{url: "{url}", token: "${{VAULT_TOKEN}}", refresh: 60}}
  - use: auth.api_keys
providers:
  - name: openai
    use: provider.openai_compatible
    with: {{base_url: "https://api.example.com/v1", api_key: "{key}"}}
"""


def file(vault, key="${vault:ai/openai#api_key}", token="root-token-0000"):
    return TEXT.format(url=vault.url, key=key).encode(), "gateway.yaml", {"VAULT_TOKEN": token}


def test_a_file_gets_its_secrets_and_hands_them_on(vault):
    loaded = read(*file(vault))
    plugins = Registry().build(loaded.config)
    assert plugins.providers["openai"].secrets() == ["first-value-of-a-key"]
    assert dict(loaded.fetched.values) == {"vault:ai/openai#api_key": "first-value-of-a-key"}
    assert loaded.fetched.refresh == 60
    assert "first-value" not in repr(loaded.fetched)
    asked = len(vault.asked)
    source, origin, environ = file(vault)
    again = read(source, origin, {**environ, **loaded.fetched.values})  # as a worker does
    assert again.config == loaded.config or str(again.config.providers) == str(loaded.config.providers)
    assert len(vault.asked) == asked


@pytest.mark.parametrize(("key", "said"), [
    ("${vault:ai/openai#other}", "no field `other`"), ("${vault:ai/nothing#x}", "there is no such secret"),
    ("${vautl:ai/openai#api_key}", "no secret source `vautl` stands in this file"),
])
def test_a_mistake_is_told_with_its_line(vault, key, said):
    with pytest.raises(ConfigError) as caught:
        read(*file(vault, key))
    (problem,) = caught.value.problems
    assert (problem.line, problem.path) == (9, "$.providers[0].with.api_key")
    assert said in problem.text


def test_a_default_counts_for_what_is_not_there_and_not_for_what_cannot_be_asked(vault):
    assert inspect(*file(vault, "${vault:ai/nothing#x:-none}")).config is not None
    assert inspect(*file(vault, "${vault:ai/nothing#x:-none}", token="wrong")).config is None


def test_a_source_with_mistakes_is_named_without_its_values(vault):
    source, origin, _ = file(vault)
    with pytest.raises(ConfigError, match=r"secret\.vault") as caught:
        read(source.replace(b"refresh: 60", b"refersh: 60"), origin, {"VAULT_TOKEN": "root-token-0000"})
    assert "refersh" in str(caught.value)
    with pytest.raises(ConfigError, match="VAULT_TOKEN is not set"):
        read(source, origin, {})
    with pytest.raises(ConfigError) as caught:
        read(source.replace(vault.url.encode(), b"${VAULT_TOKEN}"), origin, {"VAULT_TOKEN": "root-token-0000"})
    assert "root-token-0000" not in str(caught.value)


def test_a_command_beside_the_gateway_asks_only_for_what_it_needs(vault, tmp_path):
    source, _, environ = file(vault)
    path = tmp_path / "gateway.yaml"
    path.write_bytes(source + b"data_dir: /nowhere\n")
    assert load_place(path, environ).data_dir == "/nowhere"
    assert vault.asked == []
    path.write_bytes(source + b"secret: ${vault:master#secret}\n")
    vault.secrets["master"] = {"secret": "m" * 40}
    assert load_place(path, environ).secret == "m" * 40
