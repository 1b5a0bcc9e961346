"""The second process that compiles kernels compiles those of this library, or none."""

import os
import time

import pytest

import nlsq.kernels as room
from nlsq.kernels.backend import cache, helper
from nlsq.kernels.backend.kernel import registry

room.import_all()
SYMBOLS = sorted(registry)[: helper.WORTH_IT]


def waits_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.skipif(helper._processors() < 2, reason="a second process needs a second processor")
def test_another_library_of_that_name_in_the_current_folder_is_not_taken(tmp_path, monkeypatch):
    other = tmp_path / "here" / "nlsq"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text(f"open({str(tmp_path / 'taken')!r}, 'w').close()")
    monkeypatch.chdir(other.parent)
    folder = tmp_path / cache.fingerprint()
    folder.mkdir()
    with helper.second_compiler(SYMBOLS, folder):
        assert waits_for(lambda: any(folder.iterdir()) or (tmp_path / "taken").exists())
    assert not (tmp_path / "taken").exists()


def test_kernels_of_other_sources_are_not_compiled(tmp_path, monkeypatch):
    for name, expected in ((cache.fingerprint(), 1), ("0" * 24, 0)):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setitem(os.environ, helper._IN_HELPER, str(folder))
        helper.compile_listed(["nlsq_dense_norm"])
        assert len(list(folder.iterdir())) == expected
