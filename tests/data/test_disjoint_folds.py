"""Divisions by speaker: disjoint, even in the strata, the same in any order."""

from collections import Counter

import pytest
from emotion_trees import as_sets, manifest_of, shuffled
from hypothesis import given, settings, strategies as st

from speechbrain_dino.data.fold_makers import disjoint_groups, group_kfold


def corpus(women, men, each=2):
    people = [(f"w{k}", "female") for k in range(women)]
    people += [(f"m{k}", "male") for k in range(men)]
    return manifest_of(
        (f"{name}_{i}", name, "1", sex, ("angry", "sad")[i % 2])
        for name, sex in people
        for i in range(each)
    )


def sexes(manifest, rows):
    people = {(manifest[i].spk_id, manifest.column("gender")[i]) for i in rows}
    return Counter(sex for _, sex in people)


def test_sizes_and_sexes_are_as_asked():
    manifest = corpus(43, 48)
    (fold,) = disjoint_groups(manifest)
    assert fold.name == "disjoint"
    assert sexes(manifest, fold.train) == {"female": 24, "male": 27}
    assert sexes(manifest, fold.valid) == {"female": 4, "male": 4}
    assert sexes(manifest, fold.test) == {"female": 15, "male": 17}
    (shares,) = disjoint_groups(manifest, sizes=(0.6, 0.1, 0.3))
    assert [sum(sexes(manifest, part).values()) for part in shares[1:]] == [55, 9, 27]


def test_the_seed_and_the_names_alone_decide():
    manifest = corpus(6, 6)
    one = as_sets(disjoint_groups(manifest, sizes=(None, 2, 4)), manifest)
    again = as_sets(disjoint_groups(manifest, sizes=(6, 2, None)), manifest)
    assert one == again
    other = disjoint_groups(manifest, sizes=(None, 2, 4), seed=7)
    assert as_sets(other, manifest) != one
    fewer = manifest.subset([i for i, u in enumerate(manifest) if u.spk_id != "w3"])
    sets = as_sets(disjoint_groups(fewer, sizes=(None, 2, 3)), fewer)
    assert len(sets["disjoint"][2] & one["disjoint"][2]) >= 4


@pytest.mark.parametrize(
    "sizes",
    [(None, 4, 8), (6, 2, 3), (None, None, 2), (0.5, 0.2, 0.2), (None, 0, 2), (6, 6)],
)
def test_sizes_that_do_not_suit_are_named(sizes):
    with pytest.raises(ValueError, match="do not suit 12 different spk_id: give"):
        disjoint_groups(corpus(6, 6), sizes=sizes)


def test_every_speaker_is_tested_once():
    manifest = corpus(12, 12)
    folds = group_kfold(manifest, num_folds=6, valid=4)
    assert [f.name for f in folds] == [f"fold{k}" for k in range(1, 7)]
    for fold, following in zip(folds, folds[1:] + folds[:1]):
        assert sexes(manifest, fold.test) == {"female": 2, "male": 2}
        assert fold.valid.tolist() == following.test.tolist()
        assert sum(sexes(manifest, fold.train).values()) == 16
    assert sorted(i for f in folds for i in f.test) == list(range(len(manifest)))


@pytest.mark.parametrize(
    ("num_folds", "valid"), [(1, 1), (0, 1), (7, 1), (3, 4), (2, 0)]
)
def test_too_many_folds_are_named(num_folds, valid):
    with pytest.raises(
        ValueError, match=f"num_folds={num_folds} with {valid} of spk_id"
    ):
        group_kfold(corpus(3, 3), num_folds=num_folds, valid=valid)


def test_two_sexes_of_one_speaker_are_named():
    rows = [("a", "ann", "1", "female", "sad"), ("b", "ann", "1", "male", "sad")]
    with pytest.raises(ValueError, match="'ann' has the gender 'female' in one row"):
        disjoint_groups(manifest_of(rows))


people = st.lists(
    st.tuples(
        st.sampled_from(["Unknown", ""]) | st.text("xyz", min_size=1, max_size=3),
        st.integers(1, 3),
    ),
    min_size=4,
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(people, st.integers(0, 5), st.integers(0, 99))
def test_no_speaker_crosses_whatever_the_manifest(people, seed, order):
    rows = [(f"{k}-{i}", p) for k, (p, n) in enumerate(people) for i in range(n)]
    manifest = manifest_of(
        (name, speaker, "1", f"sex of {speaker}", "sad") for name, speaker in rows
    )
    total = len({p for _, p in rows} - {"Unknown", ""})
    total += sum(p in ("Unknown", "") for _, p in rows)
    if total < 4:
        return
    makers = (
        lambda m: disjoint_groups(m, sizes=(None, 1, 2), strata=None, seed=seed),
        lambda m: group_kfold(m, num_folds=3, valid=1, strata=None, seed=seed),
        lambda m: disjoint_groups(m, sizes=(None, 1, 1), seed=seed),
    )
    other = shuffled(manifest, order)
    for make in makers:
        folds = make(manifest)
        for fold in folds:
            parts = [
                {dict(rows)[manifest.ids[i]] for i in part} - {"Unknown", ""}
                for part in fold[1:]
            ]
            assert not parts[0] & parts[1] and not parts[0] & parts[2]
            assert not parts[1] & parts[2]
            assert sum(len(part) for part in fold[1:]) == len(rows)
        assert as_sets(make(other), other) == as_sets(folds, manifest)
