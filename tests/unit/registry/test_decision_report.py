"""The page about a decision: what was decided, why, and nothing that runs or comes from elsewhere."""

import base64
import re
from html.parser import HTMLParser

import pytest

from registry.decision import Compared, Decision, GateResult, Judged
from registry.report import headline, report

PNG = b"\x89PNG not looked at"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """A page's text, its tags with their attributes, and whether every tag is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split()).replace("\N{MINUS SIGN}", "-")

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def compared(measure: str = "auroc", **changes: object) -> Compared:
    values: dict[str, object] = {
        "measure": measure,
        "level": "image",
        "champion": 0.9,
        "challenger": 0.88,
        "difference": -0.02,
        "low": -0.0454,
        "high": 0.0054,
        "confidence": 0.9,
        "asks": "non_inferiority",
        "margin": 0.05,
        "alpha": 0.05,
        "met": 2,
        "images": 1234,
        "patients": 567,
        "left_out": 8,
        "test": "McNemar",
    }
    return Compared.model_validate(values | changes)


def judged(version: int = 7, **changes: object) -> Judged:
    results = (
        GateResult(gate="skill", asked="above 0", found=".6 (.5 to .7)", passed=True, advice="nothing to do"),
        GateResult(gate="size", asked="at most 1 MB", found="2 MB", passed=False, advice="train a smaller model"),
    )
    values: dict[str, object] = {
        "version": version,
        "run_id": f"run{version}",
        "model": "chest_cnn",
        "against": 3,
        "verdict": "refused",
        "results": results,
        "digests": {"bundle.json": "b" * 64},
    }
    return Judged.model_validate(values | changes)


def decision(**changes: object) -> Decision:
    values: dict[str, object] = {
        "task": "pneumonia",
        "number": 4,
        "kind": "refusal",
        "at": "2026-11-20T17:02:11+00:00",
        "former_run_id": "formerrun",
        "former_digest": "f" * 64,
        "champion_before": 3,
        "champion_after": 3,
        "previous_before": None,
        "previous_after": None,
        "gates": "pneumonia",
        "gates_digest": "a" * 64,
        "reason": "version 7 failed size",
        "candidates": (judged(),),
        "git_commit": "c" * 40,
    }
    return Decision.model_validate(values | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Version 3 stays champion for pneumonia"),
        ({"champion_before": None, "champion_after": None}, "No version is champion for pneumonia"),
        ({"kind": "promotion", "champion_after": 7}, "Version 7 becomes champion for pneumonia"),
        ({"kind": "rollback", "champion_after": 2}, "Version 2 is champion for pneumonia again"),
    ],
)
def test_one_sentence_says_what_was_decided(changes: dict[str, object], said: str) -> None:
    assert headline(decision(**changes)) == said
    page = Page(report(decision(**changes), {}))
    assert said in page.text


def test_the_head_tells_why_when_and_how_the_aliases_moved() -> None:
    moved = decision(kind="promotion", champion_after=7, previous_after=3)
    page = Page(report(moved, {}))
    assert "Version 7 failed size." in page.text  # the reason as a sentence
    assert "champion version 3 → version 7 previous none → version 3" in page.text
    assert "decision 4, a promotion · 20 November 2026, 17:02 UTC" in page.text
    assert "champion version 3, unchanged" in Page(report(decision(), {})).text


def test_each_gate_says_in_words_whether_it_was_passed_and_what_to_do_if_not() -> None:
    page = Page(report(decision(), {}))
    assert "skill above 0 .6 (.5 to .7) ✓ passed" in page.text
    assert "size at most 1 MB 2 MB Next: train a smaller model ✗ failed" in page.text
    assert "Failed 1 of 2 gates: size." in page.text
    assert "nothing to do" not in page.text


def test_differences_have_their_sign_interval_and_what_was_asked() -> None:
    better = compared(difference=0.02, low=0.001, high=0.039, challenger=0.92, asks="superiority", margin=None)
    one = judged(compared=(better, compared("log_loss"), compared("sensitivity", level="study", low=-0.06, images=75)))
    text = Page(report(decision(candidates=(one,)), {})).text
    assert "AUROC .900 .920 +.020 (+.001 to +.039) better: above 0 ✓ passed" in text
    assert "log loss .900 .880 -.020 (-.045 to +.005) not worse: above -.050 ✓ passed" in text
    assert "study sensitivity .900 .880 -.020 (-.060 to +.005) not worse: above -.050 ✗ failed" in text
    assert "AUROC McNemar .05 90% 2 1,234 567 8" in text
    assert "study sensitivity McNemar .05 90% 2 75 studies 567 8" in text


def test_a_superior_candidate_needs_more_than_0_and_equal_models_have_no_sign() -> None:
    equal = compared(difference=0.0, low=0.0, high=0.0, asks="superiority", margin=None)
    text = Page(report(decision(candidates=(judged(compared=(equal,)),)), {})).text
    assert ".000 (.000 to .000) better: above 0 ✗ failed" in text


def test_without_a_champion_nothing_was_compared() -> None:
    text = Page(report(decision(candidates=(judged(against=None),)), {})).text
    assert "There was no champion to compare it with." in text
    assert "Against the champion" not in text


def test_several_candidates_have_an_overview_that_leads_to_each() -> None:
    passed = tuple(result.model_copy(update={"passed": True}) for result in judged().results)
    candidates = (
        judged(8, verdict="promoted", results=passed),
        judged(9, verdict="bettered", results=passed),
        judged(),
    )
    page = Page(report(decision(candidates=candidates), {}))
    assert "3 candidates" in page.text
    assert (
        "version 8 chest_cnn version 3 promoted none version 9 chest_cnn version 3 passed, then bettered" in page.text
    )
    places = {attributes.get("id") for _, attributes in page.tags}
    links = [str(link["href"]) for link in page.all("a")]
    assert links == ["#version-8", "#version-9", "#version-7"]
    assert {link.removeprefix("#") for link in links} <= places


def test_figures_stand_in_the_page_beside_their_candidate_images_before_studies() -> None:
    names = ("version_7_study/paired_roc", "version_9/agreement", "version_7/agreement", "version_7/paired_roc")
    figures = {f"figures/{name}.png": PNG + name.encode() for name in (*names, "overview")}
    page = report(decision(candidates=(judged(7), judged(9))), figures)
    sources = [str(image["src"]) for image in Page(page).all("img")]
    shown = [base64.b64decode(source.removeprefix("data:image/png;base64,")).removeprefix(PNG) for source in sources]
    assert [name.decode() for name in shown] == [names[3], names[2], names[0], names[1], "overview"]
    said = [str(image["alt"]) for image in Page(page).all("img")]
    assert said[0] == "ROC curves of both models on the same images."
    assert said[2] == "Whole studies: ROC curves of both models on the same images."
    assert said[4] == "overview"
    assert page.index(sources[2]) < page.index('id="version-9"') < page.index(sources[3])


def test_the_foot_says_where_everything_comes_from() -> None:
    whole = decision(files={"git.diff": "d" * 64})
    text = Page(report(whole, {"figures/x.png": b"abc"})).text
    for said in ("formerrun", "f" * 64, "pneumonia", "a" * 64, "c" * 40, "git.diff " + "d" * 64, "run7", "b" * 64):
        assert said in text
    # SHA-256 of "abc", FIPS 180-2 appendix B.1
    assert "figures/x.png ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" in text


def test_the_first_decision_and_a_rollback_have_less_to_tell() -> None:
    rollback = decision(
        kind="rollback", former_run_id=None, former_digest=None, gates="", gates_digest="", candidates=()
    )
    text = Page(report(rollback, {})).text
    assert "former decision none: this is the first" in text
    assert "gates none were asked" in text


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}"])
def test_nothing_that_is_told_becomes_part_of_the_page(evil: str) -> None:
    results = (GateResult(gate=evil, asked=evil, found=evil, passed=False, advice=evil),)
    one = judged(model=evil, run_id=evil, results=results, compared=(compared(test=evil),), digests={evil: evil})
    told = decision(reason=evil, gates=evil, git_commit=evil, former_run_id=evil, candidates=(one,), files={evil: evil})
    page = Page(report(told, {f"{evil}.png": PNG}))
    assert page.text.count(evil) >= 12
    assert not page.all("script")
    assert [set(image) for image in page.all("img")] == [{"src", "alt"}]


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing() -> None:
    page = report(decision(candidates=(judged(compared=(compared(),)),)), {"figures/x.png": PNG})
    parsed = Page(page)
    assert page.startswith("<!DOCTYPE html>")
    assert parsed.open == []
    assert not {"script", "link", "iframe"} & {tag for tag, _ in parsed.tags}
    assert not re.search(r"https?://|@import|url\(|\son\w+=", page)
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in parsed.all("img"))
    assert [meta["content"] for meta in parsed.all("meta") if "http-equiv" in meta] == [
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    ]


def test_equal_decisions_have_equal_pages() -> None:
    figures = {"a.png": PNG, "b.png": PNG}
    assert report(decision(), figures) == report(decision(), dict(reversed(figures.items())))
