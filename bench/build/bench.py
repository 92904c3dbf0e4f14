"""Build time on this machine: a first build without compiler cache, and one after a change to a single source file."""
import argparse
import json
import os
import shutil
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def timed(argv, environment):
    began = time.time()
    subprocess.run(argv, check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.time() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    folder = os.path.join(os.path.abspath(args.build), "bench", "first-build")
    shutil.rmtree(folder, ignore_errors=True)
    environment = dict(os.environ, CCACHE_DISABLE="1")
    jobs = str(os.cpu_count())
    subprocess.run(["cmake", "--preset", "demo", "-B", folder], cwd=ROOT, check=True, env=environment, stdout=subprocess.DEVNULL)
    first = timed(["cmake", "--build", folder, "-j", jobs], environment) / 60
    touched = os.path.join(ROOT, "operator", "rest_api.cpp")
    os.utime(touched)
    again = timed(["cmake", "--build", folder, "-j", jobs], environment)
    shutil.rmtree(folder)
    compiler = subprocess.run(["c++", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    rows = [
        {"name": "first build of all programs, no compiler cache", "peer": None, "peerVersion": compiler, "ours": round(first, 2), "theirs": None,
         "unit": f"min on {jobs} cores", "ratio": None, "goal": "<= 10 min", "met": first <= 10},
        {"name": "build after a change to operator/rest_api.cpp", "peer": None, "peerVersion": compiler, "ours": round(again, 1), "theirs": None,
         "unit": "s", "ratio": None, "goal": "<= 15 s", "met": again <= 15},
    ]
    with open(args.out, "w", encoding="utf-8") as f:
        json.dump(rows, f, indent=1)


if __name__ == "__main__":
    main()
