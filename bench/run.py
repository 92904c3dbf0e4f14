"""Runs the benchmark programs and prints their rows: `make bench`, or `bench/run.py --build DIR [area ...]`.

Each area writes <build>/bench/<area>.json, a list of rows {name, peer, peerVersion, ours, theirs, unit, ratio, goal, met}.
Figures are ratios against a named peer of the same run, or counts; a goal that is missed says so.
"""
import argparse
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def areas():
    found = {}
    for name in sorted(os.listdir(HERE)):
        program = os.path.join(HERE, name, "bench.py")
        if os.path.exists(program):
            found[name] = program
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("area", nargs="*", help=f"of {', '.join(areas())}")
    args = parser.parse_args()
    out = os.path.join(args.build, "bench")
    os.makedirs(out, exist_ok=True)
    failed = False
    for area, program in areas().items():
        if args.area and area not in args.area:
            continue
        target = os.path.join(out, area + ".json")
        done = subprocess.run([sys.executable, program, "--build", args.build, "--out", target])
        if done.returncode != 0:
            print(f"{area}: the benchmark failed with code {done.returncode}")
            failed = True
            continue
        for row in json.load(open(target, encoding="utf-8")):
            mark = {True: "met", False: "MISSED", None: "no goal"}[row.get("met")]
            theirs = f" v {row['theirs']} ({row['peer']} {row.get('peerVersion') or ''})" if row.get("theirs") is not None else ""
            ratio = f", ratio {row['ratio']:.3g}" if row.get("ratio") is not None else ""
            print(f"{area:8} {row['name']}: {row['ours']}{theirs} {row['unit']}{ratio}; goal {row.get('goal') or '-'}: {mark}")
            if row.get("met") is False and row.get("reason"):
                print(f"         why: {row['reason']}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
