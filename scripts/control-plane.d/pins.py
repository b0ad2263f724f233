"""Pins a version of Kubernetes: writes the go.mod and go.sum that the binaries are built from."""

import json
import os
import re
import subprocess
import tempfile

from binaries import BINARIES, MODULES
from common import Fail, read, say, write

REPLACE = re.compile(r"^\s*(?:replace )?(\S+)(?: (v\S+))? => (\S+)(?: (v\S+))?$", re.M)
# Where the nearest older patch that is served has another API than the rest needs: v0.25.6 lacks an
# argument of one call. All that a version here requires is replaced by the lines below like the rest.
INSTEAD = {"k8s.io/controller-manager v0.25.16": "v0.26.8"}
HEAD = """module zen-lead/control-plane/kubernetes

go 1.26.0

godebug default=go1.26

tool (
{tools}
)

require k8s.io/kubernetes {version}

replace (
{replaces}
)
"""


def go(*arguments, cwd):
    env = dict(os.environ, GOWORK="off", GOFLAGS="")
    return subprocess.run(["go", *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False)


def download(module, cwd):
    """What `go mod download` says of a module; none when the proxy does not serve it."""
    done = go("mod", "download", "-json", module, cwd=cwd)
    return json.loads(done.stdout) if done.returncode == 0 else None


def staged(module, minor, patch, cwd):
    """The version of a module that Kubernetes is published in parts as: the same patch, or where
    that is not served the nearest older one."""
    instead = INSTEAD.get(f"{module} v0.{minor}.{patch}")
    if instead:
        return instead
    for older in range(patch, -1, -1):
        version = f"v0.{minor}.{older}"
        if download(f"{module}@{version}", cwd):
            if older != patch:
                say(f"{module} {version}, since v0.{minor}.{patch} is not served")
            return version
    # Some are never built, only named: the samples.
    return f"v0.{minor}.{patch}"


def replaces(text, minor, patch, cwd):
    """The lines of Kubernetes' own go.mod, which count for a main module alone."""
    for module, version, other, of_other in REPLACE.findall(text):
        if other.startswith("./staging/"):
            yield f"{module} => {module} {staged(module, minor, patch, cwd)}"
        else:
            yield " ".join(filter(None, (module, version, "=>", other, of_other)))


def pin(wanted):
    found = re.fullmatch(r"v?1\.(\d+)\.(\d+)", wanted)
    if not found:
        raise Fail(f"pin {wanted}: expected a version such as 1.34.12")
    minor, patch = map(int, found.groups())
    version = f"v1.{minor}.{patch}"
    with tempfile.TemporaryDirectory() as nowhere:
        module = download(f"k8s.io/kubernetes@{version}", nowhere)
        if not module:
            raise Fail(f"the module proxy does not serve k8s.io/kubernetes {version}")
        lines = list(replaces(read(module["GoMod"]), minor, patch, nowhere))
    tools = [package for module, package in BINARIES.values() if module == "kubernetes"]
    directory = os.path.join(MODULES, "kubernetes", f"1.{minor}")
    os.makedirs(directory, exist_ok=True)

    def block(entries):
        return "\n".join("\t" + entry for entry in entries)

    text = HEAD.format(tools=block(tools), version=version, replaces=block(lines))
    write(os.path.join(directory, "go.mod"), text, 0o644)
    done = go("mod", "tidy", cwd=directory)
    if done.returncode:
        raise Fail(f"go mod tidy in {directory}:\n{done.stderr}")
    return directory
