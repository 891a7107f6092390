import pytest

from utils.spelling import slugify


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("A person walks!", "a_person_walks"),
        ("../../etc/passwd", "etc_passwd"),
        ("Ça va, Jürgen?", "ca_va_jurgen"),
        ("一个人向前走", "yi_ge_ren_xiang_qian_zou"),
        ("человек машет рукой", "chelovek_mashet_rukoy"),
        ("…", "motion"),
        ("", "motion"),
        ("x" * 80, "x" * 60),
    ],
)
def test_names_of_files(text: str, slug: str) -> None:
    assert slugify(text) == slug
