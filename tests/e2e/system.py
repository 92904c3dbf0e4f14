"""A running TANGO for end-to-end tests: `tangoctl up` under a temporary folder, devices on loopback, small datasets."""
import gzip
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "demo"))
from devices import Device  # noqa: E402


class System:
    def __init__(self, bin_folder, operator_args=(), up_args=()):
        self.bin = os.path.abspath(bin_folder)
        self.temporary = tempfile.TemporaryDirectory(prefix="tango-e2e-")
        self.folder = self.temporary.name
        self.state = os.path.join(self.folder, "state")
        self.kubeconfig = os.path.join(self.state, "kubeconfig")
        self.operator_args = operator_args
        self.up_args = list(up_args)
        self.up = None
        self.devices = {}

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        log = open(os.path.join(self.folder, "up.log"), "ab")
        argv = [os.path.join(self.bin, "tangoctl"), "up", "--state", self.state, *self.up_args]
        for a in self.operator_args:
            argv += ["--operator-arg", a]
        self.up = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
        line = self.up.stdout.readline()
        assert line, "tangoctl up did not become ready:\n" + open(log.name, encoding="utf-8").read()
        return json.loads(line)

    def stop(self):
        if self.up and self.up.poll() is None:
            self.up.send_signal(signal.SIGTERM)
            try:
                self.up.wait(30)
            except subprocess.TimeoutExpired:
                self.up.kill()
        for device in self.devices.values():
            device.stop()
        for pid in self.processes("tango-shim", "tango-trainer", "tango-builder", "tango-operator"):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.temporary.cleanup()

    def kill_up(self):
        """The whole machine's worth of TANGO but the pods' shims, without a warning."""
        for pid in [self.up.pid] + self.processes("tango-operator", "docker-registry"):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.up.wait()

    def processes(self, *programs, marker=None):
        """Pids of these programs that belong to this system."""
        marker = (marker or self.folder).encode()
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                name = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
                text = open(f"/proc/{pid}/cmdline", "rb").read() + open(f"/proc/{pid}/environ", "rb").read()
            except OSError:
                continue
            if name in programs and marker in text:
                found.append(int(pid))
        return found

    def kill(self, program):
        pids = self.processes(program)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return pids

    def tangoctl(self, *arguments, check=True, data=None, timeout=120):
        environment = dict(os.environ, KUBECONFIG=self.kubeconfig, TANGO_STATE=self.state, NO_COLOR="1")
        done = subprocess.run([os.path.join(self.bin, "tangoctl"), *arguments], capture_output=True, text=True, env=environment,
                              input=data, timeout=timeout)
        if check and done.returncode != 0:
            raise AssertionError(f"tangoctl {' '.join(arguments)}: code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def get(self, kind, name):
        done = self.tangoctl("get", kind, name, "-o", "json", check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def apply(self, manifest, check=True):
        return self.tangoctl("apply", "-f", "-", data=manifest, check=check)

    def add_device(self, name, wait=True, **options):
        device = self.devices[name] = Device(self.folder, name)
        device.prepare()
        if options.pop("start", True):
            device.start()
        arguments = {"--address": "127.0.0.1", "--port": str(device.port), "--user": device.user, "--identity": device.bootstrap_key,
                     "--fingerprint": device.fingerprint, "--profile": "linux-x86", "--mode": "User", "--root": device.agent_root,
                     "--authorized-keys": device.authorized_keys, "--label": "site=lab"}
        arguments.update(options.pop("override", {}))
        flat = [x for pair in arguments.items() for x in pair if pair[1] is not None]
        if arguments["--fingerprint"] is None:
            flat.append("--trust-on-first-use")
        self.tangoctl("device", "provision", name, *flat, "--no-wait")
        if wait:
            self.until(f"{name} is provisioned", 60, lambda: condition(self.get("device", name), "Provisioned") == "True")
        return device

    def until(self, what, seconds, probe):
        deadline = time.time() + seconds
        while True:
            found = probe()
            if found:
                return found
            if time.time() > deadline:
                logs = os.path.join(self.state, "logs", "operator.log")
                tail = open(logs, encoding="utf-8", errors="replace").read()[-3000:] if os.path.exists(logs) else ""
                status = self.tangoctl("status", check=False).stdout
                raise AssertionError(f"{what}: not within {seconds} s\n{status}\n{tail}")
            time.sleep(0.3)


def condition(obj, kind, field="status"):
    for c in ((obj or {}).get("status") or {}).get("conditions", []):
        if c["type"] == kind:
            return c.get(field)
    return None


def write_idx(folder, train=480, test=120, size=16, classes=3):
    """Three easy classes (bars: horizontal, vertical, none) with noise, as gzip Idx files."""
    os.makedirs(folder, exist_ok=True)
    rng = random.Random(7)
    for part, count in (("train", train), ("t10k", test)):
        images, labels = bytearray(), bytearray()
        for i in range(count):
            label = i % classes
            at = rng.randrange(2, size - 3)
            for y in range(size):
                for x in range(size):
                    on = (label == 0 and abs(y - at) < 2) or (label == 1 and abs(x - at) < 2)
                    images.append(min(255, (200 if on else 20) + rng.randrange(40)))
            labels.append(label)
        with gzip.open(f"{folder}/{part}-images-idx3-ubyte.gz", "wb", 1) as f:
            f.write(struct.pack(">IIII", 2051, count, size, size) + bytes(images))
        with gzip.open(f"{folder}/{part}-labels-idx1-ubyte.gz", "wb", 1) as f:
            f.write(struct.pack(">II", 2049, count) + bytes(labels))


def project(name, data, epochs=3, profile="linux-x86", extra=""):
    return f"""
apiVersion: ml-tango.io/v1alpha1
kind: Dataset
metadata: {{name: {name}, namespace: default}}
spec:
  source: {{hostPath: {{path: {data}}}}}
  format: Idx
  classes: [horizontal, vertical, none]
---
apiVersion: ml-tango.io/v1alpha1
kind: TangoProject
metadata: {{name: {name}, namespace: default}}
spec:
  task: Classification
  datasetRef: {{name: {name}}}
  baseModel: {{name: resnet20}}
  train: {{epochs: {epochs}}}
{extra}
  targets:
  - name: edge
    profileRef: {{name: {profile}}}
    deviceSelector: {{matchLabels: {{site: lab}}}}
    io: {{output: {{http: {{port: 0}}}}}}
    rollout:
      healthGate: {{goldenSamples: true, warmup: 100ms, soak: 1s}}
"""
