"""Installs speechbrain_dino."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
VERSION = re.search(
    r'__version__ = "(.+)"',
    (HERE / "speechbrain_dino" / "__init__.py").read_text(encoding="utf-8"),
).group(1)
README = HERE / "README.md"

REQUIRED = [
    # torchaudio 2.11 is the newest; its binaries fit torch 2.11 alone, yet it
    # names no torch version, so that a plain install would pair it with a newer one.
    "torch>=2.11,<2.12",
    "torchaudio>=2.11,<2.12",
    # The recipes lean on details of Brain and Checkpointer, checked against 1.1.2.
    "speechbrain>=1.1.2,<1.2",
    "huggingface_hub>=0.20",
    "hyperpyyaml>=1.2.2",
    "faiss-cpu>=1.8",
    "jinja2>=3.1",
    "matplotlib>=3.8",
    "numpy>=1.26",
    "pandas>=2.1",
    "scikit-learn>=1.4",
    "scipy>=1.12",
    "soundfile>=0.12",
    "soxr>=1.0",
    "tqdm>=4.60",
]

EXTRAS = {
    "demo": ["espeakng-loader>=0.2.4"],  # the synthetic speakers of `make demo`
    "m4a": ["av>=12"],  # VoxCeleb2 as it is distributed
    "tensorboard": ["tensorboard>=2.14"],
    "dev": [
        "ruff",
        "pytest>=8",
        "pytest-xdist>=3.5",
        "hypothesis>=6.100",
        "psutil>=5.9",  # what is left of processes; containers may have no ps
    ],
}

setup(
    name="speechbrain-dino",
    version=VERSION,
    description="Learning speech embeddings without labels, on SpeechBrain",
    long_description=README.read_text(encoding="utf-8") if README.is_file() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["speechbrain_dino*"]),
    package_data={"speechbrain_dino.reports": ["templates/*.html"]},
    python_requires=">=3.10",
    install_requires=REQUIRED,
    extras_require=EXTRAS,
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
    ],
)
