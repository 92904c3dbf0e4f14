#!/usr/bin/env python3
"""Writes the vectors of frames, FastCDC, chunk lists and trust from the text of the format pages alone.

An implementation of its own (hashlib, struct, python3-cryptography), so that the C++ code is compared
with something that shares nothing with it. Run it in this folder; the result is committed.
"""
import base64
import hashlib
import json
import struct
import subprocess

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha(data):
    return hashlib.sha256(data).hexdigest()


def save(name, value):
    with open(name, "w") as out:
        json.dump(value, out, indent=1, sort_keys=True)
        out.write("\n")


# --- frames -------------------------------------------------------------------------------------
TYPES = {"Request": 1, "Reply": 2, "Event": 3, "Data": 4, "Credit": 5, "Cancel": 6, "Ping": 7, "Pong": 8}


def frame(kind, rid, payload):
    return struct.pack("<IBI", len(payload), TYPES[kind], rid) + payload


def frame_entry(name, kind, rid, payload):
    return {"name": name, "type": kind, "id": rid, "payload": payload.hex(), "bytes": frame(kind, rid, payload).hex()}


def data(index, encoding, raw):
    return struct.pack("<IB", index, encoding) + raw


plain = b"tango " * 200
packed = subprocess.run(["zstd", "-3", "-c", "--no-check", "--content-size", "--stream-size=%d" % len(plain)],
                        input=plain, stdout=subprocess.PIPE, check=True).stdout
frames = [
    frame_entry("hello", "Request", 1, b'{"op":"hello","protocol":1}'),
    frame_entry("reply", "Reply", 0x01020304, b'{"ok":true}'),
    frame_entry("event", "Event", 7, b'{"event":"progress","phase":"verify"}'),
    frame_entry("raw data", "Data", 9, data(3, 0, b"\x00\x01\xfe\xff")),
    frame_entry("credit", "Credit", 9, struct.pack("<QQ", 5 << 32, 4 << 20)),
    frame_entry("cancel", "Cancel", 0xFFFFFFFF, b""),
    frame_entry("ping", "Ping", 0, b"abc"),
    frame_entry("pong", "Pong", 0, b"abc"),
    frame_entry("empty ping", "Ping", 2, b""),
]
invalid = [
    {"name": "length one above the limit", "bytes": struct.pack("<IBI", (1 << 20) + 1, 1, 1).hex(), "reason": "FrameTooLarge"},
    {"name": "length 2^32-1", "bytes": struct.pack("<IBI", 0xFFFFFFFF, 4, 1).hex(), "reason": "FrameTooLarge"},
    {"name": "type 0", "bytes": struct.pack("<IBI", 0, 0, 1).hex(), "reason": "UnknownFrameType"},
    {"name": "type 9", "bytes": struct.pack("<IBI", 0, 9, 1).hex(), "reason": "UnknownFrameType"},
    {"name": "cancel with a payload", "bytes": frame("Cancel", 1, b"x").hex(), "reason": "InvalidFrame"},
    {"name": "credit of 15 bytes", "bytes": frame("Credit", 1, b"x" * 15).hex(), "reason": "InvalidFrame"},
    {"name": "data of 4 bytes", "bytes": frame("Data", 1, b"x" * 4).hex(), "reason": "InvalidFrame"},
    {"name": "data with encoding 2", "bytes": frame("Data", 1, data(0, 2, b"x")).hex(), "reason": "InvalidFrame"},
    {"name": "ping of 1025 bytes", "bytes": frame("Ping", 1, b"x" * 1025).hex(), "reason": "InvalidFrame"},
    {"name": "request with id 0", "bytes": frame("Request", 0, b"{}").hex(), "reason": "InvalidFrame"},
]
save("frames.json", {
    "frames": frames,
    "invalid": invalid,
    "data": [
        {"payload": data(3, 0, b"\x00\x01\xfe\xff").hex(), "index": 3, "encoding": 0, "decoded": "0001feff"},
        {"payload": data(70000, 1, packed).hex(), "index": 70000, "encoding": 1, "decoded": plain.hex()},
    ],
    "credit": [{"payload": struct.pack("<QQ", 5 << 32, 4 << 20).hex(), "received": 5 << 32, "durable": 4 << 20}],
})

# --- FastCDC --------------------------------------------------------------------------------------
MIN, NORMAL, MAX = 16384, 65536, 262144
MASK_SMALL, MASK_LARGE = 0xFFFFC00000000000, 0xFFFC000000000000
GEAR = [struct.unpack("<Q", hashlib.sha256(b"tango-gear-v1" + bytes([b])).digest()[:8])[0] for b in range(256)]


def cut(buf):
    if len(buf) <= MIN:
        return len(buf)
    fp = 0
    for i in range(MIN, min(len(buf), MAX)):
        fp = ((fp << 1) + GEAR[buf[i]]) & 0xFFFFFFFFFFFFFFFF
        if fp & (MASK_SMALL if i < NORMAL else MASK_LARGE) == 0:
            return i + 1
    return min(len(buf), MAX)


def chunks(buf):
    out = []
    while buf:
        n = cut(buf)
        out.append((n, sha(buf[:n])))
        buf = buf[n:]
    return out


def stream(seed, size):
    """The concatenation of SHA-256(seed || u64 LE counter), cut to size."""
    out = bytearray()
    counter = 0
    while len(out) < size:
        out += hashlib.sha256(seed.encode() + struct.pack("<Q", counter)).digest()
        counter += 1
    return bytes(out[:size])


def cdc_entry(name, seed, size, zeros=False):
    buf = bytes(size) if zeros else stream(seed, size)
    return {"name": name, "seed": seed, "size": size, "zeros": zeros, "sha256": sha(buf),
            "chunks": [{"length": n, "sha256": h} for n, h in chunks(buf)]}


cdc = [cdc_entry("empty", "a", 0), cdc_entry("one byte", "a", 1), cdc_entry("minimum", "a", MIN),
       cdc_entry("minimum and one", "a", MIN + 1), cdc_entry("1.5 MB", "b", 1500000),
       cdc_entry("zeros", "", 600000, zeros=True)]
save("fastcdc.json", {"gear": ["%016x" % g for g in GEAR], "streams": cdc})


def chunk_list(entries):
    total = sum(n for n, _ in entries)
    return b"TNGCHNK1" + struct.pack("<IIQ", len(entries), 0, total) + b"".join(
        struct.pack("<I", n) + bytes.fromhex(h) for n, h in entries)


some = chunks(stream("b", 200000))
good = chunk_list(some)
save("chunklist.json", {
    "valid": [{"name": "empty", "bytes": chunk_list([]).hex(), "chunks": []},
              {"name": "200 kB", "bytes": good.hex(), "chunks": [{"length": n, "sha256": h} for n, h in some]}],
    "invalid": [
        {"name": "no bytes", "bytes": ""},
        {"name": "wrong magic", "bytes": (b"TNGCHNK2" + good[8:]).hex()},
        {"name": "one byte short", "bytes": good[:-1].hex()},
        {"name": "one byte long", "bytes": (good + b"\0").hex()},
        {"name": "count too high", "bytes": (good[:8] + struct.pack("<I", len(some) + 1) + good[12:]).hex()},
        {"name": "reserved not zero", "bytes": (good[:12] + b"\1" + good[13:]).hex()},
        {"name": "total too high", "bytes": (good[:16] + struct.pack("<Q", 200001) + good[24:]).hex()},
        {"name": "length zero", "bytes": chunk_list([(0, sha(b""))]).hex()},
        {"name": "length above the maximum", "bytes": chunk_list([(MAX + 1, sha(b""))]).hex()},
    ]})


# --- trust ----------------------------------------------------------------------------------------
class Key:
    def __init__(self, name):
        self.seed = hashlib.sha256(b"tango vector key " + name.encode()).digest()
        self.private = Ed25519PrivateKey.from_private_bytes(self.seed)
        self.public = self.private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.id = sha(self.public)


keys = {n: Key(n) for n in ("root", "release", "assignment", "agent", "root2", "device")}


def envelope(doc, kind, *signers):
    return canonical({"payloadType": kind, "digest": "sha256:" + sha(doc), "size": len(doc),
                      "signatures": [{"keyid": k.id, "sig": base64.b64encode(k.private.sign(doc)).decode()} for k in signers]})


def root(version, root_key):
    used = [root_key, keys["release"], keys["assignment"], keys["agent"]]
    return canonical({
        "type": "root", "version": version,
        "keys": {k.id: {"alg": "ed25519", "public": base64.b64encode(k.public).decode()} for k in used},
        "roles": {role: {"keyids": [k.id], "threshold": 1} for role, k in
                  zip(("root", "release", "assignment", "agent"), used)}})


root1, root2 = root(1, keys["root"]), root(2, keys["root2"])
device_key = {"alg": "ed25519", "public": base64.b64encode(keys["device"].public).decode()}
device_id = sha(canonical(device_key))
config = canonical({"healthGate": {"latencyUs": 20000}, "listen": {"port": 8080}})
body = stream("b", 200000)
tool = b"#!/bin/false\n"
files = [(b"bin/tango-infer", 493, tool), (b"model/empty.txt", 420, b""), (b"model/model.onnx", 420, body)]
index_chunks = chunk_list([c for _, _, content in files for c in chunks(content)])
index = canonical({
    "type": "application/vnd.ml-tango.bundle-index.v1+json", "id": "default/fashion",
    "version": {"display": "1.0", "security": 1},
    "target": {"arch": "amd64", "os": "linux", "engine": "opencv", "profile": "linux-x86"},
    "model": "sha256:" + sha(b"model"),
    "files": [{"path": p.decode(), "mode": m, "size": len(c), "sha256": sha(c)} for p, m, c in files],
    "links": [{"path": "model/latest.onnx", "target": "model.onnx"}],
    "chunks": {"digest": "sha256:" + sha(index_chunks), "count": (len(index_chunks) - 24) // 36,
               "bytes": sum(len(c) for _, _, c in files)},
    "entry": {"argv": ["bin/tango-infer", "serve", "--bundle", "."], "listen": "http", "readyPath": "/readyz"},
    "resources": {"memoryBytes": 268435456, "cpuMillis": 0},
    "sandbox": {"network": "Loopback", "devices": [], "profile": "default"},
    "healthGate": {"goldenSamples": True, "latencyUs": 0, "memoryBytes": 0, "warmupMs": 0, "soakMs": 0},
    "io": {}, "licence": "Apache-2.0"})
assignment = canonical({
    "type": "assignment", "deviceId": device_id, "slot": "main", "arch": "amd64", "bundle": "sha256:" + sha(index),
    "release": "sha256:" + sha(b"manifest"), "sequence": 7, "issuedAt": "2026-11-21T12:00:00Z",
    "expires": "2026-11-28T12:00:00Z", "fleetEpoch": 3, "deploymentUid": "d6a4", "generation": 2,
    "configDigest": "sha256:" + sha(config), "retryToken": ""})
epoch = canonical({"type": "fleetEpoch", "epoch": 3, "issuedAt": "2026-11-21T12:00:00Z"})
agent = canonical({"type": "agent", "arch": "amd64", "version": "0.1.0", "sha256": sha(b"agent"), "size": 5})
nonce = hashlib.sha256(b"nonce").digest()
proof = b"tango-hello-v1\0" + nonce + b"\0" + device_id.encode()


def signed(doc, kind, *signers):
    return {"document": doc.decode(), "envelope": envelope(doc, kind, *signers).decode()}


save("trust.json", {
    "keys": {n: {"seed": k.seed.hex(), "public": k.public.hex(), "keyid": k.id} for n, k in keys.items()},
    "root1": signed(root1, "root", keys["root"]),
    "root2": signed(root2, "root", keys["root"], keys["root2"]),
    "index": signed(index, "application/vnd.ml-tango.bundle-index.v1+json", keys["release"]),
    "assignment": signed(assignment, "assignment", keys["assignment"]),
    "epoch": signed(epoch, "fleetEpoch", keys["assignment"]),
    "agent": signed(agent, "agent", keys["agent"]),
    "chunkList": index_chunks.hex(), "config": config.decode(),
    "deviceId": device_id, "nonce": nonce.hex(), "proof": keys["device"].private.sign(proof).hex(),
    "files": [{"path": p.decode(), "size": len(c), "sha256": sha(c)} for p, _, c in files],
})
