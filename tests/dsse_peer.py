"""Verifies a manifest with securesystemslib, which shares no code with idleproof.

Usage: dsse_peer.py MANIFEST PUBLIC_KEY. Exits 0 when the signature holds, 1 when it does not.
"""

import base64
import json
import struct
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.dsse import Envelope


def openssh_ed25519(line):
    """The raw 32 bytes of an `ssh-ed25519 AAAA…` line."""
    blob = base64.b64decode(line.split()[1])
    size = struct.unpack(">I", blob[:4])[0]
    if blob[4:4 + size] != b"ssh-ed25519":
        raise SystemExit("not an Ed25519 key")
    return blob[4 + size + 4:]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        envelope = Envelope.from_dict(json.load(file))
    with open(sys.argv[2], encoding="utf-8") as file:
        key = Ed25519PublicKey.from_public_bytes(openssh_ed25519(file.read()))
    signatures = envelope.signatures
    signatures = list(signatures.values()) if isinstance(signatures, dict) else list(signatures)
    try:
        key.verify(bytes.fromhex(signatures[0].signature), envelope.pae())
    except InvalidSignature:
        raise SystemExit("the signature does not hold") from None
    print(f"verified by securesystemslib: {len(envelope.payload)} bytes of {envelope.payload_type}")


main()
