"""The files that the names in trial lists stand for."""

import os
import posixpath

from speechbrain_dino.corpora.preparation import AUDIO

# Folders that name a format, where VoxCeleb has one more level.
TREES = {"wav", "aac", "m4a", "flac"}
# Of one utterance in several formats the first is taken: no need to convert it.
FORMATS = [".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".mp4"]


class ListedFiles:
    """Finds files by the names that trial lists give them.

    A path below a data folder, or an absolute one, is that file. Any other name stands
    for the file at the end of whose path it is, ``<speaker>/<session>/<utterance>`` or
    more of it, in the same or in another format.

    Arguments
    ---------
    sources : sequence of Source
        All files that lists may name.
    folders : sequence of str or Path
        The data folders.
    layout : sequence of bool, optional
        Which sources lie in VoxCeleb's layout: names of three parts stand for no other.
        Without it, only paths that exist are names.
    """

    def __init__(self, sources, folders, layout=None):
        self._paths = [source.path for source in sources]
        self._row_of = {path: row for row, path in enumerate(self._paths)}
        self._folders = [os.path.abspath(folder) for folder in folders]
        self._layout = layout
        self._by_utterance = {}
        for row in range(len(sources) if layout is not None else 0):
            key = "/".join(self._parts(row)[-3:])
            self._by_utterance[key] = (*self._by_utterance.get(key, ()), row)

    def __call__(self, name):
        """The row of the source that a name stands for, None where there is none.

        Raises ValueError, naming both, if it may stand for two.

        Example
        -------
        >>> from speechbrain_dino.corpora.preparation import Source
        >>> paths = ["/d/x/wav/a/s/1.flac", "/d/y/wav/a/s/2.flac", "/d/z/a/s/1.flac"]
        >>> sources = [Source("", "", path, 0, 0, ()) for path in paths]
        >>> find = ListedFiles(sources, ["/d"], [True, True, False])
        >>> find("z/a/s/1.flac"), find("a/s/1.wav"), find("q/a/s/1.wav")
        (2, 0, None)
        """
        rows = self._exact(name) or self._in_layout(name)
        if not rows and "\\" in name:
            name = name.replace("\\", "/")
            rows = self._exact(name) or self._in_layout(name)
        if len(rows) > 1:
            paths = " and ".join(self._paths[row] for row in rows)
            raise ValueError(
                f"{name!r} may be either of {paths}: write more of the path into the "
                "list, from data_folder on, or remove one of them"
            )
        return rows[0] if rows else None

    def _exact(self, name):
        paths = [os.path.normpath(os.path.join(f, name)) for f in self._folders]
        rows = {self._row_of[path] for path in paths if path in self._row_of}
        return self._distinct(sorted(rows))

    def _in_layout(self, name):
        parts = posixpath.normpath(name).split("/")
        while parts[0] == "..":  # of an unknown folder
            parts.pop(0)
            if not parts:
                return []
        parts[-1] = _without_format(parts[-1])
        suffix = os.path.splitext(name)[1].lower()
        rows = [
            row
            for row in self._by_utterance.get("/".join(parts[-3:]), ())
            if (len(parts) > 3 or self._layout[row])
            and self._agrees(row, parts, suffix)
        ]
        if len({self._place(row) for row in rows}) == 1:
            same = [row for row in rows if _format(self._paths[row]) == suffix]
            rows = same or rows
            best = min(_rank(self._paths[row]) for row in rows)
            rows = [row for row in rows if _rank(self._paths[row]) == best]
        return self._distinct(rows)

    def _agrees(self, row, parts, suffix):
        """Whether a file's path ends as the name does, but for the format."""
        own = self._parts(row)[-len(parts) :]
        if own[:-3] == parts[:-3]:
            return True
        if len(parts) < 4 or _format(self._paths[row]) == suffix:
            return False
        # wav/a/s/1.wav may have become flac/a/s/1.flac.
        return own[:-4] == parts[:-4] and {own[-4], parts[-4]} <= TREES

    def _place(self, row):
        """Where a file lies, whatever its format."""
        return tuple(part for part in self._parts(row) if part.lower() not in TREES)

    def _parts(self, row):
        return _without_format(self._paths[row]).replace(os.sep, "/").split("/")

    def _distinct(self, rows):
        """Drops links to a file that is there already."""
        if len(rows) < 2:
            return rows
        files = {os.path.realpath(self._paths[row]): row for row in reversed(rows)}
        return sorted(files.values())


def _format(path):
    return os.path.splitext(path)[1].lower()


def _rank(path):
    suffix = _format(path)
    return FORMATS.index(suffix) if suffix in FORMATS else len(FORMATS)


def _without_format(path):
    """A path without the ending of audio: what else follows a dot is a name's part."""
    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in AUDIO else path
