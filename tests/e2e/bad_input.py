"""Wrong input, end to end: each is answered with what, where and why, and nothing else breaks."""
import argparse
import gzip
import os
import shutil
import subprocess
import sys

from system import ROOT, System, condition, project, write_idx


class Checks:
    def __init__(self):
        self.failed = 0

    def check(self, name, ok, said):
        said = " ".join(str(said).split())
        print(f"{'ok    ' if ok else 'FAILED'} {name}: {said[:220]}", flush=True)
        self.failed += 0 if ok else 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    args = parser.parse_args()
    if not os.path.exists("/usr/bin/docker-registry") or not os.path.exists("/usr/sbin/sshd"):
        print("docker-registry or sshd is not installed")
        return 77
    c = Checks()
    with System(args.bin) as system:
        data = os.path.join(system.folder, "data")
        write_idx(data, train=60, test=30)

        # Manifests.
        done = system.apply(project("p", data, extra="  trian: {epochs: 3}"), check=False)
        c.check("unknown field", done.returncode != 0 and "trian" in done.stderr + done.stdout, done.stderr or done.stdout)
        done = system.apply(project("p", data).replace("task: Classification", "task: Clasification"), check=False)
        c.check("wrong enum", done.returncode != 0 and "Clasification" in done.stderr + done.stdout and "Classification" in done.stderr, done.stderr)
        done = system.apply(project("p", data, extra="  train: {epochs: 4}"), check=False)
        c.check("key twice", done.returncode != 0 and "twice" in done.stderr + done.stdout, done.stderr)

        def reason(kind, name, want, condition_name="Ready", seconds=90):
            def probe():
                obj = system.get(kind, name)
                found = {(x.get("reason"), x.get("message", "")) for x in ((obj or {}).get("status") or {}).get("conditions", [])
                         if x["status"] != "True"}
                return [f"{r}: {m}" for r, m in found if r == want or want in m] or None
            try:
                return (system.until(want, seconds, probe) or [""])[0]
            except AssertionError:
                obj = system.get(kind, name)
                print("   conditions:", [(x["type"], x["status"], x["reason"], x.get("message", "")[:150])
                                         for x in ((obj or {}).get("status") or {}).get("conditions", [])])
                return ""

        def expect(name, manifest, kind, obj, want):
            system.apply(manifest)
            said = reason(kind, obj, want)
            c.check(name, bool(said), said or "nothing was said")

        expect("unknown profile", project("no-profile", data, profile="no-such-board"), "tangoproject", "no-profile", "ProfileNotFound")
        expect("unsupported task", project("detect", data).replace("task: Classification", "task: Detection").replace("baseModel: {name: resnet20}", "baseModel: {name: Auto}"),
               "tangoproject", "detect", "Unsupported")

        search = open(os.path.join(ROOT, "examples/searchjob.yaml"), encoding="utf-8").read()
        expect("search is not there yet", search, "searchjob", search.split("metadata: {name: ")[1].split(",")[0], "Unsupported")

        # Datasets.
        missing = os.path.join(system.folder, "no-such-folder")
        system.apply(project("missing", missing))
        said = reason("dataset", "missing", "DatasetNotFound", seconds=60) or reason("dataset", "missing", missing, seconds=5)
        c.check("dataset missing", bool(said), said or "nothing was said")
        empty = os.path.join(system.folder, "empty")
        os.makedirs(empty)
        system.apply(project("empty", empty))
        said = reason("dataset", "empty", "DatasetEmpty", seconds=60) or reason("dataset", "empty", "no ", seconds=5)
        c.check("dataset empty", bool(said), said or "nothing was said")
        broken = os.path.join(system.folder, "broken")
        shutil.copytree(data, broken)
        with gzip.open(f"{broken}/train-images-idx3-ubyte.gz", "wb") as f:
            f.write(b"\0\0\x08\x03" + b"\0\0\0\x3c" + b"\0\0\0\x10\0\0\0\x10" + b"short")
        system.apply(project("broken", broken))
        said = reason("dataset", "broken", "train-images", seconds=60)
        c.check("dataset corrupt", bool(said), said or "nothing was said")

        # Devices.
        system.add_device("unreachable", wait=False, start=False)
        said = reason("device", "unreachable", "Unreachable") or reason("device", "unreachable", "refused", seconds=3)
        c.check("device unreachable", bool(said), said or "nothing was said")
        system.add_device("strange", wait=False, override={"--fingerprint": "SHA256:" + "A" * 43})
        said = reason("device", "strange", "HostKeyChanged") or reason("device", "strange", "host key", seconds=3)
        c.check("host key is another", bool(said), said or "nothing was said")
        wrong = os.path.join(system.folder, "wrong-key")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", wrong], check=True)
        system.add_device("locked", wait=False, override={"--identity": wrong})
        said = reason("device", "locked", "AuthFailed")
        c.check("wrong bootstrap key", bool(said), said or "nothing was said")
        system.apply("""
apiVersion: ml-tango.io/v1alpha1
kind: Device
metadata: {name: no-secret, namespace: default}
spec:
  profileRef: {name: linux-x86}
  connection: {address: 127.0.0.1, port: 9, user: nobody}
  hostKey: {fingerprints: ["SHA256:%s"]}
  bootstrap: {credentialsRef: {name: not-there}}
  provision: {mode: User}
""" % ("B" * 43))
        said = reason("device", "no-secret", "SecretNotFound") or reason("device", "no-secret", "not-there", seconds=3)
        c.check("missing Secret", bool(said), said or "nothing was said")

        # Trust on first use: nothing is sent before a person approves the key that was shown.
        device = system.add_device("shy", wait=False, override={"--fingerprint": None})
        said = reason("device", "shy", "AwaitingApproval")
        keys = open(device.authorized_keys, encoding="utf-8").read()
        c.check("first use waits for approval", bool(said) and "command=" not in keys and not os.path.exists(device.agent_root), said)
        system.tangoctl("device", "approve", "shy")
        system.until("the approved device", 90, lambda: condition(system.get("device", "shy"), "Provisioned") == "True")
        keys = open(device.authorized_keys, encoding="utf-8").read()
        c.check("approved, provisioned, keys appended", "restrict,command=" in keys and open(device.bootstrap_key + ".pub", encoding="utf-8").read() in keys,
                keys.replace(chr(10), " | ")[-200:])

        # A host key that changes later stops everything for that device, loudly.
        device = system.add_device("turning")
        device.stop_sshd()
        for suffix in ("", ".pub"):
            os.remove(device.host_key + suffix)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", device.host_key], check=True)
        device.start()
        said = reason("device", "turning", "HostKeyChanged", seconds=150)
        c.check("host key changed", bool(said), said or "nothing was said")
        c.check("and says so in a condition", condition(system.get("device", "turning"), "HostKeyVerified") == "False",
                condition(system.get("device", "turning"), "HostKeyVerified"))
    print(f"{c.failed} failed")
    return 1 if c.failed else 0


if __name__ == "__main__":
    sys.exit(main())
