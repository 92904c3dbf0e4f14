"""The demo: one manifest and real images in, predictions from devices reached over SSH out.

Starts `tangoctl up` and three edge devices (an sshd each, on loopback, with its own host key and folder), applies
examples/fashion.yaml and follows it to the end. Nothing outside the folder .demo is changed. A second run goes on with
what is there; one after a crash does, too. DEMO_REPORT=file.json writes what was measured.
"""
import argparse
import gzip
import hashlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib

from devices import Device, running, stop_pid

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DATA = "/usr/share/datasets/fashion-mnist"
PROJECT = "fashion"
NAMES = ["edge-1", "edge-2", "edge-3"]
LATE = "edge-3"      # switched on at the end
REFUSING = "edge-2"  # gets a release that cannot pass its gate
TRAIN_MINUTES = 40   # generous: a busy machine is slow, a hang is still found
GOAL_ACCURACY = 0.90
SAY_SECONDS = 5       # at most one line of progress in so many seconds


class Failed(Exception):
    pass


class Demo:
    def __init__(self, args):
        self.bin = os.path.abspath(args.bin)
        self.folder = os.path.abspath(args.folder)
        self.state = os.path.join(self.folder, "state")
        self.kubeconfig = os.path.join(self.state, "kubeconfig")
        self.steps = []
        self.report = {"steps": self.steps, "accuracy": {}, "latencyMs": {}, "devices": [], "prediction": None}
        self.up = None
        self.devices = {n: Device(self.folder, n) for n in NAMES}
        self.kubectl_program = find_kubectl()

    # -- small tools ---------------------------------------------------------------------------------------------

    def step(self, name, function):
        print(f"\n== {name}", flush=True)
        began = time.time()
        ok = False
        try:
            result = function()
            ok = True
            return result
        finally:
            seconds = round(time.time() - began, 1)
            self.steps.append({"name": name, "seconds": seconds, "ok": ok})
            print(f"   {'done' if ok else 'FAILED'} in {seconds} s", flush=True)

    def run(self, argv, check=True, quiet=False, timeout=120, data=None):
        environment = dict(os.environ, KUBECONFIG=self.kubeconfig, TANGO_STATE=self.state, NO_COLOR="1")
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, env=environment, input=data)
        if check and done.returncode != 0:
            raise Failed(f"{' '.join(argv)}\n{done.stdout}{done.stderr}")
        if not quiet and done.stdout.strip():
            print("   " + done.stdout.rstrip().replace("\n", "\n   "), flush=True)
        return done

    def tangoctl(self, *arguments, **options):
        return self.run([os.path.join(self.bin, "tangoctl"), *arguments], **options)

    def kubectl(self, *arguments, **options):
        cache = os.path.join(self.folder, "kubectl-cache")
        return self.run([self.kubectl_program, "--cache-dir", cache, *arguments], **options)

    def get(self, kind, name):
        done = self.kubectl("get", kind + ".ml-tango.io", name, "-o", "json", quiet=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def wait(self, what, minutes, probe, say=None):
        """Polls probe() until it returns something true; prints say() when it has changed, every few seconds."""
        deadline = time.time() + minutes * 60
        last, said_at = None, 0
        while True:
            found = probe()
            if found:
                return found
            if self.up.poll() is not None:
                raise Failed(f"tangoctl up ended with code {self.up.returncode}; see {self.state}/logs")
            if say and time.time() - said_at >= SAY_SECONDS:
                text = say()
                if text and text != last:
                    last, said_at = text, time.time()
                    print("   " + text, flush=True)
            if time.time() > deadline:
                raise Failed(f"{what}: not within {minutes} minutes")
            time.sleep(1)

    # -- the story -----------------------------------------------------------------------------------------------

    def start(self):
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        stop_leftover(self.folder)
        log = open(os.path.join(self.folder, "up.log"), "ab")
        self.up = subprocess.Popen([os.path.join(self.bin, "tangoctl"), "up", "--state", self.state],
                                   stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
        with open(os.path.join(self.folder, "up.pid"), "w", encoding="utf-8") as f:
            f.write(str(self.up.pid))
        line = self.up.stdout.readline()
        if not line:
            raise Failed(f"tangoctl up did not become ready; see {self.folder}/up.log")
        ready = json.loads(line)
        self.report["readySeconds"] = ready.get("seconds")
        print(f"   ready in {ready.get('seconds')} s: {ready.get('api')}")

    def start_devices(self):
        for name, device in self.devices.items():
            device.prepare()
            if name != LATE:
                device.start()
                print(f"   {name}: sshd on port {device.port}, host key {device.fingerprint}")
            else:
                print(f"   {name}: switched off for now")

    def provision(self):
        for name, device in self.devices.items():
            if self.get("devices", name):
                print(f"   {name} is known already")
                continue
            self.tangoctl("device", "provision", name, "--address", "127.0.0.1", "--port", str(device.port),
                          "--user", device.user, "--identity", device.bootstrap_key, "--fingerprint", device.fingerprint,
                          "--profile", "linux-x86", "--mode", "User", "--root", device.agent_root,
                          "--authorized-keys", device.authorized_keys, "--label", "site=demo", "--label", f"unit={name}",
                          "--wait=false")

        def online():
            return all(condition(self.get("devices", n), "Provisioned") == "True" for n in NAMES if n != LATE)
        self.wait("provisioning", 5, online)
        self.tangoctl("device", "list")

    def apply(self):
        self.kubectl("apply", "-f", os.path.join(ROOT, "examples/fashion.yaml"))

    def follow(self):
        def say():
            done = self.tangoctl("status", PROJECT, "--brief", check=False, quiet=True)
            return done.stdout.strip() if done.returncode == 0 else None

        def done():
            project = self.get("tangoprojects", PROJECT)
            if condition(project, "Accepted") == "False" or condition(project, "Ready", "reason") == "Failed":
                raise Failed(self.tangoctl("status", PROJECT, quiet=True, check=False).stdout)
            return all(released(self.get("devices", n)) for n in NAMES if n != LATE)
        self.wait("training and deployment", TRAIN_MINUTES, done, say)
        self.tangoctl("status", PROJECT)

    def refuse(self):
        project = self.get("tangoprojects", PROJECT)
        model = project["status"]["model"]["name"]
        before = slot_of(self.get("devices", REFUSING))
        manifest = open(os.path.join(ROOT, "demo/impossible.yaml"), encoding="utf-8").read().replace("MODEL", model)
        self.kubectl("apply", "-f", "-", data=manifest)

        def rejected():
            return (self.get("devices", REFUSING) or {}).get("status", {}).get("rejected")
        self.wait("the refusal", 10, rejected)

        def back():
            slot = slot_of(self.get("devices", REFUSING))
            return slot and slot.get("current") == before.get("current")
        self.wait("the return of the first release", 10, back)
        why = self.tangoctl("fleet", "why", REFUSING).stdout
        if "LatencyExceeded" not in why:
            raise Failed("the refusal is not explained by `tangoctl fleet why`")

    def late(self):
        self.devices[LATE].start()
        self.wait("the late device", 10, lambda: released(self.get("devices", LATE)))

    def measure(self):
        project = self.get("tangoprojects", PROJECT)
        trained = float(project["status"]["model"]["metrics"]["top1"])
        trained = trained / 100 if trained > 1 else trained
        evaluated = json.loads(self.tangoctl("device", "evaluate", "edge-1", "--data", DATA, "--format", "idx", "--split", "test",
                                             "-o", "json", quiet=True, timeout=900).stdout)
        latency = slot_of(self.get("devices", "edge-1")).get("latency") or evaluated.get("latencyMs") or {}
        self.report["accuracy"] = {"trained": trained, "onDevice": evaluated["accuracy"], "samples": evaluated.get("samples")}
        self.report["latencyMs"] = {k: latency.get(k) for k in ("p50", "p95")}
        print(f"   top-1 on the {evaluated.get('samples')} test images: {trained:.4f} after training, "
              f"{evaluated['accuracy']:.4f} on edge-1 with the exported network")
        print(f"   latency on edge-1: p50 {self.report['latencyMs']['p50']} ms, p95 {self.report['latencyMs']['p95']} ms")
        if min(trained, evaluated["accuracy"]) < GOAL_ACCURACY:
            raise Failed(f"accuracy is below {GOAL_ACCURACY}")

    def predict(self):
        image, label = os.path.join(self.folder, "test-image.png"), None
        label = write_test_image(image, 0)
        answer = json.loads(self.tangoctl("predict", "--device", "edge-1", image, "-o", "json", quiet=True).stdout)
        answer = answer[0] if isinstance(answer, list) else answer
        self.report["prediction"] = {"device": "edge-1", "class": answer["class"], "score": answer["score"], "expected": label}
        print(f"   edge-1 says: {answer['class']} (score {answer['score']:.3f}); the label is {label}")

    def summary(self):
        # After a restart the devices' agents start their releases anew, and the next probe sees it.
        def ready():
            return all(condition(self.get("devices", n), "Ready") == "True" for n in NAMES)
        self.wait("all devices being ready", 5, ready)
        self.tangoctl("fleet", "status")
        self.kubectl("get", "tango")
        for name in NAMES:
            device = self.get("devices", name)
            slot = slot_of(device) or {}
            self.report["devices"].append({"name": name, "ready": condition(device, "Ready") == "True",
                                           "release": slot.get("current"), "reason": condition(device, "Ready", "reason")})
        if not all(d["ready"] for d in self.report["devices"]):
            raise Failed(f"not every device is ready: {self.report['devices']}")

    def stop(self):
        if self.up and self.up.poll() is None:
            self.up.send_signal(signal.SIGTERM)
            try:
                self.up.wait(30)
            except subprocess.TimeoutExpired:
                self.up.kill()
        for device in self.devices.values():
            device.stop()


# -- reading objects ---------------------------------------------------------------------------------------------

def condition(obj, kind, field="status"):
    for c in ((obj or {}).get("status") or {}).get("conditions", []):
        if c["type"] == kind:
            return c.get(field)
    return None


def slot_of(device, name="main"):
    for slot in ((device or {}).get("status") or {}).get("slots", []):
        if slot["name"] == name:
            return slot
    return {}


def released(device):
    return condition(device, "UpToDate") == "True" and bool(slot_of(device).get("current"))


# -- set-up ------------------------------------------------------------------------------------------------------

def find_kubectl():
    cache = os.environ.get("TANGO_KUBECTL_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "tango/kubectl")
    for candidate in (os.path.join(cache, "kubectl-1.20"), shutil.which("kubectl")):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    raise SystemExit("kubectl is not here: run scripts/fetch-kubectl first")


def stop_leftover(folder):
    """A `tangoctl up` of an earlier run that was killed."""
    try:
        pid = int(open(os.path.join(folder, "up.pid"), encoding="utf-8").read())
    except (FileNotFoundError, ValueError):
        return
    if running(pid, os.path.join(folder, "state")):
        print("   stopping what an earlier run left behind")
        stop_pid(pid)


def write_test_image(path, index):
    """One test photo as PNG; returns its label's name."""
    names = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
    with gzip.open(f"{DATA}/t10k-images-idx3-ubyte.gz") as f:
        _, _, rows, columns = struct.unpack(">IIII", f.read(16))
        f.seek(16 + index * rows * columns)
        pixels = f.read(rows * columns)
    with gzip.open(f"{DATA}/t10k-labels-idx1-ubyte.gz") as f:
        f.seek(8 + index)
        label = f.read(1)[0]

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    raw = b"".join(b"\0" + pixels[r * columns:(r + 1) * columns] for r in range(rows))
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)) +
                chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))
    return names[label]


def tree_hash(folder):
    digest = hashlib.sha256()
    for path, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            full = os.path.join(path, name)
            digest.update(full.encode() + b"\0")
            try:
                digest.update(open(full, "rb").read())
            except OSError:
                digest.update(b"unreadable")
    return digest.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="folder of the built programs")
    parser.add_argument("--folder", default=os.path.join(ROOT, ".demo"), help="where everything of the demo lies")
    parser.add_argument("--clean", action="store_true", help="stop what runs and remove the folder")
    args = parser.parse_args()
    demo = Demo(args)
    if args.clean:
        stop_leftover(demo.folder)
        for device in demo.devices.values():
            device.stop()
        shutil.rmtree(demo.folder, ignore_errors=True)
        print(f"removed {demo.folder}")
        return 0

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    ssh_before = tree_hash(os.path.expanduser("~/.ssh"))
    code = 0
    try:
        demo.step("Start the system", demo.start)
        demo.step("Start two edge devices; a third is off", demo.start_devices)
        demo.step("Provision the devices over SSH", demo.provision)
        demo.step("Apply examples/fashion.yaml", demo.apply)
        demo.step("Validate, select, train, export, build, sign, deploy", demo.follow)
        demo.step("Push a release that cannot pass its gate to edge-2", demo.refuse)
        demo.step("Switch the third device on", demo.late)
        demo.step("Measure on the device", demo.measure)
        demo.step("Predict on the device", demo.predict)
        demo.step("The fleet", demo.summary)
    except Failed as error:
        print(f"\nDEMO FAILED: {error}", file=sys.stderr)
        for name in ("up.log", "state/logs/operator.log"):
            path = os.path.join(demo.folder, name)
            if os.path.exists(path):
                tail = open(path, encoding="utf-8", errors="replace").read().splitlines()[-25:]
                print(f"--- end of {path}\n" + "\n".join(tail), file=sys.stderr)
        code = 1
    finally:
        demo.stop()
    if tree_hash(os.path.expanduser("~/.ssh")) != ssh_before:
        print("DEMO FAILED: ~/.ssh was changed", file=sys.stderr)
        code = 1
    if os.environ.get("DEMO_REPORT"):
        with open(os.environ["DEMO_REPORT"], "w", encoding="utf-8") as f:
            json.dump(demo.report, f, indent=1)
    print("\nSummary")
    for step in demo.steps:
        print(f"  {'ok    ' if step['ok'] else 'FAILED'} {step['seconds']:7.1f} s  {step['name']}")
    if code == 0:
        r = demo.report
        print(f"  accuracy {r['accuracy']['trained']:.4f} trained, {r['accuracy']['onDevice']:.4f} on the device; "
              f"latency p50 {r['latencyMs']['p50']} ms; prediction: {r['prediction']['class']}")
        print("  run it again to see it go on with what is there; `make demo-clean` removes everything")
    return code


if __name__ == "__main__":
    sys.exit(main())
