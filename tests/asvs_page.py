"""docs/asvs.md from ``tests/asvs.py``."""

from tests.asvs import CHAPTERS, ITEMS, SOURCE, VERSION, Item

HEAD = f"""# OWASP ASVS {VERSION}, levels 1 and 2

Written by `make docs` from `tests/asvs.py`; a test compares. Each requirement of levels 1 and 2 in ten chapters, by its id, with
what the gate does about it in our words and the tests that fail when it does not; what a requirement asks is said by its source
({SOURCE}). The other chapters, level 3, and what only a deployment can do are not judged here. Nobody but us has judged this.

**Held**: the tests named hold it. **Does not apply**: with the reason. **Gap**: what is missing; tests named hold what is there.
"""


def state(item: Item) -> str:
    """How it stands."""
    return "gap" if item.gap else "does not apply" if item.why_not else "held"


def chapter_of(item: Item) -> int:
    return int(item.id.partition(".")[0])


def asvs_page() -> str:
    """docs/asvs.md."""
    lines = [
        HEAD,
        "| chapter | level 1 | level 2 | held | does not apply | gap |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for chapter, title in CHAPTERS.items():
        lines.append(_sum(f"V{chapter} {title}", [one for one in ITEMS if chapter_of(one) == chapter]))
    lines.append(_sum("all", list(ITEMS)))
    for chapter, title in CHAPTERS.items():
        lines += [
            "",
            f"## V{chapter} {title}",
            "",
            "| id | level | | what the gate does | tests |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [_row(one) for one in ITEMS if chapter_of(one) == chapter]
    return "\n".join(lines) + "\n"


def _sum(title: str, items: list[Item]) -> str:
    levels = [sum(one.level == level for one in items) for level in (1, 2)]
    states = [sum(state(one) == name for one in items) for name in ("held", "does not apply", "gap")]
    return f"| {title} | {' | '.join(map(str, levels + states))} |"


def _row(item: Item) -> str:
    said = item.claim or item.why_not or item.gap
    if item.page:
        file, _, heading = item.page.partition("#")
        said += f" ([{file}](../{file}), “{heading}”)"
    named = " ".join(f"`tests/{one}`" for one in item.tests)
    return f"| v{VERSION}-{item.id} | {item.level} | {state(item)} | {said} | {named} |"
