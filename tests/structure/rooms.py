"""Reads the room table of docs/architecture.md: which folder may include which."""
import os
import re

HEADING = "## Rooms and floors"


def read_rooms(root):
    """Returns {folder: set of folders it may include directly or through what those use}."""
    text = open(os.path.join(root, "docs/architecture.md"), encoding="utf-8").read()
    if HEADING not in text:
        raise SystemExit(f"docs/architecture.md has no section '{HEADING}'")
    section = text.split(HEADING, 1)[1].split("\n## ", 1)[0]
    direct = {}
    for line in section.splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if len(cells) != 4 or not cells[0].isdigit():
            continue
        folder = re.sub(r"[`/]+$", "", cells[1].replace("`", "")).strip("/")
        uses = re.findall(r"`([^`]+)`", cells[3])
        direct[folder] = {u.strip("/") for u in uses}
    if len(direct) < 5:
        raise SystemExit("the room table of docs/architecture.md was not understood")
    for folder, uses in direct.items():
        for use in uses:
            if use not in direct:
                raise SystemExit(f"docs/architecture.md: {folder} may use '{use}', which is no room")
    closed = {}

    def close(folder, trail):
        if folder in trail:
            raise SystemExit("circle of rooms: " + " -> ".join(trail + [folder]))
        if folder not in closed:
            out = set()
            for use in direct[folder]:
                out |= {use} | close(use, trail + [folder])
            closed[folder] = out
        return closed[folder]

    for folder in direct:
        close(folder, [])
    return closed


def room_of(path, rooms):
    """The room a repository-relative path lies in, or None."""
    best = None
    for folder in rooms:
        if path == folder or path.startswith(folder + "/"):
            if best is None or len(folder) > len(best):
                best = folder
    return best
