"""Every promise of docs/behaviours.md names tests that exist: `<ctest name>:<Suite.Case>` or a ctest name alone."""
import glob
import os
import re
import sys

ROW = re.compile(r"^\|(.+)\|([^|]+)\|\s*$")
NAME = re.compile(r"`?([A-Za-z0-9_\-]+)(?::([A-Za-z0-9_]+)\.([A-Za-z0-9_]+))(?![\w])`?|`([A-Za-z0-9_\-]+)`")


def known_tests(root):
    names, cases = set(), set()
    for path in glob.glob(os.path.join(root, "tests/**/CMakeLists.txt"), recursive=True):
        text = open(path, encoding="utf-8").read()
        names |= set(re.findall(r"tango_test\(\s*([A-Za-z0-9_\-]+)", text))
        names |= set(re.findall(r"add_test\(\s*NAME\s+([A-Za-z0-9_\-]+)", text))
        for variable, words in re.findall(r"foreach\((\w+) ([^)]+)\)", text):
            for prefix in re.findall(r"add_test\(\s*NAME\s+([A-Za-z0-9_\-]*)\$\{" + variable + r"\}", text):
                names |= {prefix + word for word in words.split()}
    for path in glob.glob(os.path.join(root, "tests/**/*.cpp"), recursive=True):
        text = open(path, encoding="utf-8").read()
        for suite, case in re.findall(r"(?:TEST|TEST_F|TEST_P|RC_GTEST_PROP|RC_GTEST_FIXTURE_PROP)\(\s*(\w+)\s*,\s*(\w+)", text):
            cases.add((suite, case))
    return names, cases


def check(root):
    names, cases = known_tests(root)
    problems, promises = [], 0
    files = [os.path.join(root, "docs/behaviours.md")] + sorted(glob.glob(os.path.join(root, "docs/behaviours/*.md")))
    for path in files:
        rel = os.path.relpath(path, root)
        for number, line in enumerate(open(path, encoding="utf-8"), 1):
            row = ROW.match(line)
            if not row or set(row.group(2).strip()) <= set("-: ") or row.group(2).strip().lower() in ("test", "tests"):
                continue
            promises += 1
            found = NAME.findall(row.group(2))
            if not found:
                problems.append(f"{rel}:{number}: names no test: {line.strip()[:100]}")
            for named, suite, case, alone in found:
                name = named or alone
                if name not in names:
                    problems.append(f"{rel}:{number}: there is no test program {name}")
                elif suite and (suite, case) not in cases:
                    problems.append(f"{rel}:{number}: there is no test {suite}.{case}")
    if promises == 0:
        problems.append("docs/behaviours.md holds no promise")
    return problems, promises


if __name__ == "__main__":
    found, total = check(sys.argv[1])
    for problem in found:
        print(problem)
    print(f"{total} promises checked, {len(found)} problems")
    sys.exit(1 if found else 0)
