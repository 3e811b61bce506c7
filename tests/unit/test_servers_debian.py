"""Debian's packages in the user's cache: whole or not at all, from the machine's own mirror, else it is said."""

from __future__ import annotations

import subprocess

import pytest

from vecferry.errors import Unavailable
from vecferry.testing import debian
from vecferry.testing.skips import skip


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A cache with nothing in it."""
    monkeypatch.setattr(debian.platformdirs, "user_cache_dir", lambda _name: str(tmp_path / "cache"))
    return tmp_path / "cache" / "debian"


def test_its_programs_run_wherever_they_are_called_from(tmp_path):
    """By their path, from another folder, with their own libraries: the versions that we test with."""
    try:
        postgres, mariadb = debian.program(debian.PROGRAMS[0]), debian.program(debian.PROGRAMS[2])
    except Unavailable as error:
        skip("mariadb-server", error.message)
    said = [subprocess.check_output([one, "--version"], cwd=tmp_path, text=True) for one in (postgres, mariadb)]
    assert said[0].startswith("postgres (PostgreSQL) 17.")
    assert "11.8." in said[1]


def test_half_a_tree_is_never_used(elsewhere, monkeypatch):
    """What fails in the middle leaves nothing behind, and the next one begins anew."""
    monkeypatch.setattr(debian, "_source", lambda: "deb x y z")
    monkeypatch.setattr(debian, "_fetch", lambda room, _source: [room / "one.deb"])
    asked = []

    def failing(*command):
        asked.append(command)
        raise Unavailable("dpkg-deb failed: no room.", hint="Make room.")

    monkeypatch.setattr(debian, "_run", failing)
    for _ in range(2):
        with pytest.raises(Unavailable, match="no room"):
            debian.tree()
        assert [path.name for path in elsewhere.iterdir()] == [".lock"]
    assert len(asked) == 2


def test_a_mirror_that_does_not_answer_is_said(elsewhere, monkeypatch):
    """apt's own words, and what to do."""
    if not (debian.shutil.which("apt-get") and debian._KEYRING.exists()):
        skip("mariadb-server", "no apt")
    monkeypatch.setenv("VECFERRY_TEST_DEBIAN_MIRROR", f"file:{elsewhere}/no-such-mirror")
    with pytest.raises(Unavailable, match="no-such-mirror") as caught:
        debian.tree()
    assert "mirror can be reached" in caught.value.hint


@pytest.mark.parametrize(
    "lacking, said",
    [
        ({"_KEYRING": debian.Path("/no/such/keyring")}, "keys"),
        ({"platform": type("Elsewhere", (), {"system": lambda: "Darwin"})}, "no apt"),
        ({"_mirror_of_this_machine": lambda: None, "_VARIABLE": "VECFERRY_TEST_NO_SUCH_VARIABLE"}, "no Debian mirror"),
    ],
    ids=["no-keys", "no-apt", "no-mirror"],
)
def test_what_is_missing_is_said(elsewhere, monkeypatch, lacking, said):
    """Each with a way out."""
    if not (debian.shutil.which("apt-get") and debian._KEYRING.exists()):
        skip("mariadb-server", "no apt")
    for name, value in lacking.items():
        monkeypatch.setattr(debian, name, value)
    with pytest.raises(Unavailable, match=said) as caught:
        debian.tree()
    assert caught.value.hint
    assert not list(elsewhere.glob("unfinished-*"))


def test_only_a_debian_has_a_mirror_of_debians(monkeypatch):
    """Ubuntu's mirror has no trixie: it is not asked."""
    monkeypatch.setattr(debian.platform, "freedesktop_os_release", lambda: {"ID": "ubuntu"})
    assert debian._mirror_of_this_machine() is None


def test_the_main_archive_is_taken(monkeypatch):
    """Not the one with the security updates, which holds few packages."""
    monkeypatch.setattr(debian.platform, "freedesktop_os_release", lambda: {"ID": "debian"})
    listed = "http://security bookworm-security main\nhttp://other bookworm contrib\nhttp://own bookworm main\n"
    monkeypatch.setattr(debian, "_run", lambda *_command: listed)
    assert debian._mirror_of_this_machine() == "http://own"
