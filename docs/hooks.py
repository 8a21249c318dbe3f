"""What MkDocs does not do by itself: pages from files that stand elsewhere, and formulas.

A file is shown where a reader of the repository looks for it and on the site, and links between
them are written for the former; code that a page links to is a page as well. Formulas are drawn
when the site is built, so that reading them needs no script.
"""

import ast
import html
import io
import json
import posixpath
import re
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, InclusionLevel

ROOT = Path(__file__).resolve().parent.parent
# Files outside docs/, and the pages that they are.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "config/README.md": "overlays.md",
}
ROOMS = {
    "face": "import dclib",
    "methods": "Methods",
    "data": "Data",
    "training": "Training",
    "applications": "Applications",
    "networks": "Networks",
    "runner": "The runner",
}
# A link, or code, in which there are none.
_LINK = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)|(!?)\[([^\]]+)\]\(([^)\s]+)\)", re.DOTALL)
_FORMULA = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INK = "#123456"  # stands for the colour of the text


def on_files(files, config):
    """Add the pages that are not in docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    for room in ROOMS:
        files.append(File.generated(config, f"api/{room}.md", content=api(room)))
    pages = {source_of(file.src_uri) for file in files.documentation_pages()}
    for page in sorted(page for page in pages if (ROOT / page).is_file()):
        for *_, target in _LINK.findall((ROOT / page).read_text("utf-8")):
            found = linked(page, target)
            if found and found not in pages and found.suffix != ".png":
                pages.add(found)
                shown = File.generated(config, f"code/{found}.md", content=code(found))
                shown.inclusion = InclusionLevel.NOT_IN_NAV
                files.append(shown)
    return files


def source_of(page):
    """Return the file of the repository that a page of the site is."""
    return {shown: Path(path) for path, shown in PAGES.items()}.get(page, Path("docs", page))


def linked(source, target):
    """Return the file or folder that a link in a file of the repository leads to, if it is one."""
    path = target.partition("#")[0]
    if not path or re.match(r"[a-z]+:", target):
        return None
    found = Path(posixpath.normpath(source.parent / path))
    if not (ROOT / found).exists():
        raise PluginError(f"{source}: the link to {target} leads nowhere")
    return found


def code(place):
    """Return the page of a file of code, or of a folder of them."""
    paths = sorted((ROOT / place).glob("[!_]*.py")) or [ROOT / place]
    lines = ["---", "search: {exclude: true}", "---", "", f"# {place}", ""]
    for path in paths:
        lines += [f"## {path.name}", ""] if len(paths) > 1 else []
        try:
            text = path.read_text("utf-8").rstrip()
        except (IsADirectoryError, UnicodeDecodeError) as error:
            raise PluginError(
                f"a page links to {place}, which is neither text nor a folder with code"
            ) from error
        lines += [f"```{path.suffix[1:]}", text, "```", ""]
    return "\n".join(lines)


def api(room):
    """Return the page of a room of dclib: every module of it, from its docstrings."""
    place = ROOT / "dclib" / room
    paths = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    lines = [f"# {ROOMS[room]}", ""]
    for path, name in zip(paths, names, strict=True):
        if len(ast.parse(path.read_text("utf-8")).body) == 1:
            continue  # a docstring alone
        module = name.removesuffix(".__init__")
        options = {"toc_label": module.removeprefix("dclib.")}
        if room == "face":  # what is imported from other rooms is told there
            options["members"] = re.findall(r"^def ([a-z]\w*)", path.read_text("utf-8"), re.M)
        lines += [f"::: {module}", f"    options: {json.dumps(options)}", ""]
    return "\n".join(lines)


def on_page_markdown(markdown, page, config, files):
    """Turn links between files of the repository into links between pages, and draw formulas."""
    own = page.file.src_uri
    if own.startswith(("api/", "code/")):
        return markdown

    def link(match):
        _, image, text, target = match.groups("")
        found = linked(source_of(own), target)
        if found is None:
            return match[0]
        shown = PAGES.get(str(found), f"code/{found}.md")
        if found.parts[0] == "docs":
            shown = str(found.relative_to("docs"))
        _, hash, anchor = target.partition("#")
        relative = posixpath.relpath(shown, posixpath.dirname(own) or ".")
        return f"{image}[{text}]({relative}{hash}{anchor})"

    return _FORMULA.sub(lambda match: drawn(match[1]), _LINK.sub(link, markdown))


def on_post_page(output, page, config):
    """Refuse a page that would load something from elsewhere."""
    if found := re.search(
        r'<(?:script|link|img|iframe)\b[^>]*(?:src|href)="?(?:https?:)?//[^>]*>', output
    ):
        raise PluginError(f"{page.file.src_uri}: {found[0]} needs a network")
    return output


def drawn(formula):
    """Return a formula as SVG, each line of it for itself."""
    lines = [" ".join(line.split()) for line in formula.strip().split(r"\\")]
    return "\n".join(f'<div class="formula">{svg(line)}</div>' for line in lines)


def svg(formula):
    """Return one line of TeX as inline SVG, in the colour of the text."""
    with rc_context({"mathtext.fontset": "cm", "svg.hashsalt": formula}):
        text, font = f"${formula}$", FontProperties(size=14)
        width, height, depth, *_ = MathTextParser("path").parse(text, dpi=72, prop=font)
        figure, out = Figure(figsize=((width + 2) / 72, (height + 2) / 72)), io.StringIO()
        baseline = (depth + 1) / (height + 2)
        figure.text(0, baseline, text, fontproperties=font, color=_INK)
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(out, format="svg", transparent=True, metadata=metadata)
    image = out.getvalue().replace(_INK, "currentColor")
    image = re.sub(r"\n\s*", " ", image[image.index("<svg") :])
    return image.replace("<svg", f'<svg role="img" aria-label="{html.escape(formula)}"', 1)
