"""The version is the package's."""

from importlib.metadata import PackageNotFoundError

from gateway import version


def test_the_version_is_the_installed_one():
    assert version.version()[0].isdigit()


def test_without_an_installation_it_is_unknown(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(version, "_installed", missing)
    assert version.version() == "unknown"
