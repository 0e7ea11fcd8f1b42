"""File systems of the emulated devices: Debian 13's adbd and busybox in a phone's layout.

The standard paths have no C library, as a phone has no glibc: programs bring their own.
"""

import hashlib
import lzma
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import ProfilingError
from .cache import cached
from .process import call

FILES = Path(__file__).parent / "tiers"
SUITE = "trixie"
MIRROR = "http://deb.debian.org/debian"  # if apt has no Debian mirror, as on Ubuntu
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGES = ("adbd", "busybox-static")
KERNEL = "linux-image-cloud-arm64"
MODULES = ("failover", "net_failover", "virtio_net")  # in load order


@dataclass(frozen=True)
class Architecture:
    """A processor architecture by Debian's names; ``abi`` is Android's."""

    name: str
    triplet: str
    loader: str
    abi: str


AMD64 = Architecture("amd64", "x86_64-linux-gnu", "ld-linux-x86-64.so.2", "x86_64")
ARM64 = Architecture("arm64", "aarch64-linux-gnu", "ld-linux-aarch64.so.1", "arm64-v8a")


def namespace_image(architecture: Architecture) -> Path:
    """Return the root directory of tier a, built the first time; raises ``ProfilingError``."""
    return cached(_name("a", architecture), lambda target: _namespace(architecture, target))


def machine_image() -> Path:
    """Return the directory of tier b's ``vmlinuz`` and ``initrd.gz``, built the first time.

    Raises:
        ProfilingError: a package cannot be downloaded or unpacked.
    """
    return cached(_name("b", ARM64), _machine)


def _name(tier: str, architecture: Architecture) -> str:
    """Return the image's name in the cache, from a hash of its sources."""
    recipe = [Path(__file__), *sorted(FILES.iterdir())]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in recipe)).hexdigest()
    return f"emulator/{tier}-{architecture.name}-{digest[:12]}"


def _namespace(architecture: Architecture, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="hydraopt-") as scratch:
        packages = _unpack(architecture, PACKAGES, Path(scratch))
        _userland(packages, architecture, target, tier="a")
    busybox = target / "bin" / "busybox"
    for applet in call([str(busybox), "--list"], "list its applets").split():
        if applet != "busybox":
            (target / "bin" / applet).symlink_to("busybox")
    shim = target / "opt" / "adbd" / "loopback.so"
    command = ["gcc", "-shared", "-fPIC", "-O2", str(FILES / "loopback.c"), "-o", str(shim)]
    call(command, "compile loopback.c")


def _machine(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="hydraopt-") as scratch:
        packages = _unpack(ARM64, (*PACKAGES, KERNEL), Path(scratch))
        tree = Path(scratch) / "tree"
        _userland(packages, ARM64, tree, tier="b")
        _modules(packages, tree / "modules")
        shutil.copy(FILES / "init.sh", tree / "init")
        (tree / "init").chmod(0o755)
        archive = "find . | cpio -o -H newc --quiet -R 0:0 | gzip -1"
        with (target / "initrd.gz").open("wb") as file:
            call(["bash", "-o", "pipefail", "-c", archive], "make an initrd", cwd=tree, stdout=file)
        (kernel,) = (packages / "boot").glob("vmlinuz-*")
        shutil.copy(kernel, target / "vmlinuz")


def _unpack(architecture: Architecture, packages: tuple[str, ...], scratch: Path) -> Path:
    """Unpack Debian packages and their dependencies without running any of their code."""
    sources = scratch / "sources"
    sources.write_text(f"deb [signed-by={KEYRING}] {_mirror()} {SUITE} main\n")
    archive, root = scratch / "packages.tar", scratch / "packages"
    command = ["mmdebstrap", "--quiet", "--mode=chrootless", "--variant=extract"]
    command += [f"--arch={architecture.name}", f"--include={','.join(packages)}"]
    call([*command, SUITE, str(archive), str(sources)], f"unpack {SUITE}'s packages")
    root.mkdir()
    # without device nodes, which only root may create
    tar = ["tar", "-xf", str(archive), "-C", str(root), "--exclude=./dev/*", "--no-same-owner"]
    call(tar, "unpack packages")
    return root


def _mirror() -> str:
    """Return the Debian mirror of this machine's apt."""
    fields = "$(ORIGIN) $(LABEL) $(REPO_URI)"
    listing = call(
        ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"], "name its mirrors"
    )
    mirror = re.search(r"^Debian Debian (\S+)$", listing, re.MULTILINE)
    return mirror[1] if mirror else MIRROR


def _userland(packages: Path, architecture: Architecture, tree: Path, tier: str) -> None:
    """Install busybox, adbd with its libraries, getprop and build.prop in a phone's layout."""
    for name in ("bin", "dev", "proc", "sys", "tmp", "etc", "data", "system/bin", "opt/adbd"):
        (tree / name).mkdir(parents=True)
    shutil.copy(packages / "usr/bin/busybox", tree / "bin/busybox")
    (tree / "system/bin/sh").symlink_to("/bin/busybox")
    shutil.copy(FILES / "getprop.sh", tree / "system/bin/getprop")
    (tree / "system/bin/getprop").chmod(0o755)
    (tree / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    (tree / "system/build.prop").write_text(
        f"ro.product.model=hydraopt tier {tier.upper()}\n"
        f"ro.product.cpu.abi={architecture.abi}\n"
        f"ro.hydraopt.tier={tier}\n"
        "sys.boot_completed=1\n"
    )
    adbd = tree / "opt/adbd"
    shutil.copy(packages / "usr/lib/android-sdk/platform-tools/adbd", adbd)
    libraries = packages / "usr/lib" / architecture.triplet
    shutil.copy(libraries / architecture.loader, adbd / "loader")
    _copy_needed(adbd / "adbd", [libraries, libraries / "android"], adbd)


def _copy_needed(binary: Path, sources: list[Path], target: Path) -> None:
    """Copy the shared libraries that ``binary`` needs, recursively."""
    dynamic = call(["readelf", "-d", str(binary)], f"read {binary.name}")
    for name in re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic):
        if (target / name).exists():
            continue
        library = next((folder / name for folder in sources if (folder / name).exists()), None)
        if library is None:
            raise ProfilingError(f"Debian's {binary.name} needs {name}, which its packages lack")
        shutil.copy(library, target / name)
        _copy_needed(target / name, sources, target)


def _modules(packages: Path, target: Path) -> None:
    """Unpack the network card's kernel modules, and list them in the file ``order``."""
    target.mkdir()
    present = []
    for name in MODULES:
        for path in (packages / "usr/lib/modules").rglob(f"{name}.ko.xz"):
            (target / f"{name}.ko").write_bytes(lzma.decompress(path.read_bytes()))
            present.append(f"{name}.ko")
    (target / "order").write_text("".join(f"{name}\n" for name in present))
