import os
import subprocess
import sys
import threading

import pytest

from elysia_chat.ingest.errors import IngestBusyError
from elysia_chat.ingest.lock import single_writer

HOLDER = """
import sys
from pathlib import Path
from elysia_chat.ingest.lock import single_writer
with single_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_told_who_holds_it(tmp_path):
    path = tmp_path / "index" / "manifest.sqlite3"
    with (
        subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder,
    ):
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(IngestBusyError, match=rf"process {holder.pid} of .+ on .+ since \d{{4}}"),
            single_writer(path),
        ):
            pass
        holder.kill()
    with single_writer(path):
        pass


def test_threads_of_one_process_exclude_each_other(tmp_path):
    path = tmp_path / "manifest.sqlite3"
    caught = []

    def second():
        try:
            with single_writer(path):
                pass
        except IngestBusyError as error:
            caught.append(str(error))

    with single_writer(path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(caught) == 1
    assert f"process {os.getpid()}" in caught[0]


def test_a_holder_that_left_no_name_is_another_run(tmp_path):
    path = tmp_path / "manifest.sqlite3"
    with single_writer(path):
        (tmp_path / "manifest.sqlite3.owner").write_text("{")
        with pytest.raises(IngestBusyError, match="another run"), single_writer(path):
            pass


def test_nothing_but_the_lock_is_left(tmp_path):
    with single_writer(tmp_path / "manifest.sqlite3"):
        pass
    assert {path.name for path in tmp_path.iterdir()} <= {"manifest.sqlite3.lock"}
