"""A class at once: names as browsers and course systems make them, zip files, and what cannot be read, by itself."""

import csv
import io
import json
import os
import re
import zipfile

import pytest
from submissions import ATTENTION, notebook

from minivivit.cli import main
from minivivit.errors import InputError
from minivivit.grading import batch, handed_in
from minivivit.grading.batch import grade
from minivivit.grading.handed_in import find_handed_in
from minivivit.grading.results import OTHER, SubmissionResult, TaskResult, as_csv, best_of

MERGE = b"def merge_heads(heads):\n    moved = heads.swapaxes(1, 2)\n    return moved.reshape(*moved.shape[:2], -1)\n"


def zipped(files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_a_folder_is_searched_for_what_was_handed_in(tmp_path):
    for name in (
        "Müller, Ä_1234_assignsubmission_file_/03 layer norm (1).ipynb",
        "smithjohn_LATE_123_456_03-1.IPYNB",
        ".ipynb_checkpoints/03-checkpoint.ipynb",
        "a/__pycache__/x.py",
        "a/test_heads.py",
        "a/conftest.py",
        "a/minivivit-0.1.0-py3-none-any.whl",
        "a/answers.py",
        "test_student/test_mine.ipynb",
        "notes.txt",
        "a/timestamp.txt",
        ".hidden.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(MERGE)
    os.symlink("/etc/passwd", tmp_path / "link.py")
    inner = zipped({"deep/b.py": MERGE})
    (tmp_path / "class.zip").write_bytes(
        zipped(
            {
                "../../x.py": MERGE,
                "/abs.py": MERGE,
                "__MACOSX/x.py": b"",
                "inner.zip": inner,
                "dir/": b"",
                "scan.pdf": b"%PDF",
            }
        )
    )
    found = find_handed_in(tmp_path)
    assert [file.name for file in found] == [
        "class.zip!../../x.py",
        "class.zip!/abs.py",
        "class.zip!inner.zip!deep/b.py",
        "class.zip!scan.pdf",
        "link.py",
        "notes.txt",
        "smithjohn_LATE_123_456_03-1.IPYNB",
        "Müller, Ä_1234_assignsubmission_file_/03 layer norm (1).ipynb",
        "a/answers.py",
        "test_student/test_mine.ipynb",
    ]
    assert {file.name: file.problem for file in found if file.problem} == {
        "link.py": "a link or a device; hand in the file itself",
        "notes.txt": OTHER,
        "class.zip!scan.pdf": OTHER,
    }
    assert all(file.read() == MERGE for file in found if not file.problem)
    assert not list(tmp_path.parent.glob("x.py"))


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", zipped({"a.py": MERGE})[:60], b"PK\x05\x06" + bytes(18) + b"x" * 7],
    ids=["empty", "two letters", "cut", "no archive"],  # the archive holds the time: no name that all processes share
)
def test_a_zip_file_that_is_none_is_one_problem(tmp_path, data):
    (tmp_path / "a.zip").write_bytes(data)
    (tmp_path / "b.py").write_bytes(MERGE)
    files = find_handed_in(tmp_path)
    assert files[-1].name == "b.py"
    assert len(files) == 1 or "hand it in again" in files[0].problem


def test_zip_files_that_grow_are_refused_before_they_have_grown(tmp_path, monkeypatch):
    monkeypatch.setattr(handed_in, "LARGEST", 1 << 20)
    (tmp_path / "bomb.zip").write_bytes(
        zipped({"a.py": bytes(1 << 24), "b.zip": zipped({"c.py": b""}) + bytes(1 << 21)})
    )
    (first, second) = find_handed_in(tmp_path)
    with pytest.raises(InputError, match="more than 1,048,576 bytes"):
        first.read()
    assert "more than 1,048,576 bytes in another" in second.problem
    monkeypatch.setattr(handed_in, "MOST_ENTRIES", 3)
    (tmp_path / "bomb.zip").write_bytes(zipped({f"{number}.py": b"" for number in range(5)}))
    assert "too many entries" in find_handed_in(tmp_path)[0].problem


def test_damaged_zip_files_cost_themselves_alone(tmp_path):
    import random

    whole, rng = zipped({"a.py": MERGE * 20, "b.ipynb": b"{}", "c.zip": zipped({"d.py": MERGE})}), random.Random(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[rng.randrange(len(whole))] = rng.randrange(256)
        (tmp_path / "a.zip").write_bytes(damaged)
        try:
            for file in find_handed_in(tmp_path / "a.zip"):
                if not file.problem:
                    file.read()
        except (InputError, OSError):
            continue


def test_a_class_is_graded_and_each_problem_is_its_own(tmp_path, capsys):
    (tmp_path / "right.py").write_bytes(MERGE)
    (tmp_path / "b.ipynb").write_bytes(b"{}")
    (tmp_path / "d.docx").write_bytes(b"PK")
    (tmp_path / "c (1).ipynb").write_bytes(
        notebook(ATTENTION, {"split_heads": "split_heads = 3\n", "multi_head_attention": ""})
    )
    places = [str(tmp_path.with_name("grades.json")), str(tmp_path.with_name("grades.csv"))]
    assert main(["grade", str(tmp_path), "--json", places[0], "--csv", places[1], "--seed", "7"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    with open(places[0], encoding="utf-8") as file:
        rows = {row["file"]: row for row in json.load(file)["submissions"]}
    assert list(rows) == ["b.ipynb", "c (1).ipynb", "d.docx", "right.py"]
    assert rows["right.py"]["points"] == 1
    assert rows["c (1).ipynb"]["points"] == 8
    assert rows["b.ipynb"]["tasks"] == []
    assert "no list of cells" in rows["b.ipynb"]["problems"][0]
    for part in ("b.ipynb: not graded", "c (1).ipynb: 8 of 13 points", "merge_heads 1/1", "seed: 7"):
        assert part in out
    assert f"1 file not graded: 'd.docx': {OTHER}" in out
    with open(places[1], encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["points"] for row in table if row["student"] == "right.py"] == ["0", "0", "0", "0", "1", "0"]
    assert [row["task"] for row in table if row["student"] in ("b.ipynb", "d.docx")] == ["not graded"] * 2


def test_a_table_of_a_class_holds_no_formulas():
    names = ["Müller/02.ipynb", "=HYPERLINK(1)/x.py", "+1.py", "  @x.py", "-x.py", "a\n=1.py", "\uff1dx.py", "a,b.py"]
    tasks = [TaskResult("gelu", 1.5, 2, "")]
    table = as_csv([SubmissionResult(name, "03_layer_norm_and_gelu", tasks) for name in names])
    rows = list(csv.reader(io.StringIO(table)))
    assert rows[0] == ["student", "assignment", "task", "points", "of", "file"]
    assert rows[1][2:] == ["gelu", "1.5", "2", "Müller/02.ipynb"]
    assert rows[2][2:] == ["derivation (by hand)", "", "4", "Müller/02.ipynb"]
    assert rows[3][5] == "'=HYPERLINK(1)/x.py"
    students = [row[0] for row in rows[1::2]]
    assert students == ["Müller", "'=HYPERLINK(1)", "'+1.py", "'  @x.py", "'-x.py", "a =1.py", "'\uff1dx.py", "a,b.py"]


def test_a_table_of_a_class_tells_students_and_their_files_apart():
    files = {
        "eve.zip!homework/03.ipynb": "eve.zip",  # a student's zip file
        "eve.zip!scan.pdf": "eve.zip",
        "one.zip!03.ipynb": "one.zip",
        "class.zip!ada/03.ipynb": "class.zip!ada",  # a class's
        "class.zip!bob.zip!homework/03.ipynb": "class.zip!bob.zip",
        "mine!.py": "mine!.py",
        "ada/03.py": "ada",
        "ada/03 (1).py": "ada",
    }
    problems = {"eve.zip!scan.pdf": [OTHER]}
    table = as_csv([SubmissionResult(name, ATTENTION, problems=problems.get(name, [])) for name in files])
    assert {row["file"]: row["student"] for row in csv.DictReader(io.StringIO(table))} == files


def test_of_several_files_the_best_counts_and_the_others_are_named():
    def result(name, points, problem=""):
        tasks = [] if problem else [TaskResult("merge_heads", points, 1, "")]
        return SubmissionResult(name, ATTENTION, tasks, [problem] if problem else [])

    best = best_of([result("a/1.py", 0.5), result("a/2.py", 1.0), result("a/3.pdf", 0, OTHER)])
    assert best.file == "a/2.py"
    assert best.problems == ["3 files were handed in; 2.py has the most points and counts; not graded: '3.pdf'"]
    assert best_of([result("a/1.py", 0.0), result("a/0.ipynb", 0, "broken")]).file == "a/1.py"
    assert best_of([result("1.py", 0.5)]).problems == []


def test_the_seed_that_is_printed_grades_alike(tmp_path, capsys):
    (tmp_path / "a.py").write_text("import numpy as np\ndef softmax(x):\n    return np.exp(x) / np.exp(x).sum(-1)\n")
    assert main(["grade", str(tmp_path / "a.py")]) == 0
    first = capsys.readouterr().out
    (seed,) = re.findall(r"^seed: (\d+) ", first, re.MULTILINE)
    assert main(["grade", str(tmp_path / "a.py"), "--seed", seed]) == 0
    assert capsys.readouterr().out == first


def test_an_examiner_that_ends_costs_one_submission(tmp_path, monkeypatch):
    for number in range(3):
        (tmp_path / f"{number}.py").write_bytes(MERGE)
    usual = batch._Examiner.examine

    def examine(self, request, data):
        if request["name"] == "1.py":
            self._process = self._process or batch._started()
            self._process.kill()
        return usual(self, request, data)

    monkeypatch.setattr(batch._Examiner, "examine", examine)
    results = grade(tmp_path, seed=1, num_processes=1)
    assert [result.points for result in results] == [1, 0, 1]
    assert results[1].problems == ["grading it ended the grader's process; look at it by hand"]


def test_of_a_single_submission_all_that_was_found_is_shown(tmp_path, capsys, monkeypatch):
    text = "merge_heads: 2 of 4 cases right (score 0.50)\n  case 1: \x1b[2J wrong\n"
    fences = {"network": False, "files": True}
    result = SubmissionResult("a.py", ATTENTION, [TaskResult("merge_heads", 0.5, 1, text)], ["odd"], fences)
    monkeypatch.setattr(batch, "grade", lambda *arguments, **keywords: [result])
    assert main(["grade", str(tmp_path / "a.py"), "--seed", "7"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    for part in (
        "0.5 of 1 points",
        "note: odd",
        "2 of 4 cases right",
        "not fenced off by this system",
        "the network",
        "seed: 7",
    ):
        assert part in out


@pytest.mark.parametrize("name", ["nowhere", "a.txt", "empty"])
def test_nothing_to_grade_is_said(tmp_path, name):
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="notebook"):
        grade(tmp_path / name, seed=0)
    with pytest.raises(InputError, match="there is no assignment"):
        grade(tmp_path, seed=0, assignment="07")
