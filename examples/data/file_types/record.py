"""Records what onnxruntime computes of the files beside this one: file, label and score of the five best, by Magika's own reading of files.

pip install magika==1.0.3 onnxruntime==1.32.0; python record.py > scores.tsv
"""

import pathlib
import sys

from magika import Magika
from magika.types import Seekable

folder = pathlib.Path(__file__).parent
magika = Magika()
config = magika._model_config
print("file", "label", "score", sep="\t")
for path in sorted(path for path in folder.iterdir() if path.name not in ("scores.tsv", "record.py")):
    with open(path, "rb") as stream:
        features = magika._extract_features_from_seekable(
            Seekable(stream),
            config.beg_size,
            config.mid_size,
            config.end_size,
            config.padding_token,
            config.block_size,
            config.use_inputs_at_offsets,
        )
    scores = magika._get_raw_predictions([(path, features)])[0]
    best = sorted(range(len(scores)), key=lambda label: -scores[label])[:5]
    for label in best:
        print(path.name, magika._target_labels_space[label], f"{scores[label]:.9f}", sep="\t")
