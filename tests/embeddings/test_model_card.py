"""README.md of the inference folder."""

from emotion_runs import make_start_model
from huggingface_hub import ModelCard

from speechbrain_dino.embeddings.export import export_inference_folder
from speechbrain_dino.embeddings.model_card import classifier_card, model_card
from speechbrain_dino.embeddings.pretrained import load_pretrained

METRICS = {
    "eer": 0.123,
    "eer_threshold": 0.4321,
    "min_dcf_0.01": 0.9,
    "min_dcf_0.05": 0.8,
    "trials": 100,
}


def test_the_card_says_what_to_do(tmp_path):
    model = load_pretrained(make_start_model(tmp_path / "model"))
    path = tmp_path / "model" / "hyperparams.yaml"
    results = {
        "verification": {"veri_test": METRICS},
        "data": {"kept": 1234, "hours": 5.678},
        "git": {"commit": "abc123", "dirty": True},
        "seed": 7,
    }
    folder = export_inference_folder(tmp_path, path, model.embedder, results)
    card = (folder / "README.md").read_text(encoding="utf-8")
    (eer,) = ModelCard(card).data.eval_results
    assert (eer.dataset_name, eer.metric_type, eer.metric_value) == (
        "veri_test",
        "eer",
        12.3,
    )
    assert "| veri_test | 100 | 12.30 | 0.9000 | 0.8000 | 0.4321 |" in card
    assert "same_speaker = score > 0.4321" in card
    assert "1234 utterances (5.7 hours)" in card
    assert "abc123, with local changes" in card
    assert "pip install speechbrain speechbrain-dino" in card
    plain = model_card("", {})
    assert "No threshold was measured" in plain
    assert "pip install speechbrain\n" in plain
    assert ModelCard(plain).data.library_name == "speechbrain"
    assert "model-index" not in plain and "## Training" not in plain


def test_the_card_of_a_classifier_has_its_recall_where_there_is_one():
    results = {"uar_valid": 0.61234, "fold": "fold1", "epoch": 3}
    card = classifier_card(["angry", "sad"], results)
    assert "Classes: angry, sad." in card
    assert "recall in validation: 61.2 % (fold fold1, epoch 3)." in card
    assert ModelCard(card).data.tags[0] == "speech-emotion-recognition"
    assert "recall" not in classifier_card(["angry", "sad"], {"uar_valid": None})
