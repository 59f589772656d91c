"""Truth files: their forms, and their faults."""

from __future__ import annotations

import pytest

from dupelake.errors import ConfigError
from dupelake.evaluate.matching import plain_path
from dupelake.evaluate.truth import read_truth


def read(folder, text):
    path = folder / "truth.csv"
    path.write_text(text, encoding="utf-8")
    return read_truth(path)


def groups_of(truth):
    out = {}
    for row in truth.names.to_pylist():
        out.setdefault(row["truth_group"], set()).add(row["name"])
    return sorted(map(sorted, out.values()))


@pytest.mark.parametrize(
    "header",
    ["a,b", "src,dst", "image_1,image_2", "path_a,path_b", "Original,Copy", "image id 1;image id 2", "uri_a\turi_b"],
)
def test_headers_of_pairs(tmp_path, header):
    mark = "".join(c for c in header if c in ",;\t")
    truth = read(tmp_path, f"\ufeff{header}\nx{mark}y\ny{mark}z\n\nu{mark} v \n")
    assert truth.form == "pairs"
    assert [(r["a"], r["b"], r["verdict"]) for r in truth.pairs.to_pylist()] == [
        ("x", "y", "duplicate"),
        ("y", "z", "duplicate"),
        ("u", "v", "duplicate"),
    ]
    assert groups_of(truth) == [["u", "v"], ["x", "y", "z"]]


def test_labels_relations_and_ambiguity_of_pairs(tmp_path):
    truth = read(
        tmp_path,
        "path_a,path_b,label,relation,ambiguous\n"
        "a,b,1,crop,0\nb,c,different_garment_or_view,,\nc,d,0,,\nd,e,duplicate,alternate,1\ne,f,,different,\nf,g,,,no\n"
        '"g, too",a,yes,negative,\nb,a,1,crop,0\n',
    )
    assert [(r["verdict"], r["relation"]) for r in truth.pairs.to_pylist()] == [
        ("duplicate", "crop"),
        ("different", "(none)"),
        ("different", "(none)"),
        ("ambiguous", "alternate"),
        ("different", "different"),
        ("duplicate", "(none)"),
        ("duplicate", "negative"),
    ]
    assert groups_of(truth) == [["a", "b", "g, too"], ["c"], ["d"], ["e"], ["f", "g"]]


@pytest.mark.parametrize("header", ["image,group,edit", "path,cluster_id,variant", "sha256_24,path,role"])
def test_headers_of_groups(tmp_path, header):
    lines = [("x", "1", "original"), ("y", "1", "different photo"), ("z", "1", "crop"), ("u", "", ""), ("v", "2", "?")]
    if header.startswith("sha"):
        lines = [(b, a, c) for a, b, c in lines]
    truth = read(tmp_path, "\n".join([header, *(",".join(line) for line in lines)]))
    assert truth.form == "groups"
    assert groups_of(truth) == [["u"], ["v"], ["x", "z"], ["y"]]
    rows = {r["name"]: r for r in truth.names.to_pylist()}
    assert [name for name, r in rows.items() if r["is_original"]] == ["x"]
    assert [name for name, r in rows.items() if r["is_ambiguous"]] == ["v"]
    assert (rows["z"]["relation"], rows["z"]["row"]) == ("crop", 4)


def test_all_faults_of_pairs_are_told_with_their_rows(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read(
            tmp_path,
            "a,b,label,ambiguous,relation\nx,x,1,,\nx,,1,,\nx,y,1\nx,y,perhaps,,\nu,v,1,often,\nu,w,1,,crop\n"
            "w,u,0,,crop\np,q,1,,different\n",
        )
    said = str(caught.value)
    for part in (
        "row 2: a pair of 'x' with itself",
        "row 3: an image of the pair is blank",
        "row 4: 3 cells, where the header has 5",
        "row 5: the label 'perhaps' is not known",
        "row 6: ambiguous is 'often'",
        "row 8: 'w' and 'u' are different crop, but duplicate crop in row 7",
        "row 9: the label says duplicate, the relation 'different' says different",
    ):
        assert part in said
    assert len(caught.value.faults) == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("a,b\n", "no rows"),
        ("path,width\nx,1\n", "names neither"),
        ("a,b,a\n", "more than once"),
        ("image,group\nx,1\nx,2\n", "row 3: 'x' is duplicate (none) in group '2', but"),
        ("image,group\n,1\n", "row 2: the image is blank"),
        ("image,group\n" + "".join(f"x,{i}\n" for i in range(300)), "199 more faults"),
    ],
)
def test_files_that_are_refused(tmp_path, text, said):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)


def test_unreadable_files_are_refused(tmp_path):
    (tmp_path / "latin.csv").write_bytes("a,b\nä,ö\n".encode("latin-1"))
    for name in ("latin.csv", "missing.csv"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_truth(tmp_path / name)


def test_plain_path():
    assert [plain_path(n) for n in ("/a/b c.jpg", "./a.jpg", "file:///a/%C3%A4+.jpg", "s3://b/x/y.jpg", "a:b.jpg")] == [
        "a/b c.jpg",
        "a.jpg",
        "a/ä+.jpg",
        "b/x/y.jpg",
        "a:b.jpg",
    ]


@pytest.mark.parametrize(
    ("relation", "verdict"),
    [
        ("distinctive crop", "duplicate"),
        ("differently lit", "duplicate"),
        ("non-uniform scaling", "duplicate"),
        ("notched frame", "duplicate"),
        ("different", "different"),
        ("Different_scene", "different"),
        ("distinct", "different"),
        ("not a copy", "different"),
        ("non-duplicate", "different"),
        ("no match", "different"),
        ("unrelated", "different"),
    ],
)
def test_a_relation_says_different_by_whole_words(tmp_path, relation, verdict):
    path = tmp_path / "truth.csv"
    path.write_text(f"a,b,relation\nx,y,{relation}\n", encoding="utf-8")
    assert read_truth(path).pairs["verdict"].to_pylist() == [verdict]
