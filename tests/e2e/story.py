"""One manifest to a device while every program is killed on the way: it ends Ready, and nothing is trained twice."""
import argparse
import os
import signal
import sys
import time

from system import System, condition, project, write_idx


def released(device):
    slots = ((device or {}).get("status") or {}).get("slots", [])
    return condition(device, "UpToDate") == "True" and slots and slots[0].get("current")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    args = parser.parse_args()
    if not os.path.exists("/usr/bin/docker-registry") or not os.path.exists("/usr/sbin/sshd"):
        print("docker-registry or sshd is not installed")
        return 77
    killed = []
    with System(args.bin) as system:
        data = os.path.join(system.folder, "data")
        write_idx(data)
        system.add_device("edge-1")
        system.apply(project("bars", data))

        def kill_when_seen(program, seconds=240):
            def seen():
                return bool(system.kill(program)) or None
            system.until(f"{program} runs", seconds, seen)
            killed.append(program)
            print(f"killed {program}", flush=True)

        # The trainer in the middle of its work, then the operator, then everything at once.
        system.until("training has begun", 240, lambda: stage_state(system, "Train") == "Running" or None)
        kill_when_seen("tango-trainer")
        kill_when_seen("tango-operator")
        time.sleep(1)
        system.kill_up()
        killed.append("tangoctl up")
        print("killed everything", flush=True)
        ready = system.start()
        print(f"up again in {ready['seconds']:.2f} s", flush=True)
        kill_when_seen("docker-registry")  # goes away when results and bundles are pushed next
        kill_when_seen("tango-builder")
        device = system.until("the device has the release", 400, lambda: released(system.get("device", "edge-1")))
        slot = device_slot(system)
        print("released", slot["current"][:19], flush=True)

        # The agent's daemon: the next probe starts it again, with the same release.
        for pid in system.processes("tango-agent", marker=system.devices["edge-1"].agent_root):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        killed.append("tango-agent")
        answer = system.until("a prediction after the agent was killed", 120, lambda: predict(system))
        assert answer["class"] in ("horizontal", "vertical", "none"), answer
        print("prediction", answer["class"], flush=True)
        system.until("the project is Ready", 240, lambda: condition(system.get("tangoproject", "bars"), "Ready") == "True")

        # Applied again: nothing happens. All status wiped by a new project object of the same input: nothing is trained.
        jobs = job_names(system)
        system.apply(project("bars", data))
        time.sleep(3)
        assert job_names(system) == jobs, "applying the same manifest again started a stage"
        assert device_slot(system)["current"] == slot["current"]
        system.tangoctl("delete", "tangoproject", "bars", "--timeout", "60s")
        system.until("the device is empty again", 120, lambda: not device_slot(system).get("current"))
        system.apply(project("bars", data))
        system.until("the project is Ready again", 240, lambda: condition(system.get("tangoproject", "bars"), "Ready") == "True")
        trained = [j for j in job_names(system) - jobs if "-train" in j]
        assert not trained, f"a finished training was run again: {trained}"
        print("killed on the way:", ", ".join(killed))
    return 0


def stage_state(system, name):
    for stage in ((system.get("tangoproject", "bars") or {}).get("status") or {}).get("stages", []):
        if stage["name"] == name:
            return stage["state"]
    return None


def device_slot(system):
    slots = ((system.get("device", "edge-1") or {}).get("status") or {}).get("slots", [])
    return slots[0] if slots else {}


def job_names(system):
    done = system.tangoctl("get", "jobs", "-o", "name", check=False)
    return set(done.stdout.split())


def predict(system):
    import json
    import zlib
    import struct
    path = os.path.join(system.folder, "image.png")
    rows = b"".join(b"\0" + bytes([220 if 6 <= y <= 8 else 30] * 16) for y in range(16))

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) +
                chunk(b"IEND", b""))
    done = system.tangoctl("predict", "--device", "edge-1", path, "-o", "json", check=False)
    if done.returncode != 0:
        return None
    answer = json.loads(done.stdout)
    return answer[0] if isinstance(answer, list) else answer


if __name__ == "__main__":
    sys.exit(main())
