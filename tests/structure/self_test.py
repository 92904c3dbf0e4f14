"""The structure checks themselves: each must find what it is there to find."""
import os
import subprocess
import tempfile

import check_behaviours
import check_floors
import check_style


def write(root, path, text):
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "w", encoding="utf-8") as f:
        f.write(text)


TABLE = """## Rooms and floors

| floor | folder | holds | may use |
|---|---|---|---|
| 0 | `lib/base/` | x | |
| 1 | `lib/graph/` | x | `lib/base` |
| 1 | `lib/kube/` | x | `lib/base` |
| 2 | `autonn/` | x | `lib/graph` |
| 3 | `controllers/` | x | `lib/graph` |
"""

with tempfile.TemporaryDirectory() as root:
    write(root, "docs/architecture.md", TABLE)
    write(root, "lib/base/a.h", "#pragma once\n")
    write(root, "autonn/x.cpp", '#include "lib/base/a.h"\n#include <torch/torch.h>\n')
    assert check_floors.check(root) == ([], 2), check_floors.check(root)
    write(root, "lib/base/b.h", '#include "lib/graph/g.h"\n')
    write(root, "autonn/y.cpp", '#include "lib/kube/k.h"\n')
    write(root, "lib/graph/z.h", "#include <boost/asio.hpp>\n")
    write(root, "autonn/z.cpp", '#include "lib/graph/z.h"\n')
    write(root, "controllers/c.cpp", "#include <curl/curl.h>\n")
    write(root, "attic/a.cpp", "int x;\n")
    problems, _ = check_floors.check(root)
    assert len(problems) == 5, problems

    write(root, "tests/a/CMakeLists.txt", "tango_test(a_test SOURCES a.cpp)\n")
    write(root, "tests/a/a.cpp", "TEST(Suite, Case) {}\n")
    write(root, "docs/behaviours.md", "| promise | test |\n|---|---|\n| It works. | `a_test:Suite.Case` |\n")
    assert check_behaviours.check(root) == ([], 1)
    write(root, "docs/behaviours.md", "| p | `a_test:Suite.Other` |\n| p | `b_test` |\n| p | none |\n")
    problems, _ = check_behaviours.check(root)
    assert len(problems) == 3, problems

    subprocess.run(["git", "init", "-q", root], check=True)
    write(root, "lib/base/c.cpp", 'int f() { return system("ls"); }\n// TO' + 'DO\n// /ro' + 'ot/x\n' + "\n" * 900)
    subprocess.run(["git", "-C", root, "add", "-A"], check=True)
    problems, _ = check_style.check(root)
    assert len(problems) == 4, problems
print("3 checks, each finds what it should")
