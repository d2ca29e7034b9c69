"""Digests of code follow what is imported and nothing else, and change with statements alone."""

import shutil

import pytest
from blackholes.orchestration import code

TOY = {
    "run.py": "import json\nfrom blackholes.a import f\n",
    "idle.py": "import json\n",
    "blackholes/__init__.py": "",
    "blackholes/a.py": "import torch\ndef f():\n    from blackholes.deep import b\n",
    "blackholes/deep/__init__.py": "from blackholes import named_by_package\n",
    "blackholes/deep/b.py": "if True:\n    import blackholes.deep.c as c\n",
    "blackholes/deep/c.py": "import blackholes.a\n",  # a circle
    "blackholes/deep/unused.py": "import blackholes.unused\n",
    "blackholes/named_by_package.py": "",
    "blackholes/unused.py": "",
    "blackholes/late/__init__.py": "",
    "blackholes/late/late.py": "import blackholes.late.helper\n",
    "blackholes/late/helper.py": "",
}
USED = {
    "run.py",
    "blackholes/__init__.py",
    "blackholes/a.py",
    "blackholes/deep/__init__.py",
    "blackholes/deep/b.py",
    "blackholes/deep/c.py",
    "blackholes/named_by_package.py",
}
LATE = {"blackholes/late/__init__.py", "blackholes/late/late.py", "blackholes/late/helper.py"}


@pytest.fixture
def toy(tmp_path):
    for name, text in TOY.items():
        path = tmp_path / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "toy"


def code_digest(folder, *modules, script="run.py"):
    code.forget()
    return code.digest(folder / script, folder / "blackholes", *modules)


def closure(folder, script, *modules):
    code.forget()
    files = code.files(folder / script, folder / "blackholes", *modules)
    return {file.relative_to(folder).as_posix() for file in files}


def test_imports_are_followed(toy):
    assert closure(toy, "run.py") == USED
    assert closure(toy, "idle.py") == {"idle.py"}
    assert closure(toy, "run.py", "blackholes.late.late") == USED | LATE


@pytest.mark.parametrize("name", TOY)
def test_the_digest_changes_with_what_is_used_and_with_nothing_else(toy, name):
    plain, late = code_digest(toy), code_digest(toy, "blackholes.late.late")
    with open(toy / name, "a") as file:
        file.write("changed = 1\n")
    assert (code_digest(toy) != plain) == (name in USED)
    assert (code_digest(toy, "blackholes.late.late") != late) == (name in USED | LATE)


def test_a_new_import_and_a_new_module_count(toy):
    before = code_digest(toy)
    (toy / "blackholes/deep/new.py").write_text("")
    assert code_digest(toy) == before
    (toy / "blackholes/a.py").write_text(TOY["blackholes/a.py"] + "    from blackholes.deep.new import g\n")
    assert "blackholes/deep/new.py" in closure(toy, "run.py")
    assert code_digest(toy) != before


def test_a_copy_elsewhere_and_other_times_have_the_same_digest(toy, tmp_path):
    shutil.copytree(toy, tmp_path / "far" / "away")  # new times, too
    assert code_digest(tmp_path / "far" / "away") == code_digest(toy)
    (toy / "run.py").touch()
    assert code_digest(tmp_path / "far" / "away") == code_digest(toy)


def test_the_same_texts_under_other_names_are_other_code(toy):
    def digest_with(**modules):
        for name, text in modules.items():
            (toy / f"blackholes/{name}.py").write_text(text)
        return code_digest(toy)

    (toy / "run.py").write_text("import blackholes.one, blackholes.two\n")
    assert digest_with(one="x = 1\n", two="x = 2\n") != digest_with(one="x = 2\n", two="x = 1\n")


@pytest.mark.parametrize(
    "before",
    [
        "if x:\n    pass\nelif y:\n",
        "if x:\n    pass\nelse:\n",
        "for x in y:\n",
        "for x in y:\n    pass\nelse:\n",
        "while x:\n    pass\nelse:\n",
        "with x:\n",
        "try:\n    pass\nexcept E:\n",
        "try:\n    pass\nexcept* E:\n",
        "try:\n    pass\nexcept E:\n    pass\nelse:\n",
        "try:\n    pass\nfinally:\n",
        "match x:\n  case 1:\n",
        "class A:\n  def f(self):\n",
        "async def f():\n  async with x:\n",
    ],
)
def test_an_import_in_any_statement_is_followed(toy, before):
    (toy / "idle.py").write_text(f"{before}    import blackholes.unused\n")
    assert "blackholes/unused.py" in closure(toy, "idle.py")


@pytest.mark.parametrize("line", ["from . import a", "from .a import f", "from .. import a"])
def test_relative_imports_are_refused(toy, line):
    (toy / "blackholes/deep/c.py").write_text(f"def f():\n    {line}\n")
    with pytest.raises(SyntaxError, match=r"c\.py: relative imports"):
        code_digest(toy)


def test_a_module_that_does_not_exist_is_named(toy):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.py"):
        code_digest(toy, "blackholes.nowhere")


EDITS_WITHOUT_MEANING = {
    "a comment": lambda text: text + "# a comment\n",
    "formatting": lambda text: text.replace("def f(x, y=1):", "def f(\n    x,\n    y = 1,\n):") + "\n\n\n",
    "a docstring of a module": lambda text: text.replace("what it is", "what it was"),
    "no docstring of a module": lambda text: text.replace('"""what it is"""', ""),
    "a docstring of a function": lambda text: text.replace("how it works", "how it does not"),
    "a docstring of a class": lambda text: text.replace("who it is", "who it was"),
    "parentheses and quotes": lambda text: text.replace("return x + y", "return (x + y)").replace('"a"', "'a'"),
}
EDITS_WITH_MEANING = {
    "an operator": lambda text: text.replace("x + y", "x - y"),
    "a default": lambda text: text.replace("y=1", "y=2"),
    "a text that is no docstring": lambda text: text.replace('"a"', '"b"'),
    "a name": lambda text: text.replace("class A", "class B"),
    "a decorator": lambda text: text.replace("    def g", "    @cache\n    def g"),
    "the order": lambda text: text.replace("z = 1\nz = 2", "z = 2\nz = 1"),
}
MODULE = '''"""what it is"""
z = 1
z = 2

def f(x, y=1):
    """how it works"""
    return x + y

class A:
    """who it is"""
    name = "a"
    def g(self):
        "and this"
'''


def edited(toy, edit):
    (toy / "idle.py").write_text(MODULE)
    before = code_digest(toy, script="idle.py")
    text = edit(MODULE)
    assert text != MODULE
    (toy / "idle.py").write_text(text)
    return code_digest(toy, script="idle.py") != before


@pytest.mark.parametrize("edit", EDITS_WITHOUT_MEANING)
def test_comments_formatting_and_docstrings_do_not_count(toy, edit):
    assert not edited(toy, EDITS_WITHOUT_MEANING[edit])


@pytest.mark.parametrize("edit", EDITS_WITH_MEANING)
def test_statements_count(toy, edit):
    assert edited(toy, EDITS_WITH_MEANING[edit])


def test_what_an_earlier_call_parsed_is_used_for_the_same_bytes_only(toy, tmp_path, monkeypatch):
    place, parse, parsed = tmp_path / "parsed.json", code._parse, []

    def recorded(content, file, package):
        parsed.append(file.name)
        return parse(content, file, package)

    def next_call():
        code.forget()
        parsed.clear()
        code.recall(place)
        found = code.digest(toy / "run.py", toy / "blackholes")
        code.keep(place)
        return found

    monkeypatch.setattr(code, "_parse", recorded)
    first = next_call()
    assert len(parsed) == len(USED)
    assert next_call() == first == code_digest(toy)
    next_call()
    assert parsed == []
    (toy / "blackholes/deep/b.py").write_text("import blackholes.late.helper\n")
    changed = next_call()
    assert parsed == ["b.py"]  # the other that it now imports has the bytes, none, of one that was parsed
    assert changed == code_digest(toy) != first
    for damage in (b"", b"{", b"[1]", b'{"a": 1}', b'{"a": ["b", [3]]}', b"\xff"):
        place.write_bytes(damage)
        assert next_call() == changed
