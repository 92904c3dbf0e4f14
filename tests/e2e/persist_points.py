"""The operator is killed after every state it persists, from the first object to the verified release: it still ends Ready.

What the operator persists are objects at the API server. This test watches them and sends SIGKILL the first time that one
shows a new state (conditions with their reasons, stages, attempts, sequence numbers, digests), so that every step is once the
last thing that an operator did. Words of progress are no state.
"""
import argparse
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request

from system import System, condition, project, write_idx

KINDS = ["tangoprojects", "datasets", "trainjobs", "models", "imagebuilds", "deployments", "devices"]
LIMIT_SECONDS = 600


class Operator:
    def __init__(self, system, registry):
        self.system = system
        self.argv = [os.path.join(system.bin, "tango-operator"), "--kubeconfig", system.kubeconfig, "--registry", registry,
                     "--keys", os.path.join(system.state, "keys"), "--state", os.path.join(system.state, "operator"),
                     "--allow-host-path", "--no-leader-election"]
        self.process = None

    def start(self):
        log = open(os.path.join(self.system.folder, "operator.log"), "ab")
        self.process = subprocess.Popen(self.argv, stdout=log, stderr=log)

    def kill(self):
        self.process.kill()
        self.process.wait()


def state_of(item):
    """What counts as a step: everything in status but texts and times."""
    status = item.get("status", {})
    conditions = sorted((c["type"], c["status"], c.get("reason")) for c in status.get("conditions", []))
    stages = [(s["name"], s["state"], s.get("attempt")) for s in status.get("stages", [])]
    slots = [(s["name"], s.get("sequence"), s.get("state"), s.get("current"), s.get("desired")) for s in status.get("slots", [])]
    rest = {k: v for k, v in status.items() if isinstance(v, (int, str)) and k not in ("startedAt", "finishedAt", "lastSeen")}
    return json.dumps([item["metadata"].get("finalizers"), conditions, stages, slots, rest], sort_keys=True)


def states(ready, token):
    context = ssl._create_unverified_context()
    seen = set()
    for kind in KINDS:
        request = urllib.request.Request(f"{ready['api']}/apis/ml-tango.io/v1alpha1/{kind}", headers={"Authorization": "Bearer " + token})
        for item in json.load(urllib.request.urlopen(request, context=context, timeout=10))["items"]:
            seen.add((kind, item["metadata"]["name"], state_of(item)))
    return seen


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    args = parser.parse_args()
    if not os.path.exists("/usr/bin/docker-registry") or not os.path.exists("/usr/sbin/sshd"):
        print("docker-registry or sshd is not installed")
        return 77
    system = System(args.bin, up_args=["--no-operator"])
    ready = system.start()
    operator = Operator(system, ready["registry"])
    try:
        data = os.path.join(system.folder, "data")
        write_idx(data, train=240, test=60)
        token = open(os.path.join(system.state, "admin.token"), encoding="utf-8").read().split()[0]
        system.add_device("edge-1", wait=False)
        system.apply(project("bars", data, epochs=2))
        kills = 0
        deadline = time.time() + LIMIT_SECONDS
        before = states(ready, token)
        operator.start()
        while condition(system.get("tangoproject", "bars"), "Ready") != "True":
            if time.time() > deadline:
                raise AssertionError(f"not Ready after {kills} kills:\n" + system.tangoctl("status", check=False).stdout +
                                     open(os.path.join(system.folder, "operator.log"), encoding="utf-8", errors="replace").read()[-3000:])
            new = states(ready, token) - before
            if new:
                operator.kill()
                kills += 1
                before |= new
                operator.start()
            time.sleep(0.02)
        slot = system.get("device", "edge-1")["status"]["slots"][0]
        assert slot["current"] and slot["state"] == "Committed", slot
        jobs = system.tangoctl("get", "jobs", "-o", "name").stdout.split()
        print(f"Ready after {kills} kills of the operator; jobs: {', '.join(jobs)}")
        assert kills >= 10, f"only {kills} states were persisted"
        assert len(jobs) == len(set(jobs)) and len(jobs) <= 5, f"a stage was run twice: {jobs}"
    finally:
        if operator.process and operator.process.poll() is None:
            operator.kill()
        system.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
