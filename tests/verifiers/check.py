"""Asks every receiver there is what it says of deliveries: the code of docs/verifying.md in each
language, and the platforms' own libraries.

    check.py < deliveries.jsonl    the deliveries given, one JSON object a line: profile, secret,
                                   headers (lower-case names), body; perhaps public_key (whpk_...,
                                   instead of a secret or beside it) and now (unix seconds)
    check.py --vectors             those of tests/wire/vectors.json and of shapes.py

Each delivery has to be accepted, and what variants.py makes of it judged as it says. Prints a table
of what was accepted and refused; fails on any surprise. What it needs, `scripts/install-test-deps`
installs.
"""

import sys

sys.dont_write_bytecode = True

import json
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import extract
import variants
from extract import DOCUMENTED, DRIVERS, GO, INSTALLED, ROOT

PYTHON = INSTALLED / "python" / "bin" / "python"
# Surprises that are shown of each receiver.
SHOWN = 5
# A driver that takes longer than this hangs, in seconds.
PATIENCE = 300


@dataclass
class Receiver:
    """Something that verifies."""

    name: str
    command: list
    # The library in it; none: the code of the document.
    library: str = ""

    def takes(self, check, variant):
        """Whether it is asked about this variant."""
        if not self.library:
            return True
        if not variant.libraries:
            return False
        if self.library == "octokit":
            return check == "github"
        if self.library == "stripe":
            return check == "stripe"
        svix = "svix-signature" in variant.job["headers"]
        return check == "standard" and (self.library == "svix" or not svix)


def main():
    if sys.argv[1:] == ["--vectors"]:
        deliveries = vectors()
    elif not sys.argv[1:]:
        deliveries = [json.loads(line) for line in sys.stdin if line.strip()]
    else:
        raise SystemExit(__doc__)
    if not deliveries:
        raise SystemExit("there is no delivery to check")
    cases = [
        (column(delivery, check), check, variant)
        for delivery in deliveries
        for check in variants.checks(delivery)
        for variant in variants.variants(delivery, check)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        verdicts = list(pool.map(lambda receiver: judge(receiver, cases), receivers()))
    print_table(cases, verdicts)
    return report(verdicts)


def column(delivery, check):
    """Under which name a check is counted."""
    profile = delivery["profile"]
    return {
        "ed25519": f"{profile} v1a",
        "rebusai_header": "rebusai header",
        "rebusai_body": "rebusai body",
    }.get(check, profile)


def vectors():
    """The project's vectors, a delivery for each secret, and the awkward shapes."""
    text = (ROOT / "tests" / "wire" / "vectors.json").read_text(encoding="utf-8")
    found = [
        {**vector, "secret": secret, "now": vector["attempt_unix"]}
        for vector in json.loads(text)["vectors"]
        for secret in vector["secrets"]
    ]
    shapes = run([str(PYTHON), str(DRIVERS / "shapes.py")], "")
    return found + [json.loads(line) for line in shapes.splitlines()]


def receivers():
    """Everything that can be asked on this machine."""
    if not PYTHON.exists() or not (INSTALLED / "javascript" / "node_modules").exists():
        raise SystemExit("scripts/install-test-deps installs what is missing in target/verifiers")
    extract.extract()
    found = [
        Receiver("Python", [str(PYTHON), str(DRIVERS / "documented.py"), str(DOCUMENTED)]),
        Receiver("JavaScript", ["node", str(DRIVERS / "documented.mjs"), str(DOCUMENTED)]),
    ]
    if there("php"):
        command = ["php", "-d", "display_errors=stderr", str(DRIVERS / "documented.php")]
        found.append(Receiver("PHP", [*command, str(DOCUMENTED)]))
    if there("ruby"):
        found.append(Receiver("Ruby", ["ruby", str(DRIVERS / "documented.rb"), str(DOCUMENTED)]))
    if there("go"):
        found.append(Receiver("Go", [build_go()]))
    for library in ("standardwebhooks", "svix", "stripe"):
        command = [str(PYTHON), str(DRIVERS / "libraries.py"), library]
        found.append(Receiver(f"{library} (Python)", command, library))
    for library in ("standardwebhooks", "svix", "stripe", "octokit"):
        command = ["node", str(INSTALLED / "javascript" / "libraries.mjs"), library]
        found.append(Receiver(f"{library} (JavaScript)", command, library))
    return found


def there(program):
    """Whether the machine has it; says so when it has not."""
    if shutil.which(program):
        return True
    print(f"{program} is not on this machine: not checked with it", file=sys.stderr)
    return False


def build_go():
    """The Go driver, built without the network and without a home directory."""
    settings = {
        "GOCACHE": str(GO / "cache"),
        "GOPATH": str(GO / "path"),
        "GOENV": "off",
        "GOFLAGS": "",
        "GOPROXY": "off",
        "GOTELEMETRY": "off",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GO111MODULE": "on",
        "CGO_ENABLED": "0",
    }
    # Another run may be building or running it.
    with tempfile.TemporaryDirectory(dir=GO) as folder:
        built = os.path.join(folder, "driver")
        run(["go", "build", "-o", built, "main.go"], "", cwd=GO, env=os.environ | settings)
        os.replace(built, GO / "driver")
    return str(GO / "driver")


def run(command, text, **options):
    """What a program prints, given this text; the end when it fails."""
    done = subprocess.run(
        command,
        input=text.encode(),
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
        check=False,
        **{"env": os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}} | options,
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed with status {done.returncode}")
    return done.stdout.decode()


def judge(receiver, cases):
    """The receiver, and of each case it was asked about: the case, its answer, whether right."""
    asked = [case for case in cases if receiver.takes(case[1], case[2])]
    if not asked:
        return receiver, []
    jobs = "".join(variant.line for _, _, variant in asked)
    # Split at line ends only: a reason may hold other characters that end lines.
    answers = run(receiver.command, jobs).split("\n")[:-1]
    if len(answers) != len(asked):
        raise SystemExit(f"{receiver.name}: {len(answers)} answers to {len(asked)} deliveries")
    return receiver, [
        (case, answer, is_right(receiver, case[2], answer))
        for case, answer in zip(asked, answers)
    ]


def is_right(receiver, variant, answer):
    """Whether an answer is what was expected, and for the reason that was expected."""
    if variant.expected == "ok":
        return answer == "ok"
    refused = answer.startswith("refused: ")
    return refused and (bool(receiver.library) or variant.expected in answer)


def print_table(cases, verdicts):
    """For each receiver and profile: accepted / refused, as it should be."""
    columns = list(dict.fromkeys(name for name, _, _ in cases))
    rows = [["accepted/refused", *columns]]
    for receiver, answers in verdicts:
        counts = Counter((case[0], answer == "ok") for case, answer, _ in answers)
        wrong = Counter(case[0] for case, _, right in answers if not right)
        row = [receiver.name]
        for name in columns:
            accepted, refused = counts[name, True], counts[name, False]
            cell = f"{accepted}/{refused}" if accepted + refused else "-"
            row.append(f"{cell} WRONG {wrong[name]}" if wrong[name] else cell)
        rows.append(row)
    widths = [max(map(len, cells)) for cells in zip(*rows)]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        print("  ".join(cells))


def report(verdicts):
    """Shows the first surprises of each receiver, without secrets; the exit status."""
    total = 0
    for receiver, answers in verdicts:
        surprises = [(case, answer) for case, answer, right in answers if not right]
        total += len(surprises)
        for (name, _, variant), answer in surprises[:SHOWN]:
            expected = "ok" if variant.expected == "ok" else f"refused: ...{variant.expected}"
            print(
                f"{receiver.name}, {name}, {variant.name}: {answer}, not {expected}; "
                f"body {variant.job['body'][:200]!r}",
                file=sys.stderr,
            )
    if total:
        print(f"{total} surprises", file=sys.stderr)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
