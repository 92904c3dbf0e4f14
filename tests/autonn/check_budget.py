"""libtorch stays in few sources (at most 25 translation units) and out of headers; only autonn/ includes it."""
import os
import re
import sys

LIMIT = 25
HEAVY = re.compile(r'#include <(torch|ATen|c10)/')
# A header for torch sources may name tensors; it includes the small tensor header only.
ALLOWED = re.compile(r'#include <ATen/core/Tensor\.h>')


def main(root):
    sources, problems = [], []
    for folder, _, names in os.walk(root):
        relative = os.path.relpath(folder, root)
        if relative.startswith((".git", "build")):
            continue
        for name in names:
            if not name.endswith((".h", ".cpp")):
                continue
            path = os.path.join(relative, name)
            with open(os.path.join(folder, name), encoding="utf-8") as f:
                lines = [line for line in f if HEAVY.match(line)]
            if not lines:
                continue
            if not path.startswith(("autonn/", "tests/autonn/")):
                problems.append(f"{path} includes libtorch")
            if name.endswith(".h") and not all(ALLOWED.match(line) for line in lines):
                problems.append(f"{path} is a header and includes libtorch")
            if name.endswith(".cpp"):
                sources.append(path)
    if len(sources) > LIMIT:
        problems.append(f"{len(sources)} sources include libtorch, the limit is {LIMIT}")
    if not sources:
        problems.append("no source includes libtorch: the check looks at the wrong folder")
    print("\n".join(problems) or f"{len(sources)} sources include libtorch")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
