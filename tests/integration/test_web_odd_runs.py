"""Folders of runs as they may be found: odd names, links, runs that are being written, and names that are hostile."""

import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from web_client import ask, with_token
from web_runs import DATA, one_run

from quantkit.runs.folder import Runs
from quantkit.web.calls import Calls
from quantkit.web.server import WebServer

ODD = (
    "a b",
    "50%",
    "%2e%2e",
    "q?x=1#y",
    "<img src=x onerror=alert(1)>",
    "ünï",
    "a...",
    "x'y\"z",
    "a&b;c",
    "-rf",
    "n" * 120,
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of one run under odd names."""
    root = tmp_path_factory.mktemp("odd")
    one_run(root, name="plain")
    for name in ODD:
        shutil.copytree(root / "plain", root / name)
    return root


def test_a_run_of_any_name_is_reached_by_it(runs: Path) -> None:
    """In the list, by the API, and as a page, which names itself rightly and holds the name as text."""
    with WebServer(Calls(Runs(runs), DATA)) as server:
        headers = with_token(server)
        listed = {run["id"] for run in ask(server, "GET", "/api/v1/runs?limit=1000", headers).json["runs"]}
        assert set(ODD) <= listed
        for name in ODD:
            place = quote(name, safe="")
            detail = ask(server, "GET", f"/api/v1/runs/{place}", headers)
            assert (detail.status, detail.json["run"]["id"]) == (200, name)
            page = ask(server, "GET", f"/runs/{place}", headers)
            assert page.status == 200
            assert b"<img" not in page.body
            assert f'"api":"/api/v1/runs/{place}"'.encode() in page.body
            assert ask(server, "GET", f"/api/v1/runs/{place}/equity", headers).status == 200


def test_a_folder_behind_a_link_is_served_and_links_in_it_are_not(runs: Path, tmp_path: Path) -> None:
    """Whoever starts the server chose the one; the others may lead anywhere."""
    (tmp_path / "runs").symlink_to(runs, target_is_directory=True)
    outside = tmp_path / "outside"
    shutil.copytree(runs / "plain", outside)
    (runs / "linked").symlink_to(outside, target_is_directory=True)
    try:
        with WebServer(Calls(Runs(tmp_path / "runs"), DATA)) as server:
            headers = with_token(server)
            assert ask(server, "GET", "/api/v1/runs/plain", headers).status == 200
            for name in ("linked", "outside"):
                assert ask(server, "GET", f"/api/v1/runs/{name}", headers).status == 404
    finally:
        (runs / "linked").unlink()


def test_what_is_being_saved_is_no_run_yet(runs: Path, tmp_path: Path) -> None:
    """A folder with a manifest of which half is there, and one whose name says that it is not done."""
    root = tmp_path / "runs"
    shutil.copytree(runs / "plain", root / "whole")
    shutil.copytree(runs / "plain", root / "next.partial")
    shutil.copytree(runs / "plain", root / "torn")
    manifest = root / "torn" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:500])
    (root / "empty").mkdir()
    with WebServer(Calls(Runs(root), DATA)) as server:
        headers = with_token(server)
        listed = {run["id"]: run["state"] for run in ask(server, "GET", "/api/v1/runs", headers).json["runs"]}
        assert listed == {"whole": "finished", "torn": "damaged"}
        for name, status in (("next.partial", 404), ("empty", 404), ("torn", 404)):
            reply = ask(server, "GET", f"/api/v1/runs/{name}", headers)
            assert (reply.status, set(reply.json)) == (status, {"error"}), name
