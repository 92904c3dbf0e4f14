"""House rules a machine can see: no shell, no left-over markers, file lengths, no paths of one machine."""
import os
import re
import subprocess
import sys

RULES = [
    (re.compile(r"(?<![\w:.>])(?:std::|::)?(?:system|popen)\s*\("), "a shell may be reached here; use argv arrays", (".h", ".cpp")),
    (re.compile(r"\b(?:TODO|FIXME|XXX)\b"), "unfinished work is marked here", (".h", ".cpp", ".py", ".sh", ".cmake", ".yaml")),
    (re.compile(r"(?<![\w.])/(?:work|root|farm)/"), "a path of one machine", (".h", ".cpp", ".py", ".sh", ".md", ".yaml", ".txt", ".cmake", "")),
]
MAX_LINES = 800
SELF = "tests/structure/"


def check(root):
    listed = subprocess.run(["git", "-C", root, "ls-files"], capture_output=True, text=True)
    files = listed.stdout.split("\n") if listed.returncode == 0 else []
    problems = []
    for path in filter(None, files):
        if path.startswith(SELF) or path.startswith("docs/formats/vectors/"):
            continue
        try:
            text = open(os.path.join(root, path), encoding="utf-8").read()
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        extension = os.path.splitext(path)[1]
        for pattern, why, kinds in RULES:
            if extension in kinds:
                for match in pattern.finditer(text):
                    problems.append(f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {why}: {match.group(0)}")
        if extension in (".h", ".cpp") and text.count("\n") > MAX_LINES:
            problems.append(f"{path}: {text.count(chr(10))} lines; split it by concept (limit {MAX_LINES})")
    return problems, len(files)


if __name__ == "__main__":
    found, total = check(sys.argv[1])
    for problem in found:
        print(problem)
    print(f"{total} files checked, {len(found)} problems")
    sys.exit(1 if found else 0)
