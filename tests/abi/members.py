"""members.py - abi_1_N.c out of the headers: every member's place and type, every enumerator's and flag's value.

usage: members.py INCLUDE MINOR [EARLIER.c ...] >abi_1_MINOR.c
What earlier files have already is left out. Run by freeze.sh, once for a release; needs clang, for its dump of the
syntax tree. SPDX-License-Identifier: MIT
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import textwrap

# Inline only: nothing of these crosses the boundary.
INLINE_ONLY = {"family.h", "record.h", "budget.h"}
# Sets of what is known so far, which grow.
GROWING = re.compile(r"_(KNOWN|ACCUMULATE|FORWARD)$")
WIDTH = 118
LATEST = "-DHCSMOE_ABI_MINOR=HCSMOE_ABI_MINOR_LATEST"
FLAG = re.compile(r"^#define (HCSMOE_(?:STAT|CAP|METRIC|TILE)_[A-Z_]+)", re.M)

HEAD = """/*
 * abi_1_{0}.c - what release 1.{0} of the plugin ABI {1}: compiling this file is the test.
 *
 * Made once by freeze.sh; lines are never edited. A later minor gets a file of its own for what it
 * appends. SPDX-License-Identifier: MIT
 */
{2}#include "released.h"

/* clang-format off: one line a member */
"""


def tree(include, headers):
    source = "".join(f"#include <hcsmoe/{h}>\n" for h in headers)
    out = subprocess.run(
        ["clang", "-std=c11", LATEST, "-I", include, "-x", "c", "-fsyntax-only", "-Xclang", "-ast-dump=json", "-"],
        input=source, capture_output=True, text=True, check=True)
    return json.loads(out.stdout)["inner"]


def type_of(field):
    t = field["type"]["qualType"]
    array = re.fullmatch(r"(.*?)\[(\d+)\]", t)
    return (array[1].strip() + " *") if array else t


def structs(nodes):
    """(name, [(member, type)]) of every struct, in order."""
    for node in nodes:
        if node["kind"] != "RecordDecl" or not node.get("completeDefinition") or not node.get("name", "").startswith("hcsmoe_"):
            continue
        members, inner = [], node.get("inner", [])
        for i, field in enumerate(inner):
            if field["kind"] != "FieldDecl":
                continue
            union = inner[i - 1] if i and inner[i - 1]["kind"] == "RecordDecl" else None
            if union:
                members += [(f"{field['name']}.{m['name']}", type_of(m)) for m in union["inner"] if m["kind"] == "FieldDecl"]
            else:
                members.append((field["name"], type_of(field)))
        yield node["name"], members


def wrapped(line):
    return "\n".join(textwrap.wrap(line, WIDTH, subsequent_indent="       ", break_long_words=False, break_on_hyphens=False))


def numbers(include, headers, expressions):
    """Values of constant expressions."""
    lines = "".join(f'printf("%lld\\n", (long long)({e}));\n' for e in expressions)
    source = "#include <stdio.h>\n#include <stddef.h>\n" + "".join(f"#include <hcsmoe/{h}>\n" for h in headers)
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder, "values")
        subprocess.run(["clang", "-std=c11", LATEST, "-I", include, "-x", "c", "-o", program, "-"],
                       input=source + "int main(void)\n{\n" + lines + "return 0;\n}\n", text=True, check=True)
        return [int(x) for x in subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()]


def main():
    include = sys.argv[1]
    headers = sorted(p.name for p in pathlib.Path(include, "hcsmoe").glob("*.h") if p.name not in INLINE_ONLY)
    nodes = tree(include, headers)
    all_structs = list(structs(nodes))
    members = [(s, m, t) for s, ms in all_structs for m, t in ms]
    enumerators = [c["name"] for n in nodes if n["kind"] == "EnumDecl" for c in n["inner"]
                   if c["kind"] == "EnumConstantDecl" and c["name"].startswith("HCSMOE_")]
    flags = [f for h in headers for f in FLAG.findall(pathlib.Path(include, "hcsmoe", h).read_text()) if not GROWING.search(f)]
    frozen = [s for s, ms in all_structs if ms[0][0] != "struct_size" and s != "hcsmoe_option"]

    offsets = numbers(include, headers, [f"offsetof({s}, {m})" for s, m, _ in members])
    sizes = numbers(include, headers, [f"sizeof((({s} *)0)->{m})" for s, m, _ in members])
    earlier = "\n".join(pathlib.Path(p).read_text() for p in sys.argv[3:])
    minor = int(sys.argv[2])
    print(HEAD.format(minor, *("appends", f"#define HCSMOE_ABI_MINOR {minor}\n") if minor else ("consists of", "")))
    lines = [wrapped(f"MEMBER({s}, {m}, {offset}, {size}, {t});")
             for (s, m, t), offset, size in zip(members, offsets, sizes)]
    lines += [f"FROZEN({s}, {size});"
              for s, size in zip(frozen, numbers(include, headers, [f"sizeof({s})" for s in frozen]))]
    lines += [f"VALUE({name}, {value});"
              for name, value in zip(enumerators + flags, numbers(include, headers, enumerators + flags))]
    lines += ["ENTRY(const hcsmoe_plugin *(*)(const hcsmoe_host *));"]
    for line in lines:
        if line not in earlier:
            print(line)


main()
