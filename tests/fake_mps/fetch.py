"""Fetches NVIDIA's own MPS programs and libraries, unpacked and not installed.

    python -m tests.fake_mps.fetch build/mps [SUITE ...]

They come from the non-free component of the Debian archive that this machine already uses, and run
without a GPU: bookworm has the driver branch 535, trixie 550; on request bullseye 470 and
experimental 555. Writes one folder a branch, and nothing else; prints one line for each suite. What
cannot be had is said, and is no failure: the tests that need it are skipped.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

SUITES = ("bookworm", "trixie")
PACKAGES = ("nvidia-cuda-mps", "libcuda1", "libnvidia-ml1")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LIBRARIES = "usr/lib/x86_64-linux-gnu/nvidia/current"


def run(*words: str | Path, cwd: Path | None = None) -> str:
    """Run a program; return what it prints."""
    return subprocess.run(
        words, cwd=cwd, capture_output=True, text=True, check=True, timeout=180
    ).stdout


def archive() -> str:
    """Return the address of the Debian archive that apt knows."""
    sites = run("apt-get", "indextargets", "--format", "$(SITE)", "Origin: Debian").splitlines()
    return next(site for site in sites if "security" not in site)


def fetch(suite: str, site: str, folder: Path) -> str:
    """Unpack the newest programs of a suite; return which they are."""
    at = folder / ".apt" / suite
    for name in ("lists/partial", "cache/archives/partial", "deb"):
        (at / name).mkdir(parents=True, exist_ok=True)
    sources = at / "nonfree.sources"
    sources.write_text(
        f"Types: deb\nURIs: {site}\nSuites: {suite}\nComponents: non-free\n"
        f"Architectures: amd64\nSigned-By: {KEYRING}\n"
    )
    options = [f"-oDir::Etc::sourcelist={sources}", "-oDir::Etc::sourceparts=/dev/null",
               f"-oDir::State::lists={at / 'lists'}", f"-oDir::Cache={at / 'cache'}",
               "-oAcquire::Languages=none", "-oAPT::Sandbox::User="]  # fmt: skip
    run("apt-get", *options, "update")
    run("apt-get", *options, "download", *PACKAGES, cwd=at / "deb")
    debs = sorted((at / "deb").glob("*.deb"))
    version = run("dpkg-deb", "-f", next(d for d in debs if "mps" in d.name), "Version").strip()
    unpacked = folder / version.partition(".")[0]
    for deb in debs:
        run("dpkg-deb", "-x", deb, unpacked)
    for library in (unpacked / LIBRARIES).glob("*.so.*.*"):
        link = library.with_name(f"{library.name.partition('.so.')[0]}.so.1")
        link.unlink(missing_ok=True)
        link.symlink_to(library.name)
    return f"{version} in {unpacked}"


def main() -> None:
    """Fetch what is asked for, as far as it can be had."""
    folder = Path(sys.argv[1]).resolve()
    for suite in sys.argv[2:] or SUITES:
        try:
            if not KEYRING.exists() or shutil.which("apt-get") is None:
                raise OSError("no Debian archive is known here")
            print(f"{suite}: {fetch(suite, archive(), folder)}")
        except (OSError, StopIteration, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", "") or str(error) or type(error).__name__
            print(f"{suite}: skipped: {said.strip().splitlines()[0]}")


if __name__ == "__main__":
    main()
