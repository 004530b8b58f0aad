"""A corpus of synthetic speakers in VoxCeleb's layout, for when there is no data.

``python -m speechbrain_dino.corpora.synthetic FOLDER`` writes

* ``wav/<speaker>/<session>/<utterance>.wav``: 16 kHz, mono, 16 bits;
* ``veri_test.txt`` and ``veri_test_degraded.txt``: trials of speakers who are not in
  training, the second with its test side in another room, channel and noise;
* ``noise/`` and ``rir/``: noises and room impulse responses to train with;
* ``vox1_meta.csv``, sex, accent and part (dev, test) of each speaker; ``texts.csv``.

The voices are eSpeak NG's: this shows that training works, not how well on people.
"""

from speechbrain_dino.corpora.synthetic.corpus import make_synthetic_corpus

__all__ = ["make_synthetic_corpus"]
