"""The picture of confusions."""

import io

import numpy as np
import pytest

from speechbrain_dino.reports.plots.confusion import confusion_figure


def test_shades_are_shares_of_the_rows():
    counts = np.array([[8, 2, 0], [1, 1, 2], [0, 0, 0]])
    figure = confusion_figure(counts, ["angry", "happy", "sad"])
    shares = figure.axes[0].images[0].get_array()
    wanted = [[0.8, 0.2, 0.0], [0.25, 0.25, 0.5], [0.0, 0.0, 0.0]]
    np.testing.assert_allclose(shares, wanted)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        "angry (10)",
        "happy (4)",
        "sad (0)",
    ]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[0] == "80 %\n8" and len(texts) == 9
    figure.savefig(io.BytesIO(), format="png")


def test_many_classes_have_no_text_and_wrong_sizes_are_refused():
    names = [f"c{k}" for k in range(20)]
    assert not confusion_figure(np.eye(20), names).axes[0].texts
    with pytest.raises(ValueError, match=r"\(2, 2\) for 3 classes"):
        confusion_figure(np.eye(2), ["a", "b", "c"])
