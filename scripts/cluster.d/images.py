"""Images without a registry: archives of one layer, as the OCI's image layout describes them."""

import hashlib
import io
import json
import os
import re
import subprocess
import tarfile

EPOCH = "1970-01-01T00:00:00Z"


def parents(path):
    """Every folder above a path, the outermost first."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


def layer(files):
    """A tar of {path in the image: (path here, mode)}, the same bytes for the same content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in sorted({parent for path in files for parent in parents(path)}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for path, (source, mode) in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = os.path.getsize(source), mode
            with open(source, "rb") as content:
                tar.addfile(entry, content)
    return buffer.getvalue()


def with_libraries(binary):
    """A program's files in an image: itself, and what it loads where it is not static."""
    files = {os.path.basename(binary): (binary, 0o555)}
    listed = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False)
    for path in re.findall(r"(/\S+) \(0x", listed.stdout):
        files[path.lstrip("/")] = (os.path.realpath(path), 0o555)
    return files


def archive(target, names, files, entrypoint, user="65534:65534"):
    """Writes an image archive that bears all the names."""
    blobs = {}

    def blob(data, media):
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": "application/vnd.oci.image." + media, "digest": "sha256:" + digest, "size": len(data)}

    content = layer(files)
    content_digest = blob(content, "layer.v1.tar")
    config = {
        "created": EPOCH,
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "config": {"Entrypoint": entrypoint, "User": user},
        "rootfs": {"type": "layers", "diff_ids": [content_digest["digest"]]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(json.dumps(config).encode(), "config.v1+json"),
        "layers": [content_digest],
    }
    described = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{**described, "annotations": {"io.containerd.image.name": name}} for name in names],
    }
    with tarfile.open(target + ".tmp", "w") as tar:
        everything = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}
        everything.update({"blobs/sha256/" + digest: data for digest, data in blobs.items()})
        for name, data in everything.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    os.replace(target + ".tmp", target)
