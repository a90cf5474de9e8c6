"""Text in other encodings, and files that are compressed or not what their suffix says."""

import bz2
import gzip
import lzma
import zipfile

import pyarrow as pa
import pytest

from trunkline.data.reading.lines import read_lines
from trunkline.data.sources import read_chunks, read_table
from trunkline.errors import BadInput

ROWS = "text,label\nübung 😀,a\nΩmega,b\n"
WANTED = {"text": ["übung 😀", "Ωmega"], "label": ["a", "b"]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_what_excel_calls_unicode_is_read(tmp_path, encoding):
    rows = ROWS.replace("übung 😀", "uebung") if encoding in ("utf-16-le", "utf-16-be") else ROWS
    (tmp_path / "x.csv").write_bytes(rows.encode(encoding))
    table = read_table("x.csv", base=tmp_path)
    assert table.columns == {**WANTED, "text": [rows.splitlines()[1][:-2], "Ωmega"]} and list(table.lines) == [2, 3]
    (tmp_path / "x.tsv").write_bytes(rows.replace(",", "\t").replace("\n", "\r\n").encode(encoding))
    assert read_table("x.tsv", base=tmp_path).columns == table.columns


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp1251", "gb18030"])
@pytest.mark.parametrize("end", ["\n", "\r"])
def test_another_encoding_is_refused_with_the_way_out(tmp_path, encoding, end):
    word = {"cp1251": "тест", "gb18030": "测试"}.get(encoding, "café")
    (tmp_path / "x.csv").write_bytes(end.join(["text,label", "abc,1", f"{word},2", ""]).encode(encoding))
    with pytest.raises(BadInput, match=r"x\.csv line 3: byte \d .*is not UTF-8; save") as error:
        read_table("x.csv", base=tmp_path)
    assert str(error.value).count("is not UTF-8") == 1 and "expected UTF-8" not in str(error.value)
    assert "CSV UTF-8" in str(error.value) and "iconv -f WINDOWS-1252 -t UTF-8 x.csv > x-utf8.csv" in str(error.value)


def test_utf_16_that_is_cut_off_is_told(tmp_path):
    (tmp_path / "x.csv").write_bytes(ROWS.encode("utf-16")[:-1])
    with pytest.raises(BadInput, match=r"x\.csv: begins as UTF-16 but is not whole"):
        read_table("x.csv", base=tmp_path)


def test_nul_characters_are_not_taken_for_utf_16(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b"a\0b\0\n" * 3)
    assert [line for _, line in read_lines(tmp_path / "x.jsonl", "x")] == ["a\0b\0\n"] * 3


def compressed(path, data):
    data = data.encode()
    if path.suffix == ".zst":
        with pa.OSFile(str(path), "wb") as raw, pa.CompressedOutputStream(raw, "zstd") as file:
            file.write(data)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("folder/", "")
            file.writestr("folder/reviews.csv", data)
            file.writestr("__MACOSX/folder/._reviews.csv", "junk")
    else:
        path.write_bytes({".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[path.suffix](data))


@pytest.mark.parametrize("name", ["x.csv.gz", "x.csv.bz2", "x.csv.xz", "x.CSV.zst", "x.csv.zip", "kaggle.zip"])
def test_compressed_files_are_read(tmp_path, name):
    compressed(tmp_path / name, ROWS)
    assert read_table(name, base=tmp_path).columns == WANTED
    assert [len(piece) for piece in read_chunks(name, 1, base=tmp_path)] == [1, 1]


@pytest.mark.parametrize("name", ["x.csv.gz", "x.csv.bz2", "x.csv.xz", "x.csv.zst", "x.csv.zip"])
def test_a_compressed_file_that_is_none_or_not_whole_is_told(tmp_path, name):
    kind = {"gz": "gzip"}.get(name.rpartition(".")[2], name.rpartition(".")[2])
    (tmp_path / name).write_text("secret,label\n")
    with pytest.raises(BadInput, match=f"not a {kind} file, though its name ends in") as caught:
        read_table(name, base=tmp_path)
    assert "secret" not in str(caught.value)
    compressed(tmp_path / name, ROWS + "".join(f"t{n * 7919},a\n" for n in range(9000)))
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match=f"the {kind} file is damaged or cut off"):
        read_table(name, base=tmp_path)


def test_an_archive_of_several_files_or_with_a_password_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("train.csv", ROWS)
        file.writestr("test.csv", ROWS)
    with pytest.raises(BadInput, match=r"x\.zip: found 2 files in the zip archive, expected one; unpack it"):
        read_table("x.zip", base=tmp_path)
    with zipfile.ZipFile(tmp_path / "x.csv.zip", "w") as file:
        file.writestr("train.csv", ROWS)
    data = bytearray((tmp_path / "x.csv.zip").read_bytes())
    data[6] |= 1  # encrypted, in the header of the member
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x.csv.zip").write_bytes(data)
    with pytest.raises(BadInput, match="the zip archive is encrypted"):
        read_table("x.csv.zip", base=tmp_path)
