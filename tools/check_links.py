"""Check that every link between pages of this repository leads somewhere: the file, and the heading in it.

Run: ``python tools/check_links.py``. Links to other places are not followed: the check needs no network.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent

_FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
_DEFINITION = re.compile(r"^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_ELSEWHERE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def pages(root: Path) -> Iterator[Path]:
    """Yield the Markdown pages that readers see."""
    yield from sorted(root.glob("*.md"))
    for folder in ("docs", "src", "examples", "benchmarks"):
        yield from sorted((root / folder).rglob("*.md"))


def anchors(text: str) -> set[str]:
    r"""Return the anchors of a page's headings, as code hosts make them.

    Example:
        >>> sorted(anchors("# The `agg` step\n## Late, or not?\n## Late, or not?"))
        ['late-or-not', 'late-or-not-1', 'the-agg-step']
    """
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")
        unique, number = slug, 0
        while unique in found:
            number += 1
            unique = f"{slug}-{number}"
        found.add(unique)
    return found


def findings(root: Path) -> list[str]:
    """Return one line for each link that leads nowhere."""
    bad = []
    for page in pages(root):
        text = page.read_text(encoding="utf-8")
        prose = _CODE.sub("", _FENCE.sub("", text))
        for link in [*_LINK.findall(prose), *_DEFINITION.findall(prose)]:
            if _ELSEWHERE.match(link):
                continue
            path, _, anchor = unquote(link).partition("#")
            target = (page.parent / path).resolve() if path else page
            where = f"{page.relative_to(root)}: the link {link}"
            if not target.exists():
                bad.append(f"{where} names no file")
            elif not target.is_relative_to(root.resolve()):
                bad.append(f"{where} leaves the repository")
            elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text(encoding="utf-8")):
                bad.append(f"{where} names no heading of {target.name}")
    return bad


if __name__ == "__main__":
    sys.exit("\n".join(findings(ROOT)) or None)
