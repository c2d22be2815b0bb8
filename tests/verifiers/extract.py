"""Takes the code out of docs/verifying.md, so that what receivers copy is what is tested."""

import os
import re
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "verifying.md"
DRIVERS = ROOT / "tests" / "verifiers"
INSTALLED = ROOT / "target" / "verifiers"
DOCUMENTED = INSTALLED / "documented"
GO = INSTALLED / "go"

# The language of a code block, and where its driver looks for it.
PLACES = {
    "python": DOCUMENTED / "webhooks.py",
    "javascript": DOCUMENTED / "webhooks.mjs",
    "php": DOCUMENTED / "webhooks.php",
    "ruby": DOCUMENTED / "webhooks.rb",
    "go": GO / "webhooks" / "webhooks.go",
}


def extract():
    """Puts every code block, and what has to lie beside it, in its place."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for language, place in PLACES.items():
        blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        if len(blocks) != 1:
            raise SystemExit(f"{DOCUMENT} has {len(blocks)} blocks of {language}, and not one")
        write(place, blocks[0])
    write(GO / "go.mod", "module verifiers\n\ngo 1.19\n")
    write(GO / "main.go", (DRIVERS / "documented.go").read_text(encoding="utf-8"))
    # Node looks for packages beside the file that imports them.
    driver = (DRIVERS / "libraries.mjs").read_text(encoding="utf-8")
    write(INSTALLED / "javascript" / "libraries.mjs", driver)


def write(place, text):
    """Writes a file in one step, for others may be reading it; not at all when it is there."""
    if place.is_file() and place.read_text(encoding="utf-8") == text:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=place.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, place)
