"""Where an iterative pseudo-labelling stands: one readable JSON."""

import json
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML
from speechbrain.utils.distributed import if_main_process

from speechbrain_dino.files import replacing

# What may change between two sessions of one run: it does not touch the results, or,
# as precision on another machine, it has to, and is logged.
FREE = ("rounds", "stop_below", "num_workers", "log_every", "tensorboard", "truth")
FREE += ("ckpt_interval_minutes", "keep_checkpoints", "validate_every", "set_up")
FREE += ("output_folder", "save_folder", "data_save_folder", "epoch_counter")
FREE += ("precision",)


class RoundsState:
    """Notes of finished stages, by round; round 0 is the model at the start.

    Arguments
    ---------
    path : str or path
        The JSON.
    launch : speechbrain_dino.command_line.Launch
        Configuration of the run; a file of another one is refused.

    Raises
    ------
    ValueError
        If the file holds rounds of another configuration.
    """

    def __init__(self, path, launch):
        self.path = Path(path)
        self.configuration = _plain(launch)
        self.reload()

    def reload(self):
        """Reads what another process may have noted."""
        self.state = {"configuration": self.configuration, "rounds": []}
        if not self.path.exists():
            return
        self.state = json.loads(self.path.read_text(encoding="utf-8"))
        found = self.state["configuration"]
        keys = sorted(found.keys() | self.configuration.keys())
        other = [k for k in keys if found.get(k) != self.configuration.get(k)]
        if other:
            key = other[0]
            raise ValueError(
                f"{self.path} holds rounds made with {key} {found.get(key)}, and now "
                f"{key} is {self.configuration.get(key)}: give the old value back, or "
                "another --output_folder"
            )

    def get(self, number, stage):
        """What was noted of a stage, None if it is not finished."""
        if number >= len(self.state["rounds"]):
            return None
        return self.state["rounds"][number].get(stage)

    def note(self, number, **stages):
        """Notes finished stages, on disk at once.

        Arguments
        ---------
        number : int
            The round.
        **stages
            What is known of each.
        """
        lines = self.state["rounds"]
        while len(lines) <= number:
            lines.append({"round": len(lines)})
        lines[number] |= stages
        if if_main_process():
            with replacing(self.path) as draft:
                draft.write_text(json.dumps(self.state, indent=2) + "\n", "utf-8")

    def lines(self):
        """All rounds, a dict each."""
        return self.state["rounds"]


def _plain(launch):
    """The keys that results depend on, their values as one line of YAML."""
    yaml = YAML(typ="rt")
    yaml.width = 4096
    keys = {}
    for key, value in yaml.load(launch.resolved()).items():
        if key not in FREE:
            text = StringIO()
            yaml.dump({key: value}, text)
            lines = text.getvalue().removeprefix(f"{key}:").splitlines()
            keys[key] = " ".join(line.strip() for line in lines).strip()
    return keys
