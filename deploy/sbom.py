"""Writes the image's bill of materials, as CycloneDX 1.6 JSON, to stdout:

    python3 deploy/sbom.py > idleproof.cdx.json

It names every crate of `cargo tree -e normal`, with its licence, its registry's SHA-256 and what it needs:
what is linked, and the macros that wrote some of it. Build scripts and tests stay out.
Needs cargo and the standard library; the same lock file gives the same bytes.
"""

import hashlib
import json
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

TARGET = "x86_64-unknown-linux-musl"
ROOT = Path(__file__).resolve().parent.parent


def metadata(target: str) -> dict:
    """What cargo resolved for one target."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", target]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return json.loads(done.stdout)


def tree(target: str) -> set[tuple[str, str]]:
    """Name and version of all that the binary is built of; `metadata` also counts what tests turn on."""
    command = ["cargo", "tree", "--locked", "-e", "normal", "--prefix", "none", "--target", target]
    done = subprocess.run([*command, "-f", "{p}"], cwd=ROOT, check=True, capture_output=True)
    lines = (line.split() for line in done.stdout.decode().splitlines())
    return {(words[0], words[1].removeprefix("v")) for words in lines if words}


def linked(found: dict, built: set[tuple[str, str]]) -> dict[str, list[str]]:
    """Package → packages that it needs, for all that is built."""
    named = {package["id"]: (package["name"], package["version"]) for package in found["packages"]}
    edges: dict[str, list[str]] = {}
    for node in found["resolve"]["nodes"]:
        if named[node["id"]] in built:
            edges[node["id"]] = sorted(
                dep["pkg"]
                for dep in node["deps"]
                if named[dep["pkg"]] in built
                and any(kind["kind"] is None for kind in dep["dep_kinds"])
            )
    return edges


def licence(package: dict) -> list[dict]:
    """SPDX, with the slash of old manifests read as it was meant."""
    said = package.get("license")
    if not said:
        return []
    return [{"expression": said.replace(" / ", " OR ").replace("/", " OR ")}]


def bill(target: str) -> dict:
    """The document."""
    lock = (ROOT / "Cargo.lock").read_bytes()
    sums = {
        (one["name"], one["version"]): one.get("checksum")
        for one in tomllib.loads(lock.decode())["package"]
    }
    found = metadata(target)
    edges = linked(found, tree(target))
    packages = {package["id"]: package for package in found["packages"]}

    def purl(identity: str) -> str:
        package = packages[identity]
        return f"pkg:cargo/{package['name']}@{package['version'].replace('+', '%2B')}"

    def component(identity: str, kind: str) -> dict:
        package = packages[identity]
        one = {
            "type": kind,
            "bom-ref": purl(identity),
            "name": package["name"],
            "version": package["version"],
            "purl": purl(identity),
            "licenses": licence(package),
        }
        digest = sums.get((package["name"], package["version"]))
        if digest:
            one["hashes"] = [{"alg": "SHA-256", "content": digest}]
        return {key: value for key, value in one.items() if value}

    root = found["resolve"]["root"]
    order = sorted((identity for identity in edges if identity != root), key=purl)
    serial = uuid.uuid5(uuid.NAMESPACE_URL, hashlib.sha256(lock + target.encode()).hexdigest())
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": component(root, "application"),
            "properties": [{"name": "idleproof:target", "value": target}],
        },
        "components": [component(identity, "library") for identity in order],
        "dependencies": [
            {"ref": purl(identity), "dependsOn": sorted({purl(need) for need in edges[identity]})}
            for identity in [root, *order]
        ],
    }


if __name__ == "__main__":
    json.dump(bill(sys.argv[1] if len(sys.argv) > 1 else TARGET), sys.stdout, indent=1)
    sys.stdout.write("\n")
