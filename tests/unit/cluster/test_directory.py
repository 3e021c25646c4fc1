"""The directory: owners of sections, views, pins, and what moves when they change."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from cluster.config.settings import Placement
from cluster.gateway.directory import Directory, DirectoryView, moves

TWO = DirectoryView(1, Placement.AUTO, ("a", "b"))
SECTIONS = range(1, 1001)


def test_only_a_newer_view_changes_anything() -> None:
    directory = Directory(TWO)
    before = {one: directory.owner(one) for one in SECTIONS}
    assert not directory.update(replace(TWO, pooled=("c",)))
    assert not directory.update(replace(TWO, version=0, pooled=("c",)))
    assert {one: directory.owner(one) for one in SECTIONS} == before
    assert directory.update(replace(TWO, version=2, pooled=("c",)))
    assert {directory.owner(one) for one in SECTIONS} == {"c"}
    assert directory.view.version == 2


@pytest.mark.parametrize("placement", Placement)
def test_a_pin_comes_before_everything(placement: Placement) -> None:
    directory = Directory(DirectoryView(1, placement, ("a", "b"), {7: "section-7", 8: "b"}))
    assert (directory.owner(7), directory.owner(8)) == ("section-7", "b")


def test_without_actors_nobody_owns_what_is_not_pinned_until_there_are_some() -> None:
    directory = Directory(DirectoryView(1, Placement.AUTO, (), {7: "section-7"}))
    assert (directory.owner(7), directory.owner(8)) == ("section-7", None)
    directory.update(DirectoryView(2, Placement.AUTO, ("a",)))
    assert (directory.owner(7), directory.owner(8)) == ("a", "a")


def test_a_third_actor_gets_its_share_and_nothing_else_moves() -> None:
    three = replace(TWO, version=2, pooled=("a", "b", "c"))
    moving = moves(TWO, three, SECTIONS)
    assert set(moving.values()) == {"c"}
    assert 250 < len(moving) < 420
    assert moves(three, TWO, SECTIONS).keys() == moving.keys()


def test_a_pin_moves_its_section_alone_unless_it_is_there_already() -> None:
    owner = Directory(TWO).owner(7)
    assert owner is not None
    assert moves(TWO, replace(TWO, version=2, pins={7: "section-7"}), SECTIONS) == {7: "section-7"}
    assert moves(TWO, replace(TWO, version=2, pins={7: owner}), SECTIONS) == {}


def test_what_nobody_owns_does_not_move() -> None:
    nobody = replace(TWO, version=2, pooled=())
    assert moves(TWO, nobody, SECTIONS) == {}
    assert moves(nobody, TWO, SECTIONS).keys() == set(SECTIONS)


def test_who_may_own_sections() -> None:
    directory = Directory(replace(TWO, pins={7: "section-7"}))
    assert [directory.includes(name) for name in ("a", "section-7", "c", "section-8")] == [True, True, False, False]
    assert Directory(DirectoryView(1, Placement.DEDICATED, ())).includes("section-8")


def test_a_view_goes_from_process_to_process() -> None:
    view = replace(TWO, pins={7: "section-7"})
    assert pickle.loads(pickle.dumps(view)) == view  # noqa: S301
