"""Every #include goes to a room that docs/architecture.md allows; no circles; heavy headers stay in .cpp files."""
import os
import re
import sys

from rooms import read_rooms, room_of

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
HEAVY = ("torch/", "ATen/", "opencv2/", "boost/", "cpprest/", "yaml-cpp/", "simdjson", "onnx/", "libssh/")
NO_LIBRARIES = {  # rooms that must stay free of I/O and heavy libraries altogether
    "controllers": HEAVY + ("curl/", "sqlite3"),
    "device-agent": ("torch/", "opencv2/", "boost/", "cpprest/", "curl/", "openssl/"),
    "lib/graph": ("torch/", "ATen/", "opencv2/"),
}
SKIP = {"build", "tests", "bench", "docs", "examples", "scripts", "cmake", ".git", "demo"}


def sources(root):
    for folder, folders, files in os.walk(root):
        rel = os.path.relpath(folder, root)
        top = rel.split(os.sep)[0]
        folders[:] = [d for d in folders if not d.startswith((".", "build"))]
        if top in SKIP or top.startswith("build"):
            folders[:] = []
            continue
        for name in files:
            if name.endswith((".h", ".cpp")):
                yield os.path.normpath(os.path.join(rel, name))


def check(root):
    rooms = read_rooms(root)
    problems = []
    count = 0
    torch_units = []
    heavy_headers = {}  # header -> the heavy library it brings in
    users = {}          # header -> rooms that include it
    for path in sorted(sources(root)):
        room = room_of(path, rooms)
        if room is None:
            problems.append(f"{path}: lies in no room of docs/architecture.md")
            continue
        text = open(os.path.join(root, path), encoding="utf-8").read()
        for kind, target in INCLUDE.findall(text):
            count += 1
            if kind == '"':
                other = room_of(target, rooms)
                if other and other != room and other not in rooms[room]:
                    problems.append(f"{path}: includes {target}, but {room} may not use {other}")
                if not other and not os.path.exists(os.path.join(root, os.path.dirname(path), target)) and "generated" not in target:
                    problems.append(f'{path}: "{target}" is in no room (use <> for libraries)')
            elif target.startswith(HEAVY) and path.endswith(".h"):
                heavy_headers[path] = target
            if kind == '"' and target.endswith(".h"):
                users.setdefault(target, set()).add(room)
            if target.startswith(("torch/", "ATen/")) and path.endswith(".cpp"):
                torch_units.append(path)
            for forbidden in NO_LIBRARIES.get(room, ()):
                if kind == "<" and target.startswith(forbidden):
                    problems.append(f"{path}: {room} may not include <{target}>")
    # A room may share a library's types between its own .cpp files; nobody else may be made to pay for them.
    for header, library in heavy_headers.items():
        for room in sorted(users.get(header, set()) - {room_of(header, rooms)}):
            problems.append(f"{header}: brings <{library}> into {room}; keep heavy headers behind the room's wall")
    if len(set(torch_units)) > 25:
        problems.append(f"{len(set(torch_units))} translation units include torch; the limit is 25")
    return problems, count


if __name__ == "__main__":
    found, total = check(sys.argv[1])
    for problem in found:
        print(problem)
    print(f"{total} includes checked, {len(found)} problems")
    sys.exit(1 if found else 0)
