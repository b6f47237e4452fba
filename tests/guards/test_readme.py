"""The README runs: every block as it stands, in order, in an empty folder, against a real server."""

from pathlib import Path

from tests.guards._blocks import blocks_of, run_page

README = Path(__file__).parents[2] / "README.md"


def test_the_blocks_of_the_readme_run_as_they_stand(tmp_path: Path) -> None:
    run_page(README, tmp_path)


def test_the_readme_shows_a_served_model_and_its_answer() -> None:
    run = "".join(block.text for block in blocks_of(README) if block.is_run)
    assert "bentoml serve service:svc" in run
    assert "curl" in run


def test_the_readme_goes_all_the_way_from_a_model_to_a_cluster() -> None:
    text = README.read_text(encoding="utf-8")
    steps = ["save_model(", "bentoml serve service", "HTTPClient", "bentoml build -", "containerize credit", "deploy k"]
    assert sorted(steps, key=text.index) == steps


def test_only_setting_up_and_what_needs_a_tool_for_images_is_left_out() -> None:
    left_out = [block.text for block in blocks_of(README) if "illustrative" in block.flags]
    assert all(
        line.startswith(("make ", "pip ", "bentoml containerize ")) for text in left_out for line in text.splitlines()
    )
