"""Verifies an idleproof audit log from the texts of C2SP alone: signed notes, checkpoints, tiles,
proofs. It shares no code with idleproof; the only library is `cryptography`, for Ed25519.

Usage: tlog_verify.py log FOLDER KEY.pub
       tlog_verify.py proof FILE KEY.pub
       tlog_verify.py consistency FOLDER KEY.pub OLD.note
"""

import base64
import hashlib
import json
import os
import struct
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def leaf(data):
    return hashlib.sha256(b"\x00" + data).digest()


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(hashes):
    """MTH of RFC 6962, by its definition."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return node(root_of(hashes[:k]), root_of(hashes[k:]))


def openssh_key(path):
    with open(path, encoding="utf-8") as file:
        blob = base64.b64decode(file.read().split()[1])
    size = struct.unpack(">I", blob[:4])[0]
    assert blob[4:4 + size] == b"ssh-ed25519", "not an Ed25519 key"
    return blob[4 + size + 4:]


def checkpoint(note, key):
    """(origin, size, root) of a note that the key signed under its origin."""
    text, signatures = note[:note.rindex("\n\n") + 1], note[note.rindex("\n\n") + 2:]
    origin, size, root = text.split("\n")[:3]
    key_id = hashlib.sha256(origin.encode() + b"\n\x01" + key).digest()[:4]
    for line in signatures.splitlines():
        dash, name, blob = line.split(" ")
        blob = base64.b64decode(blob)
        if dash != "\u2014" or name != origin or blob[:4] != key_id:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(blob[4:], text.encode())
        except InvalidSignature:
            break
        return origin, int(size), base64.b64decode(root)
    raise SystemExit("no signature of the key on the checkpoint")


def tile_name(index):
    parts = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        parts.insert(0, f"x{index % 1000:03}")
    return "/".join(parts)


def tile(folder, level, index, width):
    name = os.path.join(folder, "tile", level, tile_name(index) + ("" if width == 256 else f".p/{width}"))
    with open(name, "rb") as file:
        return file.read()


def entries(folder, size):
    out = []
    for index in range((size + 255) // 256):
        width = min(256, size - index * 256)
        data, found = tile(folder, "entries", index, width), []
        while data:
            length = struct.unpack(">H", data[:2])[0]
            assert len(data) >= 2 + length, "an entry is cut off"
            found.append(data[2:2 + length])
            data = data[2 + length:]
        assert len(found) == width, "a bundle does not hold what its name says"
        out += found
    return out


def newest(folder):
    names = sorted(os.listdir(os.path.join(folder, "checkpoints")))
    with open(os.path.join(folder, "checkpoints", names[-1]), encoding="utf-8") as file:
        return file.read()


def verify_log(folder, key):
    origin, size, root = checkpoint(newest(folder), key)
    found = entries(folder, size)
    row, level = [leaf(entry) for entry in found], 0
    if root_of(row) != root:
        raise SystemExit("the entries do not hash to the checkpoint's root")
    # Every tile is what the level below hashes to.
    while row:
        for index in range((len(row) + 255) // 256):
            part = row[index * 256:(index + 1) * 256]
            if tile(folder, str(level), index, len(part)) != b"".join(part):
                raise SystemExit(f"tile {level}/{index} is not what the entries hash to")
        row = [root_of(row[i * 256:(i + 1) * 256]) for i in range(len(row) // 256)]
        level += 1
    for number, entry in enumerate(found):
        if json.loads(entry)["index"] != number:
            raise SystemExit(f"entry {number} was made for another place")
    print(f"verified: {origin}, {size} entries")


def verify_proof(path, key):
    with open(path, encoding="utf-8") as file:
        head, note = file.read().split("\n\n", 1)
    lines = head.split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1" and lines[1].startswith("extra ")
    entry = base64.b64decode(lines[1][6:])
    index = int(lines[2].removeprefix("index "))
    origin, size, root = checkpoint(note, key)
    # RFC 9162, 2.1.3.2.
    at, last, value = index, size - 1, leaf(entry)
    for line in lines[3:]:
        sibling = base64.b64decode(line)
        if last == 0:
            raise SystemExit("the proof is too long")
        if at % 2 == 1 or at == last:
            value = node(sibling, value)
            while at % 2 == 0 and at != 0:
                at, last = at >> 1, last >> 1
        else:
            value = node(value, sibling)
        at, last = at >> 1, last >> 1
    if last != 0 or value != root:
        raise SystemExit("the entry does not stand in the log")
    print(f"verified: entry {index} of {size} in {origin}: {json.loads(entry)['kind']}")


def verify_consistency(folder, key, old_path):
    with open(old_path, encoding="utf-8") as file:
        _, old_size, old_root = checkpoint(file.read(), key)
    _, size, root = checkpoint(newest(folder), key)
    row = [leaf(entry) for entry in entries(folder, size)]
    if old_size > size or root_of(row[:old_size]) != old_root or root_of(row) != root:
        raise SystemExit("the log is not a continuation of the older checkpoint")
    print(f"verified: {size} entries continue the {old_size} of the older checkpoint")


def main():
    key = openssh_key(sys.argv[3])
    if sys.argv[1] == "log":
        verify_log(sys.argv[2], key)
    elif sys.argv[1] == "proof":
        verify_proof(sys.argv[2], key)
    else:
        verify_consistency(sys.argv[2], key, sys.argv[4])


main()
