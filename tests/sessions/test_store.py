"""Sessions: what is stored is there again, whatever happened to the process or the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeinfer.errors import DiskError
from edgeinfer.sessions.export import as_json, as_markdown
from edgeinfer.sessions.store import SessionStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SessionStore]:
    with SessionStore(tmp_path / "sessions.db") as store:
        yield store


def test_an_answer_that_was_cut_off_is_there_as_far_as_it_was_written(tmp_path: Path) -> None:
    with SessionStore(tmp_path / "sessions.db") as first:
        session = first.create("tiny")
        asked = first.add(session.id, None, "user", "What?")
        answer = first.add(session.id, asked.id, "assistant", "")
        first.append(answer.id, "So")
        first.append(answer.id, " much", "thinking")
        with SessionStore(tmp_path / "sessions.db") as second:  # another process, while the first is writing
            said = second.branch(session.id)
    assert [(m.content, m.reasoning, m.finish) for m in said] == [
        ("What?", "", None),
        ("So much", "thinking", None),
    ]


def test_versions_of_a_message_stay_beside_each_other(store: SessionStore) -> None:
    session = store.create("tiny")
    asked = store.add(session.id, None, "user", "What?")
    first = store.finish(
        store.add(session.id, asked.id, "assistant", "This.").id, "stop", {"tokens_per_s": 1}
    )
    more = store.add(session.id, first.id, "user", "And?")
    second = store.add(session.id, asked.id, "assistant", "That.")
    assert [m.content for m in store.branch(session.id)] == ["What?", "That."]
    assert store.siblings(session.id, second) == [first.id, second.id]
    store.show(session.id, first.id)
    assert [m.id for m in store.branch(session.id)] == [asked.id, first.id, more.id]
    assert store.branch(session.id)[1].cost == {"tokens_per_s": 1}


def test_searching_finds_titles_and_texts_literally(store: SessionStore) -> None:
    ids = []
    for title, text in (("one", "100 % sure"), ("two", "1000 sure"), ("per cent %", "nothing")):
        session = store.create("tiny")
        store.add(session.id, None, "user", text)
        store.update(session.id, title=title)
        ids.append(session.id)
    assert [s.id for s in store.sessions("%")] == [ids[2], ids[0]]
    assert [s.id for s in store.sessions("two")] == [ids[1]]
    store.delete(ids[0])
    assert [s.id for s in store.sessions("sure")] == [ids[1]]
    assert store.branch(ids[0]) == []


def test_a_damaged_file_is_put_aside_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    path.write_bytes(b"SQLite format 3\0" + b"nonsense" * 500)
    with SessionStore(path) as store:
        assert store.sessions() == []
        assert store.damaged is not None
        assert store.damaged.read_bytes().endswith(b"nonsense")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="cannot open"):
        SessionStore(tmp_path / "file" / "sessions.db")


def test_exports_say_all_that_was_said(store: SessionStore) -> None:
    session = store.create("tiny", system="Be short.")
    asked = store.add(session.id, None, "user", "What?")
    answer = store.add(session.id, asked.id, "assistant", "")
    store.append(answer.id, "This.", "Hm.")
    store.finish(answer.id, "stop", {})
    said = store.branch(session.id)
    written = json.loads(as_json(store.session(session.id), said))
    assert [(m["role"], m["content"], m["reasoning"]) for m in written["messages"]] == [
        ("user", "What?", None),
        ("assistant", "This.", "Hm."),
    ]
    page = as_markdown(store.session(session.id), said)
    assert page.index("Be short.") < page.index("What?") < page.index("Hm.") < page.index("This.")
