"""The recipes of emotion recognition: one script, what is done stands in the YAML."""

from speechbrain_dino.command_line import launched


def run_emotion(argv):
    """Runs what the YAML's key ``run`` names.

    Arguments
    ---------
    argv : list of str
        The YAML file and options.

    Returns
    -------
    dict
        Content of results.json.
    """
    launch, hparams = launched(argv)
    return hparams["run"](launch, hparams)
